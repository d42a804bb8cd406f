package org.llmcore.text;

import java.nio.charset.StandardCharsets;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.IntStream;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// Small files by hand; the real ones are in GoldenTokensTest, the library beside us in PythonPeersTest.
class HuggingFaceTokenizerTest {
  private static final String BYTES = """
      {"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},"decoder":{"type":"ByteLevel"},
       "added_tokens":[],"model":{"type":"BPE","vocab":{"a":0,"b":1,"Ġ":2,"ab":3,"Ġa":4,"aab":5,"Ã":6,"©":7,"1":8},
       "merges":["a b","Ġ a","a ab"]}}""";
  private static final String LLAMA = """
      {"added_tokens":[{"id":0,"content":"<unk>","special":true},{"id":1,"content":"<s>","special":true},
        {"id":2,"content":"</s>","special":true}],
       "normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
        {"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
       "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A"}}],
        "special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}},
       "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},
        {"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},
       "model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,
        "vocab":{"<unk>":0,"<s>":1,"</s>":2,"<0xC3>":3,"<0xA9>":4,"▁":5,"a":6,"b":7,"▁a":8,"<":9,"s":10,">":11,"<s":12},
        "merges":[["▁","a"],["<","s"],["<s",">"]]}}""";

  private static ObjectNode json(String text) {
    try {
      return (ObjectNode) new ObjectMapper().readTree(text);
    } catch (JsonProcessingException e) {
      throw new AssertionError(e);
    }
  }

  private static HuggingFaceTokenizer read(ObjectNode json) {
    return read(json, TokenizerConfig.NONE);
  }

  private static HuggingFaceTokenizer read(ObjectNode json, TokenizerConfig config) {
    return HuggingFaceTokenizer.parse("tokenizer.json", json.toString().getBytes(StandardCharsets.UTF_8), config);
  }

  private static String pieces(Tokenizer tokenizer, String text) {
    return IntStream.of(tokenizer.encode(text)).mapToObj(tokenizer::piece).reduce((a, b) -> a + "|" + b).orElse("");
  }

  private static ObjectNode withToken(String content, String flags) {
    var root = json(BYTES);
    root.withArray("added_tokens").add(json("{\"id\":9,\"content\":\"" + content + "\"," + flags + "}"));
    return root;
  }

  @Test
  void byteLevelWordsJoinByRank() {
    var tokenizer = read(json(BYTES));
    assertThat(pieces(tokenizer, "aab ab")).isEqualTo("aab|Ġ|ab"); // a b is rank 0, Ġ a rank 1
    assertThat(tokenizer.decode(tokenizer.encode("aab é a"))).isEqualTo("aab é a");
    assertThat(tokenizer.bos()).isEmpty();
    assertThat(tokenizer.addsBos()).isFalse();
  }

  @Test
  void ignoreMergesTakesAWholeWordFromTheVocabulary() {
    var root = json(BYTES);
    root.withObject("model").put("ignore_merges", true).withObject("vocab").put("ba", 9);
    assertThat(pieces(read(root), "ba")).isEqualTo("ba");
    root.withObject("model").put("ignore_merges", false);
    assertThat(pieces(read(root), "ba")).isEqualTo("b|a");
  }

  @Test
  void llamaStyleIsLikeSentencePiece() {
    var tokenizer = read(json(LLAMA));
    assertThat(pieces(tokenizer, "a é aa")).isEqualTo("▁a|▁|<0xC3>|<0xA9>|▁a|a");
    assertThat(tokenizer.decode(tokenizer.encode("a é aa"))).isEqualTo("a é aa");
    assertThat(tokenizer.encode("ab😀😀b")).containsExactly(8, 7, 0, 7); // bytes are missing: unknown, fused
    assertThat(tokenizer.addsBos()).isTrue();
    assertThat(tokenizer.bos()).hasValue(1);
    assertThat(tokenizer.eos()).hasValue(2);
  }

  @Test
  void controlTokensNeverComeFromTextEvenByMerging() {
    var tokenizer = read(json(LLAMA));
    assertThat(pieces(tokenizer, "<s>a")).isEqualTo("▁|<s|>|a");
    assertThat(tokenizer.decode(1, 8, 2, 7)).isEqualTo("ab");
    assertThat(pieces(read(withToken("ab", "\"special\":true")), "abb")).isEqualTo("a|b|b");
  }

