package org.llmcore.gguf;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.IntStream;

import org.llmcore.InvalidInput;
import org.llmcore.text.Tokenizer;
import org.llmcore.text.Vocabulary;
import org.llmcore.text.Wordless;

/// The tokenizer in a GGUF file: its `tokenizer.huggingface.json` where it is there and can be used, else the lists
/// `tokenizer.ggml.tokens`, `scores`, `token_type` and `merges` (`Vocabulary`).
public final class GgufTokenizer {
  private static final String GGML = "tokenizer.ggml.";
  private static final String JSON = "tokenizer.huggingface.json";
  private static final int MERGES = 1 << 24;
  private static final int NORMAL = 1; // of GGML's token types
  private static final int UNKNOWN = 2;
  private static final int CONTROL = 3;
  private static final int BYTE = 6;

  private GgufTokenizer() {}

  /// The tokenizer, or `Wordless` where there is none or none that is known here: ids work all the same.
  /// @param vocabulary rows of the model's embedding
  /// @throws InvalidInput if its lists do not belong together
  static Tokenizer read(Gguf file, int vocabulary) {
    var kind = file.text(GGML + "model").orElse("none");
    if (!kind.equals("llama") && !kind.equals("gpt2")) {
      return wordless(file, vocabulary, kind.equals("none") || kind.equals("no_vocab") ? " holds no tokenizer"
          : " has a tokenizer of kind '" + InvalidInput.brief(kind) + "', supported are llama (SentencePiece) and gpt2 (byte-level BPE)");
    }
    boolean pieces = kind.equals("llama");
    if (!file.keys().containsKey(GGML + "tokens")) return wordless(file, vocabulary, " lacks " + GGML + "tokens");
    var texts = file.texts(GGML + "tokens", vocabulary);
    int n = texts.size();
    var ends = new Vocabulary.Ends(id(file, "bos_token_id", n), id(file, "eos_token_id", n),
        file.flag(GGML + "add_bos_token").orElse(pieces), file.flag(GGML + "add_eos_token").orElse(false));
    var name = "the tokenizer of " + file.path();
    var lists = new Vocabulary(
        pieces ? Vocabulary.Kind.SENTENCE_PIECE : Vocabulary.Kind.BYTE_LEVEL, texts,
        pieces ? numbers(file, "scores", true, n).map(s -> s.toArray(ValueLayout.JAVA_FLOAT_UNALIGNED)).orElseGet(() -> new float[n]) : new float[0],
        numbers(file, "token_type", false, n).map(t -> t.toArray(ValueLayout.JAVA_INT_UNALIGNED)).orElseGet(() -> types(file, texts, pieces)),
        pieces ? List.of() : merges(file),
        file.text(GGML + "pre"), file.flag(GGML + "add_space_prefix").orElse(pieces),
        file.flag(GGML + "remove_extra_whitespaces").orElse(false), Optional.empty());
    var original = original(file, lists, name, ends, vocabulary);
    if (original.isPresent()) return original.get();
    if (lists.cuts()) return lists.tokenizer(name, ends);
    return wordless(file, vocabulary, " cuts words by '" + InvalidInput.brief(lists.cut().orElse("default"))
        + "' (tokenizer.ggml.pre), which is not known here");
  }

  private static Wordless wordless(Gguf file, int vocabulary, String why) {
    return new Wordless(vocabulary, id(file, "bos_token_id", vocabulary), ends(file, vocabulary), file.path() + why,
        "text needs the model's own tokenizer: name it with --tokenizer (tokenizer.json or tokenizer.model), or give token ids");
  }

  private static List<String> merges(Gguf file) {
    if (!file.keys().containsKey(GGML + "merges")) throw Gguf.wrong(file.path(), "it lacks " + GGML + "merges");
    return file.texts(GGML + "merges", MERGES);
  }

