package org.llmcore.text;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.IntStream;

import org.llmcore.InvalidInput;
import org.llmcore.text.SentencePieceModel.Piece;
import org.llmcore.text.SentencePieceModel.Type;

/// SentencePiece's byte-pair encoding (Kudo & Richardson 2018, arXiv:1808.06226), as Llama 2 uses it.
///
/// 1. Text is normalised by the flags of the file: a space in front (`add_dummy_prefix`), runs of spaces to one
///    (`remove_extra_whitespaces`), space to `▁` (`escape_whitespaces`).
/// 2. It is cut into user-defined symbols (longest first; they never join) and single characters.
/// 3. Of all neighbours whose concatenation is a piece, the pair of highest score joins, the leftmost among equals.
/// 4. What joined to an *unused* piece falls back into its parts; a character that is no piece becomes its UTF-8 bytes
///    (`<0xE2>`), or the unknown id where the file has no byte fallback (one id for a run of unknown characters).
///
/// Decoding turns `▁` into a space, drops the one that encoding put in front, and gives U+FFFD for each byte that is
/// part of no character. Ids without text (control, unknown) give nothing; the library prints ` ⁇ ` for unknown.
/// Unpaired surrogates of the Java string count as U+FFFD.
///
/// The ids agree with the C++ library's except where a file spells a control piece like a piece of text: there the
/// library would return the control id for text, this class does not.
public final class SentencePieceBpe implements Tokenizer, PieceStream.Pieces {
  private static final int LONGEST_KEPT = 32; // characters
  private static final int MOST_KEPT = 1 << 14; // words: some 2 MB

  private final SentencePieceModel model;
  private final Map<String, Integer> index = new HashMap<>(); // pieces that text can become
  private final SentencePieceText form;
  private final int[] rank; // (size) place of a piece's score among all scores, best first
  private final byte[][] bytes; // (size) text
  private final int[] byteIds = new int[256];
  private final Map<String, int[]> words = new ConcurrentHashMap<>(); // only saves work
  private final boolean separable;
  private final boolean unused;
  private final int longest;
  private final int unknown;
  private final OptionalInt bos;
  private final OptionalInt eos;
  private final boolean addsBos;
  private final boolean addsEos;

  /// @param name how error messages call the file
  SentencePieceBpe(String name, SentencePieceModel model) {
    this.model = model;
    int size = model.pieces().size();
    bytes = new byte[size][];
    Arrays.fill(byteIds, -1);
    var controls = new HashMap<String, Integer>();
    int unknownId = -1;
    int length = 0;
    for (int id = 0; id < size; id++) {
      var piece = model.pieces().get(id);
      var names = switch (piece.type()) {
        case NORMAL, USER_DEFINED, UNUSED -> index;
        case CONTROL, UNKNOWN, BYTE -> controls;
      };
      if (names.put(piece.text(), id) != null) {
        throw new InvalidInput(name + " defines the piece '" + InvalidInput.brief(piece.text()) + "' twice, the second time as id " + id);
      }
      bytes[id] = bytes(name, id, piece);
      switch (piece.type()) {
        case UNKNOWN -> unknownId = unknownId < 0 ? id : size;
        case BYTE -> byteIds[bytes[id][0] & 0xff] = id;
        default -> length = Math.max(length, piece.text().length());
      }
    }
    boolean someByte = Arrays.stream(byteIds).anyMatch(id -> id >= 0);
    boolean allBytes = Arrays.stream(byteIds).allMatch(id -> id >= 0);
    if (unknownId < 0 || unknownId == size || (model.byteFallback() ? !allBytes : someByte)) {
      throw new InvalidInput(name + " is not a consistent SentencePiece model: expected one unknown piece"
          + (model.byteFallback() ? " and all 256 byte pieces" : " and, without byte fallback, no byte pieces"));
    }
    unknown = unknownId;
    longest = length;
    separable = separable(model);
    unused = model.pieces().stream().anyMatch(p -> p.type() == Type.UNUSED);
    float[] scores = new float[size];
    for (int id = 0; id < size; id++) {
      scores[id] = model.pieces().get(id).score();
    }
    rank = Merging.ranks(scores);
    form = new SentencePieceText(model);
    bos = control(controls, model.bosPiece());
    eos = control(controls, model.eosPiece());
    addsBos = bos.isPresent();
    addsEos = false;
  }

  private SentencePieceBpe(SentencePieceBpe of, boolean addsBos, boolean addsEos) {
    model = of.model;
    index.putAll(of.index);
    form = of.form;
    rank = of.rank;
    bytes = of.bytes;
    System.arraycopy(of.byteIds, 0, byteIds, 0, 256);
    separable = of.separable;
    unused = of.unused;
    longest = of.longest;
    unknown = of.unknown;
    bos = of.bos;
    eos = of.eos;
    this.addsBos = addsBos && bos.isPresent();
    this.addsEos = addsEos && eos.isPresent();
  }

