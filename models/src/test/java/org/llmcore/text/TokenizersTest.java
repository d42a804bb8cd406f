package org.llmcore.text;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class TokenizersTest {
  private static final String JSON = """
      {"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"},"added_tokens":[],
       "model":{"type":"BPE","vocab":{"a":0,"b":1,"<e>":2},"merges":[]}}""";

  @TempDir private Path folder;

  private static SentencePieceBpe trained() {
    return BpeTrainer.train(List.of("one two three, one two three"), 275);
  }

  /// A tokenizer.bin with the pieces of a model, as llama2.c exports it.
  private static byte[] binary(SentencePieceBpe model) {
    var out = ByteBuffer.allocate(1 << 16).order(ByteOrder.LITTLE_ENDIAN).putInt(16);
    for (int id = 0; id < model.size(); id++) {
      String piece = id == 1 ? "\n<s>\n" : id == 2 ? "\n</s>\n" : model.piece(id).replace('▁', ' ');
      byte[] bytes = piece.getBytes(StandardCharsets.UTF_8);
      out.putFloat(id < 259 ? 0 : 259 - id).putInt(bytes.length).put(bytes);
    }
    return Arrays.copyOf(out.array(), out.position());
  }

  private Tokenizer open(String name) {
    return Tokenizers.open(folder.resolve(name), OptionalInt.empty());
  }

  @Test
  void aFileIsKnownByItsContent() throws IOException {
    Files.write(folder.resolve("x"), trained().toBytes());
    Files.write(folder.resolve("y"), binary(trained()));
    Files.writeString(folder.resolve("z"), JSON);
    assertThat(open("x")).isInstanceOf(SentencePieceBpe.class);
    assertThat(open("y")).isInstanceOf(Llama2cTokenizer.class);
    assertThat(open("z")).isInstanceOf(HuggingFaceTokenizer.class);
    assertThat(open("y").encode("one two 12 😀 three")).isEqualTo(open("x").encode("one two 12 😀 three"));
    assertThat(open("y").decode(open("y").encode(" one\n two"))).isEqualTo(" one\n two");
  }

  @Test
  void llama2cDropsTheSpaceBehindBosOnly() throws IOException {
    Files.write(folder.resolve("tokenizer.bin"), binary(trained()));
    var tokenizer = open("");
    int one = tokenizer.encode("one")[0];
    assertThat(tokenizer.piece(one)).isEqualTo(" one");
    assertThat(tokenizer.decode(1, one, one, 2, 1, one)).isEqualTo("one oneone");
  }

  @Test
  void inAFolderJsonComesBeforeModelBeforeBin() throws IOException {
    Files.write(folder.resolve("tokenizer.bin"), binary(trained()));
    assertThat(open("")).isInstanceOf(Llama2cTokenizer.class);
    Files.write(folder.resolve("tokenizer.model"), trained().toBytes());
    assertThat(open("")).isInstanceOf(SentencePieceBpe.class);
    Files.writeString(folder.resolve("tokenizer.json"), JSON);
    assertThat(open("")).isInstanceOf(HuggingFaceTokenizer.class);
  }

  @Test
  void theFilesBesideItNameTheEnds() throws IOException {
    Files.writeString(folder.resolve("tokenizer.json"), JSON);
    assertThat(open("").eos()).isEmpty();
    Files.writeString(folder.resolve("config.json"), "{\"eos_token_id\":[1,2],\"bos_token_id\":0}");
    assertThat(open("").eos()).hasValue(1);
    Files.writeString(folder.resolve("tokenizer_config.json"), "{\"eos_token\":{\"content\":\"<e>\"},\"add_eos_token\":true}");
    assertThat(open("").eos()).hasValue(2);
    assertThat(open("").bos()).hasValue(0);
    assertThat(open("").addsEos()).isTrue();
    Files.delete(folder.resolve("tokenizer.json"));
    Files.write(folder.resolve("tokenizer.model"), trained().toBytes());
    assertThat(open("").addsBos()).isTrue();
    Files.writeString(folder.resolve("tokenizer_config.json"), "{\"add_bos_token\":false}");
    assertThat(open("").addsBos()).isFalse();
  }

  @Test
  void whatIsSavedOpensAsTheSame() throws IOException {
    Files.writeString(folder.resolve("z.json"), JSON);
    Files.write(folder.resolve("y"), binary(trained()));
    for (var tokenizer : List.of(open("y"), trained().withEnds(false, true), open("z.json"))) {
      Tokenizers.save(tokenizer, folder);
      var again = open("");
      assertThat(again.encode("one ab")).isEqualTo(tokenizer.encode("one ab"));
      assertThat(again.addsBos()).isEqualTo(tokenizer.addsBos());
      assertThat(again.addsEos()).isEqualTo(tokenizer.addsEos());
      assertThat(again.bos()).isEqualTo(tokenizer.bos());
    }
  }

  @Test
  void aTokenizerOfAnotherSizeIsRefused() throws IOException {
    Files.write(folder.resolve("tokenizer.model"), trained().toBytes());
    assertThat(Tokenizers.open(folder, OptionalInt.of(275)).size()).isEqualTo(275);
    assertThat(Tokenizers.open(folder, OptionalInt.of(320)).size()).isEqualTo(275);
    for (int rows : new int[] {274, 32000}) {
      assertThatThrownBy(() -> Tokenizers.open(folder, OptionalInt.of(rows))).isInstanceOf(InvalidInput.class)
          .hasMessageContaining("275 ids").hasMessageContaining("" + rows);
    }
  }

  @Test
  void whatIsNoTokenizerIsRefused() throws IOException {
    assertThatThrownBy(() -> open("absent.model")).isInstanceOf(InvalidInput.class).hasMessageContaining("absent.model");
    assertThatThrownBy(() -> open("")).isInstanceOf(InvalidInput.class).hasMessageContaining("no tokenizer in the folder");
    Files.write(folder.resolve("pytorch_model.bin"), new byte[] {'P', 'K', 3, 4, 0, 0});
    assertThatThrownBy(() -> open("pytorch_model.bin")).isInstanceOf(InvalidInput.class).hasMessageContaining("pickle");
    Files.write(folder.resolve("old.bin"), new byte[] {(byte) 0x80, 2, 4});
    assertThatThrownBy(() -> open("old.bin")).isInstanceOf(InvalidInput.class).hasMessageContaining("pickle");
    Files.write(folder.resolve("empty.model"), new byte[0]);
    assertThatThrownBy(() -> open("empty.model")).isInstanceOf(InvalidInput.class).hasMessageContaining("0 bytes");
    Files.writeString(folder.resolve("text.model"), "version https://git-lfs.github.com/spec/v1\n");
    assertThatThrownBy(() -> open("text.model")).isInstanceOf(InvalidInput.class).hasMessageContaining("text.model");
    Files.writeString(folder.resolve("array.json"), "[1]");
    assertThatThrownBy(() -> open("array.json")).isInstanceOf(InvalidInput.class).hasMessageContaining("not a JSON object");
  }

  @Test
  void everyTruncationOfABinaryIsRefusedOrShorter() {
    byte[] good = binary(trained());
    for (int length = 0; length < good.length; length++) {
      byte[] cut = Arrays.copyOf(good, length);
      try {
        assertThat(Llama2cTokenizer.parse("cut", cut).size()).isLessThan(275);
      } catch (InvalidInput refused) {
        assertThat(refused.getMessage()).startsWith("cut is not a llama2.c tokenizer");
      }
    }
    byte[] hostile = good.clone();
    Arrays.fill(hostile, 8, 12, (byte) 0x7f);
    assertThatThrownBy(() -> Llama2cTokenizer.parse("hostile", hostile)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("piece 0 of 2139062143 bytes");
  }
}
