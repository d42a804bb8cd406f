package org.llmcore.gguf;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.stream.IntStream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;
import org.llmcore.text.Tokenizer;
import org.llmcore.text.Tokenizers;
import org.llmcore.text.Wordless;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Tokenizers of every kind through a GGUF file and back.
class GgufTokenizerTest {
  private static final Path DATA = Path.of(System.getProperty("llm.data", "../shared/data"));
  private static final List<String> TEXTS = List.of(
      "", " ", "Once upon a time", "  two  spaces ", "It's 1234.5 o'clock!\n\n\ttab", "naïve café, 日本語 and 😀👨‍👩‍👧",
          "<s>[INST] </s> <|endoftext|>", "\u0000\u0001\uFFFD", "        eight");

  @TempDir private Path folder;

  private static Tokenizer tokenizer(String name) {
    var path = DATA.resolve(name);
    assumeTrue(Files.exists(path), "no " + name + ": set llm.data to the folder of public data");
    return Tokenizers.open(path, OptionalInt.empty());
  }

  private Tokenizer through(Map<String, Object> keys, int rows) {
    var file = folder.resolve("t.gguf");
    GgufWriter.write(file, keys, List.of(), (_, _) -> {});
    try (var open = Gguf.open(file)) {
      return GgufTokenizer.read(open, rows);
    }
  }

  private static void same(Tokenizer found, Tokenizer expected) {
    assertThat(found.size()).isEqualTo(expected.size());
    assertThat(found.bos()).isEqualTo(expected.bos());
    assertThat(found.eos()).isEqualTo(expected.eos());
    assertThat(found.addsBos()).isEqualTo(expected.addsBos());
    assertThat(found.addsEos()).isEqualTo(expected.addsEos());
    for (var text : TEXTS) {
      assertThat(found.encode(text)).as(text).isEqualTo(expected.encode(text));
      assertThat(found.decode(expected.encode(text))).as(text).isEqualTo(expected.decode(expected.encode(text)));
    }
    assertThat(pieces(found)).isEqualTo(pieces(expected));
  }