  /// Reads a `tokenizer.model`.
  /// @throws InvalidInput if it cannot be read or is no SentencePiece BPE model
  public static SentencePieceBpe read(Path file) {
    return parse(file.toString(), Tokenizers.bytes(file));
  }

  /// Reads the bytes of a `tokenizer.model`.
  /// @param name how error messages call them
  public static SentencePieceBpe parse(String name, byte[] bytes) {
    return new SentencePieceBpe(name, SentencePieceModel.parse(name, bytes));
  }

  /// A Llama tokenizer from its parts, as GGUF files hold them, with byte fallback (`Vocabulary`).
  static SentencePieceBpe of(String name, List<String> texts, float[] scores, int[] types, boolean dummyPrefix,
      boolean removeExtraSpaces, String bos, String eos) {
    var pieces = new ArrayList<Piece>();
    for (int i = 0; i < texts.size(); i++) {
      int number = types[i];
      var type = Arrays.stream(Type.values()).filter(t -> t.number() == number).findFirst();
      if (texts.get(i).isEmpty() || type.isEmpty() || Float.isNaN(scores[i])) {
        throw new InvalidInput(name + ": piece " + i + " is unusable (text '" + InvalidInput.brief(texts.get(i)) + "', type " + number + ", score " + scores[i] + ")");
      }
      pieces.add(new Piece(texts.get(i), scores[i], type.get()));
    }
    if (pieces.isEmpty()) throw new InvalidInput(name + " holds no vocabulary", "give a tokenizer with --tokenizer");
    return new SentencePieceBpe(name, new SentencePieceModel(pieces, "identity", dummyPrefix, removeExtraSpaces, true, false, true, bos, eos));
  }

  /// The same vocabulary with other habits at the ends of a document; the file itself says nothing of them, and Llama's
  /// (BOS in front, no EOS behind) are what a file alone is read with.
  public SentencePieceBpe withEnds(boolean bosInFront, boolean eosBehind) {
    return new SentencePieceBpe(this, bosInFront, eosBehind);
  }

  SentencePieceModel model() {
    return model;
  }

  /// Id of what no piece stands for.
  int unknown() {
    return unknown;
  }

  /// The bytes of a `tokenizer.model`, which the SentencePiece library reads as well.
  public byte[] toBytes() {
    return model.toBytes();
  }

  /// Writes a `tokenizer.model`.
  /// @throws InvalidInput if the file cannot be written
  public void save(Path file) {
    Tokenizers.write(file, toBytes());
  }

  @Override
  public int size() {
    return rank.length;
  }

  @Override
  public OptionalInt bos() {
    return bos;
  }

  @Override
  public OptionalInt eos() {
    return eos;
  }

  @Override
  public boolean addsBos() {
    return addsBos;
  }

  @Override
  public boolean addsEos() {
    return addsEos;
  }

  @Override
  public int[] encode(String text) {
    String normal = form.normalise(text);
    if (!separable) return whole(normal);
    var ids = IntStream.builder();
    for (int from = 0; from < normal.length(); ) {
      int to = wordEnd(normal, from);
      for (int id : word(normal.substring(from, to))) ids.add(id);
      from = to;
    }
    return ids.build().toArray();
  }

  /// Where the spaces at `from` and the word behind them end.
  private static int wordEnd(String normal, int from) {
    int to = from;
    while (to < normal.length() && normal.charAt(to) == SentencePieceText.SPACE) to++;
    while (to < normal.length() && normal.charAt(to) != SentencePieceText.SPACE) to++;
    return to;
  }

  /// Ids of a word with the spaces before it. Text repeats its words: the short ones are kept.
  private int[] word(String word) {
    if (word.length() > LONGEST_KEPT) return whole(word);
    var known = words.get(word);
    if (known != null) return known;
    int[] ids = whole(word);
    if (words.size() < MOST_KEPT) words.put(word, ids);
    return ids;
  }

  private int[] whole(String normal) {
    if (normal.isEmpty()) {
      return new int[0];
    }
    var whole = new BitSet(); // user-defined symbols, by place in the sequence
    var out = new Emission(normal);
    var merging = new Merging((m, left, right) -> whole.get(left) || whole.get(right) ? Merging.NONE
        : out.pair(m.start(left), m.end(left), m.end(right)), normal.length());
    for (int at = 0, n = 0; at < normal.length(); n++) {
      int symbol = form.symbolLength(normal, at);
      int to = symbol > 0 ? at + symbol : normal.offsetByCodePoints(at, 1);
      merging.add(index.getOrDefault(normal.substring(at, to), -1), at, to);
      whole.set(n, symbol > 0);
      at = to;
    }
    return out.of(merging.run());
  }

