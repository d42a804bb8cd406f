package org.llmcore.text;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

import org.llmcore.InvalidInput;
import org.llmcore.text.SentencePieceModel.Piece;
import org.llmcore.text.SentencePieceModel.Type;

/// A tokenizer laid out as lists, one entry an id: what GGUF files hold.
///
/// | kind             | what joins pieces              | GGUF's name |
/// |------------------|--------------------------------|-------------|
/// | `SENTENCE_PIECE` | the scores, highest first      | llama       |
/// | `BYTE_LEVEL`     | the merges, first to last      | gpt2        |
///
/// @param scores of `SENTENCE_PIECE`, else empty
/// @param types SentencePiece's numbers: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
/// @param merges of `BYTE_LEVEL`, `left right`, else empty
/// @param cut how `BYTE_LEVEL` cuts text into words, by llama.cpp's name; empty where it has none for it
/// @param dummyPrefix whether text begins with a space
/// @param json the `tokenizer.json` it comes from, which says all of this and more
public record Vocabulary(Kind kind, List<String> texts, float[] scores, int[] types, List<String> merges, Optional<String> cut,
    boolean dummyPrefix, boolean removesExtraSpaces, Optional<byte[]> json) {
  /// What joins pieces.
  public enum Kind {
    SENTENCE_PIECE,
    BYTE_LEVEL
  }

  /// Ids of BOS and EOS, and whether a document gets them.
  public record Ends(OptionalInt bos, OptionalInt eos, boolean addsBos, boolean addsEos) {
    /// Those of a tokenizer.
    public static Ends of(Tokenizer t) {
      return new Ends(t.bos(), t.eos(), t.addsBos(), t.addsEos());
    }

    private Optional<String> text(OptionalInt id, List<String> texts) {
      return id.isPresent() && id.getAsInt() < texts.size() ? Optional.of(texts.get(id.getAsInt())) : Optional.empty();
    }

    private TokenizerConfig config(List<String> texts) {
      return new TokenizerConfig(text(bos, texts), text(eos, texts), Optional.of(addsBos), Optional.of(addsEos), bos, eos);
    }
  }

  private static final int NORMAL = Type.NORMAL.number();
  private static final int UNUSED = Type.UNUSED.number();

  /// The lists of a tokenizer of any kind.
  /// @throws InvalidInput if they cannot say what it does
  public static Vocabulary of(Tokenizer tokenizer) {
    return switch (tokenizer) {
      case SentencePieceBpe t -> of(t.model());
      case Llama2cTokenizer t -> of(t);
      case HuggingFaceTokenizer t -> VocabularyJson.read(t);
      default -> throw new IllegalArgumentException("no lists for a " + tokenizer.getClass().getName());
    };
  }

  private static Vocabulary of(SentencePieceModel m) {
    if (!m.byteFallback() || m.suffixSpace() || !m.escapeSpaces()) {
      throw new InvalidInput("the tokenizer has no byte fallback or puts spaces behind words",
          "GGUF has no form for such a SentencePiece model");
    }
    var scores = new float[m.pieces().size()];
    for (int i = 0; i < scores.length; i++) scores[i] = m.pieces().get(i).score();
    return new Vocabulary(Kind.SENTENCE_PIECE, m.pieces().stream().map(Piece::text).toList(), scores,
        m.pieces().stream().mapToInt(p -> p.type().number()).toArray(), List.of(), Optional.empty(), m.dummyPrefix(),
        m.removeExtraSpaces(), Optional.empty());
  }

  /// llama2.c's files spell a space as a space, and put line breaks around `<s>` and `</s>`.
  private static Vocabulary of(Llama2cTokenizer t) {
    var texts = new ArrayList<String>(List.of("<unk>", "<s>", "</s>"));
    var types = new int[t.size()];
    Arrays.fill(types, NORMAL);
    types[0] = Type.UNKNOWN.number();
    types[1] = Type.CONTROL.number();
    types[2] = Type.CONTROL.number();
    for (int id = 3; id < t.size(); id++) {
      if (t.bytePiece(id)) types[id] = Type.BYTE.number();
      texts.add(t.piece(id).replace(' ', SentencePieceText.SPACE));
    }
    return new Vocabulary(Kind.SENTENCE_PIECE, texts, t.scores(), types, List.of(), Optional.empty(), true, false,
        Optional.empty());
  }

  /// Whether it is known here how words are cut.
  public boolean cuts() {
    return kind == Kind.SENTENCE_PIECE || VocabularyJson.knows(cut);
  }

  /// The tokenizer that the lists describe.
  /// @param name how error messages call it
  /// @throws InvalidInput if they do not belong together or need what is not supported
  public Tokenizer tokenizer(String name, Ends ends) {
    if (json.isPresent()) return HuggingFaceTokenizer.parse(name, json.get(), ends.config(texts));
    if (types.length != texts.size()) throw new InvalidInput(name + " has " + texts.size() + " pieces and " + types.length
        + " types");
    if (kind == Kind.BYTE_LEVEL) {
      return HuggingFaceTokenizer.parse(name, VocabularyJson.write(name, this), ends.config(texts));
    }
    if (scores.length != texts.size()) throw new InvalidInput(name + " has " + texts.size() + " pieces and " + scores.length
        + " scores");
    int n = filled();
    return SentencePieceBpe.of(name, texts.subList(0, n), scores, types, dummyPrefix, removesExtraSpaces,
        ends.text(ends.bos, texts).orElse("<s>"), ends.text(ends.eos, texts).orElse("</s>")).withEnds(ends.addsBos, ends.addsEos);
  }

  /// The same lists, made from this `tokenizer.json`.
  public Vocabulary from(byte[] source) {
    return new Vocabulary(kind, texts, scores, types, merges, cut, dummyPrefix, removesExtraSpaces, Optional.of(source));
  }

  /// As many entries as a model has rows, where it has more: llama.cpp asks for one a row.
  public Vocabulary padded(int rows) {
    if (rows <= texts.size()) return this;
    var longer = new ArrayList<>(texts);
    for (int i = texts.size(); i < rows; i++) longer.add(padding(i));
    var kinds = Arrays.copyOf(types, rows);
    Arrays.fill(kinds, types.length, rows, UNUSED);
    var values = scores.length == 0 ? scores : Arrays.copyOf(scores, rows);
    for (int i = scores.length; i < values.length; i++) values[i] = -1000;
    return new Vocabulary(kind, longer, values, kinds, merges, cut, dummyPrefix, removesExtraSpaces, json);
  }

  static String padding(int id) {
    return "[PAD" + id + "]";
  }

  /// Entries without the padding at the end.
  int filled() {
    int n = texts.size();
    while (n > 0 && types[n - 1] == UNUSED && texts.get(n - 1).equals(padding(n - 1))) n--;
    return n;
  }

  /// A `tokenizer.bin` of llama2.c, which never joins runs of spaces and joins letters only from such as are pieces.
  /// @throws InvalidInput if that format has no place for the pieces
  public byte[] toLlama2c() {
    boolean fits = kind == Kind.SENTENCE_PIECE && texts.size() >= 259 && types[0] == Type.UNKNOWN.number()
        && types[1] == Type.CONTROL.number() && types[2] == Type.CONTROL.number();
    for (int id = 3; fits && id < texts.size(); id++) fits = types[id] == (id < 259 ? Type.BYTE.number() : NORMAL);
    for (int b = 0; fits && b < 256; b++) fits = texts.get(3 + b).equals(ByteNames.name(b));
    var letters = new HashSet<>(texts.subList(Math.min(texts.size(), 259), texts.size()));
    for (int id = 259; fits && id < texts.size(); id++) fits = texts.get(id).codePoints().allMatch(c -> letters.contains(Character.toString(c)));
    if (!fits || !dummyPrefix) {
      throw new InvalidInput("the tokenizer is not of the one kind that llama2.c knows",
          "it asks for Llama 2's: SentencePiece with <unk>, <s>, </s>, 256 bytes, then pieces whose every letter is a piece too; write gguf or hf");
    }
    var pieces = new ArrayList<byte[]>();
    int longest = 0;
    int bytes = 4;
    for (int id = 0; id < texts.size(); id++) {
      var text = id == 1 || id == 2 ? "\n" + texts.get(id) + "\n" : texts.get(id).replace(SentencePieceText.SPACE, ' ');
      pieces.add(text.getBytes(StandardCharsets.UTF_8));
      longest = Math.max(longest, pieces.getLast().length);
      bytes += 8 + pieces.getLast().length;
    }
    var out = ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN).putInt(longest);
    for (int id = 0; id < texts.size(); id++) out.putFloat(scores[id]).putInt(pieces.get(id).length).put(pieces.get(id));
    return out.array();
  }
}
