package org.llmcore.gguf;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

import org.llmcore.InvalidInput;
import org.llmcore.text.Tokenizer;
import org.llmcore.text.Vocabulary;

/// The tokenizer in a GGUF file: its `tokenizer.huggingface.json` where it is there and can be used, else the lists
/// `tokenizer.ggml.tokens`, `scores`, `token_type` and `merges` (`Vocabulary`).
public final class GgufTokenizer {
  private static final String GGML = "tokenizer.ggml.";
  private static final String JSON = "tokenizer.huggingface.json";

  private GgufTokenizer() {}

  /// @param vocabulary rows of the model's embedding
  /// @throws InvalidInput if it is of a kind that is not supported
  static Tokenizer read(Gguf file, int vocabulary) {
    var kind = file.text(GGML + "model").orElse("none");
    if (!kind.equals("llama") && !kind.equals("gpt2")) {
      throw new InvalidInput(file.path() + " has a tokenizer of kind '" + kind + "'",
          "supported are llama (SentencePiece) and gpt2 (byte-level BPE); give the model's own with --tokenizer");
    }
    boolean pieces = kind.equals("llama");
    var texts = file.texts(GGML + "tokens").orElse(List.of());
    int n = texts.size();
    var ends = new Vocabulary.Ends(id(file, "bos_token_id", n), id(file, "eos_token_id", n),
        file.flag(GGML + "add_bos_token").orElse(pieces), file.flag(GGML + "add_eos_token").orElse(false));
    var name = "the tokenizer of " + file.path();
    var lists = new Vocabulary(
        pieces ? Vocabulary.Kind.SENTENCE_PIECE : Vocabulary.Kind.BYTE_LEVEL, texts,
        pieces ? numbers(file, "scores", true, n).toArray(ValueLayout.JAVA_FLOAT_UNALIGNED) : new float[0],
        numbers(file, "token_type", false, n).toArray(ValueLayout.JAVA_INT_UNALIGNED),
        pieces ? List.of() : file.texts(GGML + "merges").orElseThrow(() ->
            Gguf.wrong(file.path(), "it lacks " + GGML + "merges")),
        file.text(GGML + "pre"), file.flag(GGML + "add_space_prefix").orElse(pieces),
        file.flag(GGML + "remove_extra_whitespaces").orElse(false), Optional.empty());
    return original(file, lists, name, ends, vocabulary).orElseGet(() -> lists.tokenizer(name, ends));
  }

  /// The tokenizer.json in the file, unless it is unusable here or of another size.
  private static Optional<Tokenizer> original(Gguf file, Vocabulary lists, String name, Vocabulary.Ends ends, int vocabulary) {
    var json = file.keys().get(JSON) instanceof String s ? Optional.of(s.getBytes(StandardCharsets.UTF_8))
        : Optional.<byte[]>empty();
    if (json.isEmpty()) return Optional.empty();
    try {
      var t = lists.from(json.get()).tokenizer(name, ends);
      return t.size() <= vocabulary ? Optional.of(t) : Optional.empty();
    } catch (InvalidInput _) {
      return Optional.empty();
    }
  }

  private static OptionalInt id(Gguf file, String key, int n) {
    var value = file.integer(GGML + key);
    return value.isPresent() && value.get() >= 0 && value.get() < n ? OptionalInt.of((int) (long) value.get())
        : OptionalInt.empty();
  }

  private static MemorySegment numbers(Gguf file, String key, boolean real, int n) {
    var data = file.numbers(GGML + key, real).orElseThrow(() -> Gguf.wrong(file.path(), "it lacks " + GGML + key));
    if (data.byteSize() != 4L * n) throw Gguf.wrong(file.path(), GGML + key + " has " + data.byteSize() / 4 + " values for " + n
        + " tokens");
    return data;
  }

  /// Adds a tokenizer to the keys of a file.
  /// @param rows of the model's embedding: as many entries are written
  public static void write(Map<String, Object> keys, Tokenizer tokenizer, int rows) {
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
    for (int id = 0; id < lists.types().length; id++) if (lists.types()[id] == 2) keys.put(GGML + "unknown_token_id", id);
    keys.put(GGML + "add_bos_token", tokenizer.addsBos());
    keys.put(GGML + "add_eos_token", tokenizer.addsEos());
    keys.put(GGML + "add_space_prefix", lists.dummyPrefix());
    if (lists.removesExtraSpaces()) keys.put(GGML + "remove_extra_whitespaces", true);
    lists.json().ifPresent(json -> keys.put(JSON, new String(json, StandardCharsets.UTF_8)));
  }
}
