package org.llmcore.text;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

import org.llmcore.InvalidInput;

/// The tokenizer of llama2.c (`tokenizer.bin`, `tok512.bin`), encoding as its run.c does.
///
/// | bytes          | what                                                        |
/// |----------------|-------------------------------------------------------------|
/// | 4              | length of the longest piece, int32                          |
/// | then, per id   | score float32, length int32, that many bytes of the piece   |
///
/// All little-endian, up to the end of the file. Ids 0, 1, 2 are unknown, BOS, EOS; 3 to 258 are the bytes; pieces
/// write a space as a space. Encoding puts a space in front of a text that is not empty, takes each character as its
/// piece or as its bytes, and joins the neighbours whose joined piece has the highest score, the leftmost among equals.
/// Decoding drops the space at the start of the sequence and behind BOS.
/// Source: github.com/karpathy/llama2.c, tokenizer.py (`export`) and run.c (`encode`, `decode`).
public final class Llama2cTokenizer implements Tokenizer, PieceStream.Pieces {
  private static final int BOS = 1;
  private static final int EOS = 2;
  private static final int FIRST_BYTE = 3;
  private static final int FIRST_PIECE = FIRST_BYTE + 256;
  private static final float NEVER = -1e10f; // run.c joins only above this score

  private final byte[] source;
  private final List<String> pieces; // Latin-1: one char per byte
  private final Map<String, Integer> index = new HashMap<>();
  private final float[] scores;
  private final int[] rank;
  private final int longest;

  private Llama2cTokenizer(byte[] source, List<String> pieces, float[] scores) {
    this.source = source;
    this.pieces = pieces;
    this.scores = scores;
    rank = Merging.ranks(scores);
    int length = 0;
    for (int id = FIRST_PIECE; id < pieces.size(); id++) {
      index.putIfAbsent(pieces.get(id), id);
      length = Math.max(length, pieces.get(id).length());
    }
    longest = length;
  }

  /// Reads a file; the number of ids is what it holds.
  /// @throws InvalidInput if it cannot be read or is of another kind
  public static Llama2cTokenizer read(Path file) {
    return parse(file.toString(), Tokenizers.bytes(file));
  }

  /// @param name how error messages call the bytes
  static Llama2cTokenizer parse(String name, byte[] bytes) {
    var in = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    if (bytes.length < 4) {
      throw broken(name, "only " + bytes.length + " bytes");
    }
    int most = in.getInt();
    var pieces = new ArrayList<String>();
    var scores = new ArrayList<Float>();
    while (in.hasRemaining()) {
      if (in.remaining() < 8) {
        throw broken(name, in.remaining() + " bytes behind piece " + pieces.size());
      }
      float score = in.getFloat();
      int length = in.getInt();
      if (Float.isNaN(score) || length < 0 || length > in.remaining()) {
        throw broken(name, "piece " + pieces.size() + " of " + length + " bytes and score " + score + " with "
            + in.remaining() + " bytes left");
      }
      byte[] piece = new byte[length];
      in.get(piece);
      pieces.add(new String(piece, StandardCharsets.ISO_8859_1));
      scores.add(score);
    }
    boolean bytesThere = pieces.size() >= FIRST_PIECE;
    for (int b = 0; b < 256 && bytesThere; b++) {
      bytesThere = ByteNames.value(pieces.get(FIRST_BYTE + b)) == b;
    }
    if (!bytesThere || most <= 0) {
      throw broken(name, pieces.size() + " pieces without the bytes <0x00> to <0xFF> at ids 3 to 258");
    }
    float[] all = new float[scores.size()];
    for (int id = 0; id < all.length; id++) {
      all[id] = scores.get(id);
    }
    return new Llama2cTokenizer(bytes.clone(), List.copyOf(pieces), all);
  }

  private static InvalidInput broken(String name, String found) {
    return new InvalidInput(name + " is not a llama2.c tokenizer: found " + found,
        "the file is truncated or of another kind; expected tokenizer.bin, tokenizer.model or tokenizer.json");
  }

  /// (size) what ranks the joining of pieces.
  float[] scores() {
    return scores.clone();
  }

  /// The file this was read from.
  public byte[] toBytes() {
    return source.clone();
  }

  @Override
  public int size() {
    return pieces.size();
  }

  @Override
  public OptionalInt bos() {
    return OptionalInt.of(BOS);
  }

  @Override
  public OptionalInt eos() {
    return OptionalInt.of(EOS);
  }

  @Override
  public boolean addsBos() {
    return true;
  }

  @Override
  public boolean addsEos() {
    return false;
  }

  @Override
  public int[] encode(String text) {
    if (text.isEmpty()) {
      return new int[0];
    }
    String raw = latin(" " + Tokenizers.wellFormed(text));
    var merging = new Merging((m, left, right) -> pair(raw, m.start(left), m.end(right)), raw.length());
    for (int at = 0; at < raw.length(); ) {
      int to = at + 1;
      while (to < raw.length() && (raw.charAt(to) & 0xc0) == 0x80) {
        to++;
      }
      Integer id = index.get(raw.substring(at, to));
      if (id != null) {
        merging.add(id, at, to);
      } else {
        for (int b = at; b < to; b++) { // an empty span in the text: bytes join nothing
          merging.add(FIRST_BYTE + raw.charAt(b), -1, -1);
        }
      }
      at = to;
    }
    return merging.run().ids();
  }

  private long pair(String raw, int from, int to) {
    if (from < 0 || to < 0 || to - from > longest) {
      return Merging.NONE;
    }
    Integer id = index.get(raw.substring(from, to));
    return id == null || scores[id] <= NEVER ? Merging.NONE : (long) rank[id] << 32 | id;
  }

  @Override
  public String piece(int id) {
    return new String(pieces.get(checked(id)).getBytes(StandardCharsets.ISO_8859_1), StandardCharsets.UTF_8);
  }

  @Override
  public boolean control(int id) {
    return checked(id) < FIRST_BYTE;
  }

  @Override
  public byte[] bytes(int id) {
    return control(id) ? new byte[0] : bytePiece(id) ? new byte[] {(byte) (id - FIRST_BYTE)}
        : pieces.get(id).getBytes(StandardCharsets.ISO_8859_1);
  }

  @Override
  public boolean bytePiece(int id) {
    return checked(id) >= FIRST_BYTE && id < FIRST_PIECE;
  }

  @Override
  public String decode(int... ids) {
    return PieceStream.decode(stream(), ids);
  }

  @Override
  public TextStream stream() {
    return PieceStream.ofBytes(this, PieceStream.Lead.DROP_AFTER_BOS, BOS);
  }

  private static String latin(String text) {
    return new String(text.getBytes(StandardCharsets.UTF_8), StandardCharsets.ISO_8859_1);
  }

  private int checked(int id) {
    if (id < 0 || id >= pieces.size()) {
      throw new IllegalArgumentException("id " + id + " outside the vocabulary of " + pieces.size());
    }
    return id;
  }
}