  @ParameterizedTest
  @CsvSource(delimiter = ';', textBlock = """
      "special":false;a@ a;a|@|Ġa
      "lstrip":true;a @a;a|@|a
      "rstrip":true;a@  a;a|@|a
      "single_word":true;a@ @;a|Ġ|@
      """, quoteCharacter = '\'')
  void addedTokensAreCutOutByTheirFlags(String flags, String text, String expected) {
    assertThat(pieces(read(withToken("@", flags)), text)).isEqualTo(expected);
  }

  @Test
  void theLongestAddedTokenWins() {
    var root = withToken("@", "\"special\":false");
    root.withArray("added_tokens").add(json("{\"id\":10,\"content\":\"@@\",\"normalized\":false}"));
    assertThat(pieces(read(root), "@@@")).isEqualTo("@@|@");
  }

  @Test
  void splitKeepsDigitsInGroups() {
    var root = json(BYTES);
    root.set("pre_tokenizer", json("""
        {"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\\\p{N}{1,2}|[^\\\\p{N}]+"},"behavior":"Isolated"},
         {"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}"""));
    root.withObject("model").withObject("vocab").put("11", 9).put("111", 10);
    root.withObject("model").withArray("merges").add("1 1").add("11 1");
    assertThat(pieces(read(root), "a111")).isEqualTo("a|11|1");
  }

  @Test
  void theConfigurationNamesTheEnds() {
    var config = new TokenizerConfig(Optional.of("a"), Optional.of("b"), Optional.of(true), Optional.of(true), OptionalInt.empty(), OptionalInt.empty());
    var tokenizer = read(json(BYTES), config);
    assertThat(tokenizer.bos()).hasValue(0);
    assertThat(tokenizer.eos()).hasValue(1);
    assertThat(tokenizer.addsBos()).isTrue();
    assertThat(tokenizer.addsEos()).isTrue();
    assertThat(tokenizer.control(1)).isTrue();
  }

  @ParameterizedTest
  @ValueSource(strings = {"normalizer", "pre_tokenizer", "post_processor", "decoder"})
  void unknownComponentsAreRefusedByName(String part) {
    var root = json(BYTES);
    root.set(part, json("{\"type\":\"Fancy\"}"));
    assertThatThrownBy(() -> read(root)).isInstanceOf(InvalidInput.class).hasMessageContaining(part).hasMessageContaining("'Fancy'");
  }

  @Test
  void brokenModelsAreRefused() {
    var wordPiece = json("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}},\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}");
    assertThatThrownBy(() -> read(wordPiece)).isInstanceOf(InvalidInput.class).hasMessageContaining("WordPiece");
    var unigram = json("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0.5]]}}");
    assertThatThrownBy(() -> read(unigram)).isInstanceOf(InvalidInput.class).hasMessageContaining("Unigram");
    var missing = json(BYTES);
    missing.withObject("model").withArray("merges").add("a zz");
    assertThatThrownBy(() -> read(missing)).isInstanceOf(InvalidInput.class).hasMessageContaining("'zz'");
    var form = json(BYTES);
    form.withObject("model").withArray("merges").add("a b c");
    assertThatThrownBy(() -> read(form)).isInstanceOf(InvalidInput.class).hasMessageContaining("a b c");
    var gap = json(BYTES);
    gap.withObject("model").withObject("vocab").put("far", 2_000_000_000);
    assertThatThrownBy(() -> read(gap)).isInstanceOf(InvalidInput.class).hasMessageContaining("2000000000");
    var negative = json(BYTES);
    negative.withObject("model").withObject("vocab").put("far", -1);
    assertThatThrownBy(() -> read(negative)).isInstanceOf(InvalidInput.class);
    var expression = json(BYTES);
    expression.set("pre_tokenizer", json("{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}"));
    assertThatThrownBy(() -> read(expression)).isInstanceOf(InvalidInput.class).hasMessageContaining("regular expression");
    byte[] cut = BYTES.substring(0, 100).getBytes(StandardCharsets.UTF_8);
    assertThatThrownBy(() -> HuggingFaceTokenizer.parse("cut.json", cut, TokenizerConfig.NONE)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("cut.json is not JSON");
  }
}