  /// What a file that does not say it means: plain pieces, but those that its keys (by default llama.cpp's) and names tell apart.
  private static int[] types(Gguf file, List<String> texts, boolean pieces) {
    var types = new int[texts.size()];
    Arrays.fill(types, NORMAL);
    if (pieces) for (int id = 0; id < types.length; id++) if (texts.get(id).matches("<0x[0-9A-F]{2}>")) types[id] = BYTE;
    id(file, "bos_token_id", types.length).ifPresent(id -> types[id] = CONTROL);
    id(file, "eos_token_id", types.length).ifPresent(id -> types[id] = CONTROL);
    if (pieces && types.length > 0) types[id(file, "unknown_token_id", types.length).orElse(0)] = UNKNOWN;
    return types;
  }

  /// The end of a text, and the end of a turn where that is another.
  static List<Integer> ends(Gguf file, int vocabulary) {
    return IntStream.concat(id(file, "eos_token_id", vocabulary).stream(), id(file, "eot_token_id", vocabulary).stream()).distinct()
        .boxed().toList();
  }

  /// The tokenizer.json in the file, unless it is unusable here or of another size.
  private static Optional<Tokenizer> original(Gguf file, Vocabulary lists, String name, Vocabulary.Ends ends, int vocabulary) {
    if (!file.keys().containsKey(JSON)) return Optional.empty();
    try {
      var t = lists.from(file.text(JSON).orElseThrow().getBytes(StandardCharsets.UTF_8)).tokenizer(name, ends);
      return t.size() <= vocabulary ? Optional.of(t) : Optional.empty();
    } catch (InvalidInput _) {
      return Optional.empty();
    }
  }

  /// An id of a vocabulary of n, if the file names one.
  static OptionalInt id(Gguf file, String key, int n) {
    var value = file.integer(GGML + key);
    return value.isPresent() && value.get() >= 0 && value.get() < n ? OptionalInt.of((int) (long) value.get())
        : OptionalInt.empty();
  }

  private static Optional<MemorySegment> numbers(Gguf file, String key, boolean real, int n) {
    var data = file.numbers(GGML + key, real);
    if (data.isPresent() && data.get().byteSize() != 4L * n) {
      throw Gguf.wrong(file.path(), GGML + key + " has " + data.get().byteSize() / 4 + " values for " + n + " tokens");
    }
    return data;
  }

  /// Adds a tokenizer to the keys of a file.
  /// @param rows of the model's embedding: as many entries are written
  public static void write(Map<String, Object> keys, Tokenizer tokenizer, int rows) {
    if (tokenizer instanceof Wordless) {
      keys.put(GGML + "model", "none");
      tokenizer.bos().ifPresent(id -> keys.put(GGML + "bos_token_id", id));
      return;
    }
    var lists = Vocabulary.of(tokenizer).padded(rows);
    boolean pieces = lists.kind() == Vocabulary.Kind.SENTENCE_PIECE;
    keys.put(GGML + "model", pieces ? "llama" : "gpt2");
    keys.put(GGML + "pre", lists.cut().orElse("default"));
    keys.put(GGML + "tokens", lists.texts());
    if (pieces) keys.put(GGML + "scores", lists.scores());
    keys.put(GGML + "token_type", lists.types());
    if (!pieces) keys.put(GGML + "merges", lists.merges());
    tokenizer.bos().ifPresent(id -> keys.put(GGML + "bos_token_id", id));
    tokenizer.eos().ifPresent(id -> keys.put(GGML + "eos_token_id", id));
    for (int id = 0; id < lists.types().length; id++) if (lists.types()[id] == UNKNOWN) keys.put(GGML + "unknown_token_id", id);
    keys.put(GGML + "add_bos_token", tokenizer.addsBos());
    keys.put(GGML + "add_eos_token", tokenizer.addsEos());
    keys.put(GGML + "add_space_prefix", lists.dummyPrefix());
    if (lists.removesExtraSpaces()) keys.put(GGML + "remove_extra_whitespaces", true);
    lists.json().ifPresent(json -> keys.put(JSON, new String(json, StandardCharsets.UTF_8)));
  }
}