  /// All pieces, control ones marked.
  private static List<String> pieces(Tokenizer t) {
    return IntStream.range(0, t.size()).mapToObj(id -> t.control(id) + " " + t.piece(id)).toList();
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama2-tokenizer/tokenizer.model", "stories260k/tok512.model", "gpt2-bpe/tokenizer.json"})
  void whatIsWrittenIsReadAgainWithPaddingOrWithout(String name) {
    var t = tokenizer(name);
    for (int rows : new int[] {t.size(), t.size() + 64}) {
      var keys = new LinkedHashMap<String, Object>();
      GgufTokenizer.write(keys, t, rows);
      assertThat((List<?>) keys.get("tokenizer.ggml.tokens")).hasSize(rows);
      same(through(keys, rows), t);
    }
  }

  @Test
  void theListsAloneSayWhatAByteLevelTokenizerDoes() {
    var t = tokenizer("gpt2-bpe/tokenizer.json");
    var keys = new LinkedHashMap<String, Object>();
    GgufTokenizer.write(keys, t, t.size());
    assertThat(keys).containsEntry("tokenizer.ggml.model", "gpt2").containsEntry("tokenizer.ggml.pre", "gpt-2")
        .containsKey("tokenizer.huggingface.json");
    keys.remove("tokenizer.huggingface.json");
    same(through(keys, t.size()), t);
    keys.put("tokenizer.huggingface.json", "{}"); // one that cannot be used is passed over
    same(through(keys, t.size()), t);
    keys.remove("tokenizer.ggml.token_type");
    var plain = through(keys, t.size());
    assertThat(plain.encode("Once upon a time")).isEqualTo(t.encode("Once upon a time"));
    keys.put("tokenizer.ggml.pre", "default");
    wordless(through(keys, t.size()), "'default'");
  }

  @Test
  void llama2csTokenizerBecomesTheSentencePieceModelItWasMadeFrom() {
    var t = tokenizer("stories260k/tok512.bin");
    var keys = new LinkedHashMap<String, Object>();
    GgufTokenizer.write(keys, t, t.size());
    var found = through(keys, t.size());
    for (var text : TEXTS) if (!text.contains("\u0000")) assertThat(found.encode(text)).as(text).isEqualTo(t.encode(text));
  }

  @Test
  void listsThatDoNotBelongTogetherAreRefused() {
    var t = tokenizer("stories260k/tok512.model");
    var keys = new LinkedHashMap<String, Object>();
    GgufTokenizer.write(keys, t, t.size());
    refused(keys, "tokenizer.ggml.scores", new float[3], "3 values for 512 tokens");
    refused(keys, "tokenizer.ggml.token_type", new int[513], "513 values for 512 tokens");
    refused(keys, "tokenizer.ggml.token_type", new int[512], "type 0");
    refused(keys, "tokenizer.ggml.tokens", List.of(), "512 values for 0 tokens");
    assertThatThrownBy(() -> through(keys, 511)).isInstanceOf(InvalidInput.class).hasMessageContaining("512 values, expected at most 511");
    refused(keys, "tokenizer.ggml.model", "gpt2", "merges");
    var wild = new java.util.ArrayList<>(IntStream.range(0, 512).mapToObj(t::piece).toList());
    for (int id : new int[] {300, 301}) wild.set(id, "\u001b[2J" + "x".repeat(50_000));
    refused(keys, "tokenizer.ggml.tokens", wild, "x…' twice, the second time as id 301");
    refused(keys, "tokenizer.ggml.pre", 3, "expected a text");
  }

  private static void wordless(Tokenizer t, String words) {
    assertThat(t).isInstanceOf(Wordless.class);
    assertThatThrownBy(() -> t.encode("a")).isInstanceOf(InvalidInput.class).hasMessageContainingAll(words, "--tokenizer");
  }

  @Test
  void idsWorkWhereThereIsNoTokenizerOrNoneThatIsKnown() {
    var t = tokenizer("stories260k/tok512.model");
    var keys = new LinkedHashMap<String, Object>();
    GgufTokenizer.write(keys, t, t.size());
    for (var kind : List.of("none", "no_vocab")) {
      keys.put("tokenizer.ggml.model", kind);
      wordless(through(keys, 520), "holds no tokenizer");
    }
    keys.put("tokenizer.ggml.model", "bert\u001b[2J" + "x".repeat(5000));
    wordless(through(keys, 520), "kind 'bert\\u{1b}[2J");
    var found = through(keys, 520);
    assertThat(found.size()).isEqualTo(520);
    assertThat(found.bos()).hasValue(1);
    assertThat(found.eos()).hasValue(2);
    keys.put("tokenizer.ggml.model", "llama");
    keys.remove("tokenizer.ggml.tokens");
    wordless(through(keys, 520), "lacks tokenizer.ggml.tokens");
    wordless(through(Map.of(), 520), "holds no tokenizer");
  }

  @Test
  void withoutTypesPiecesArePlainAndWithoutScoresAlike() {
    var t = tokenizer("stories260k/tok512.model");
    var keys = new LinkedHashMap<String, Object>();
    GgufTokenizer.write(keys, t, t.size());
    keys.remove("tokenizer.ggml.token_type");
    same(through(keys, t.size()), t);
    keys.remove("tokenizer.ggml.scores");
    assertThat(through(keys, t.size()).encode("a")).isEqualTo(t.encode("a"));
  }

  private void refused(Map<String, Object> keys, String key, Object value, String words) {
    var changed = new LinkedHashMap<>(keys);
    changed.put(key, value);
    assertThatThrownBy(() -> through(changed, 512)).isInstanceOf(InvalidInput.class).hasMessageContaining(words);
  }
}
