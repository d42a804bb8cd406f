package org.llmcore.text;

import java.io.IOException;
import java.util.OptionalInt;
import java.util.stream.IntStream;

import org.junit.jupiter.api.Test;

import static org.assertj.core.api.Assertions.assertThat;

/// Ids and texts that the original programs made (SentencePiece, tokenizers, llama2.c).
class GoldenTokensTest {
  @Test
  void llama2IdsPiecesAndTextAreSentencePieces() throws IOException {
    var tokenizer = Tokenizers.open(Golden.file("llama2-tokenizer/tokenizer.model"), OptionalInt.of(32000));
    for (var row : Golden.json("llama2-tokenizer/vectors-dev.json")) {
      String text = row.path("text").asText();
      int[] ids = tokenizer.encode(text);
      assertThat(ids).as(text).isEqualTo(Golden.ids(row.path("ids")));
      assertThat(IntStream.of(ids).mapToObj(tokenizer::piece)).as(text)
          .containsExactlyElementsOf(row.path("pieces").valueStream().map(p -> p.asText()).toList());
      assertThat(tokenizer.decode(ids)).isEqualTo(row.path("decoded").asText());
      assertThat(Golden.streamed(tokenizer, ids)).isEqualTo(row.path("decoded").asText());
    }
    assertThat(tokenizer.bos()).hasValue(1);
    assertThat(tokenizer.eos()).hasValue(2);
    assertThat(tokenizer.addsBos()).isTrue();
    assertThat(tokenizer.addsEos()).isFalse();
  }

  @Test
  void llama2IdsAreThoseOfLlama2cTests() throws IOException {
    var tokenizer = SentencePieceBpe.read(Golden.file("llama2-tokenizer/tokenizer.model"));
    for (var row : Golden.json("llama2-tokenizer/llama2c_test_c.json")) {
      int[] withBos = IntStream.concat(IntStream.of(1), IntStream.of(tokenizer.encode(row.path("text").asText()))).toArray();
      assertThat(withBos).isEqualTo(Golden.ids(row.path("ids_with_bos")));
    }
  }

  @Test
  void byteLevelIdsTokensAndTextAreTheLibrarys() throws IOException {
    var tokenizer = Tokenizers.open(Golden.file("gpt2-bpe"), OptionalInt.of(50304));
    for (var row : Golden.json("gpt2-bpe/vectors-dev.json")) {
      String text = row.path("text").asText();
      int[] ids = tokenizer.encode(text);
      assertThat(ids).as(text).isEqualTo(Golden.ids(row.path("ids")));
      assertThat(IntStream.of(ids).mapToObj(tokenizer::piece)).as(text)
          .containsExactlyElementsOf(row.path("tokens").valueStream().map(p -> p.asText()).toList());
      assertThat(tokenizer.decode(ids)).isEqualTo(row.path("decoded").asText());
      assertThat(Golden.streamed(tokenizer, ids)).isEqualTo(row.path("decoded").asText());
    }
    assertThat(tokenizer.size()).isEqualTo(50295);
  }

  @Test
  void bothTokenizersOfTheTinyModelReadItsPromptsAndTexts() throws IOException {
    var model = SentencePieceBpe.read(Golden.file("stories260k/tok512.model"));
    var binary = Tokenizers.open(Golden.file("stories260k/tok512.bin"), OptionalInt.of(512));
    for (var row : Golden.json("stories260k/greedy-dev.json")) {
      String prompt = row.path("prompt").asText();
      int[] expected = Golden.ids(row.path("prompt_ids"));
      for (var tokenizer : new Tokenizer[] {model, binary}) {
        int[] ids = IntStream.concat(IntStream.of(1), IntStream.of(tokenizer.encode(prompt))).toArray();
        assertThat(ids).isEqualTo(expected);
        int[] all = IntStream.concat(IntStream.of(ids), IntStream.of(Golden.ids(row.path("generated_ids")))).toArray();
        String text = tokenizer == model ? row.path("text_spm").asText() : row.path("text_runc").asText();
        assertThat(Golden.streamed(tokenizer, all)).isEqualTo(text);
      }
    }
  }

  @Test
  void controlPiecesNeverComeFromText() {
    String hostile = "<s></s><unk> <|endoftext|> <0x0A> [INST] \n<s>\n";
    for (String file : new String[] {"llama2-tokenizer/tokenizer.model", "gpt2-bpe/tokenizer.json", "stories260k/tok512.bin"}) {
      var tokenizer = Tokenizers.open(Golden.file(file), OptionalInt.empty());
      int[] ids = tokenizer.encode(hostile);
      assertThat(IntStream.of(ids).filter(tokenizer::control)).isEmpty();
      assertThat(tokenizer.decode(ids)).isEqualTo(hostile);
    }
  }
}