  /// Whether no piece joins a word to the space behind it, so that words can be encoded one by one.
  private static boolean separable(SentencePieceModel model) {
    return model.byteFallback() && model.pieces().stream().allMatch(p -> switch (p.type()) {
      case NORMAL, USER_DEFINED -> wordEnd(p.text(), 0) == p.text().length();
      case UNUSED -> false; // how one is taken apart again depends on the whole text
      case CONTROL, UNKNOWN, BYTE -> true;
    });
  }

  @Override
  public String piece(int id) {
    return model.pieces().get(checked(id)).text();
  }

  @Override
  public boolean control(int id) {
    var type = model.pieces().get(checked(id)).type();
    return type == Type.CONTROL || type == Type.UNKNOWN;
  }

  @Override
  public byte[] bytes(int id) {
    return bytes[checked(id)];
  }

  @Override
  public boolean bytePiece(int id) {
    return model.pieces().get(checked(id)).type() == Type.BYTE;
  }

  @Override
  public String decode(int... ids) {
    return PieceStream.decode(stream(), ids);
  }

  @Override
  public TextStream stream() {
    return PieceStream.ofWholePieces(this, model.removeExtraSpaces() ? PieceStream.Lead.DROP_EACH
        : model.dummyPrefix() ? PieceStream.Lead.DROP_FIRST : PieceStream.Lead.KEEP);
  }

  private static byte[] bytes(String name, int id, Piece piece) {
    String text = piece.text();
    return switch (piece.type()) {
      case CONTROL, UNKNOWN -> new byte[0];
      case NORMAL, USER_DEFINED, UNUSED -> text.replace(SentencePieceText.SPACE, ' ').getBytes(StandardCharsets.UTF_8);
      case BYTE -> {
        int value = ByteNames.value(text);
        if (value < 0) {
          throw new InvalidInput(name + ": byte piece " + id + " is called '" + InvalidInput.brief(text) + "'; expected <0x00> to <0xFF>");
        }
        yield new byte[] {(byte) value};
      }
    };
  }

  private OptionalInt control(Map<String, Integer> controls, String piece) {
    Integer id = controls.get(piece);
    return id == null || model.pieces().get(id).type() != Type.CONTROL ? OptionalInt.empty() : OptionalInt.of(id);
  }

  private int checked(int id) {
    if (id < 0 || id >= rank.length) {
      throw new IllegalArgumentException("id " + id + " outside the vocabulary of " + rank.length);
    }
    return id;
  }

  /// The joining of one text and the ids of what is left.
  private final class Emission {
    private final String text;
    private final Map<String, Integer> parts = new HashMap<>(); // unused pieces met, and where they were last joined
    private int[] ids;
    private int count;
    private boolean afterUnknown;

    Emission(String text) {
      this.text = text;
      ids = new int[Math.max(8, text.length() / 2)];
    }

    long pair(int from, int middle, int to) {
      if (to - from > longest) {
        return Merging.NONE;
      }
      String piece = text.substring(from, to);
      Integer id = index.get(piece);
      if (id == null) {
        return Merging.NONE;
      }
      if (unused && model.pieces().get(id).type() == Type.UNUSED) {
        parts.put(piece, middle - from);
      }
      return (long) rank[id] << 32 | id;
    }

    int[] of(Merging merged) {
      for (int i = 0; i >= 0; i = merged.next(i)) {
        put(text.substring(merged.start(i), merged.end(i)), merged.id(i));
      }
      return Arrays.copyOf(ids, count);
    }

    private void put(String piece, int id) {
      Integer middle = id >= 0 && unused && model.pieces().get(id).type() == Type.UNUSED ? parts.get(piece) : null;
      if (middle != null) {
        put(piece.substring(0, middle), index.getOrDefault(piece.substring(0, middle), -1));
        put(piece.substring(middle), index.getOrDefault(piece.substring(middle), -1));
      } else if (id >= 0) {
        afterUnknown = false;
        put(id);
      } else if (model.byteFallback()) {
        for (byte b : piece.getBytes(StandardCharsets.UTF_8)) {
          put(byteIds[b & 0xff]);
        }
      } else if (!afterUnknown) {
        afterUnknown = true;
        put(unknown);
      }
    }

    private void put(int id) {
      if (count == ids.length) {
        ids = Arrays.copyOf(ids, count * 2);
      }
      ids[count++] = id;
    }
  }
}
