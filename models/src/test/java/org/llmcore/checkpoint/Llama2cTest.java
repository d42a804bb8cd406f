package org.llmcore.checkpoint;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

class Llama2cTest {
  private static final Path STORIES = Path.of(System.getProperty("llm.data", "../shared/data"), "stories260k");
  private static final int[] TINY = {4, 6, 2, 2, 1, 5, 3}; // dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len

  @TempDir private Path folder;

  /// A checkpoint whose floats count 0, 1, 2, …
  private Path counted(int[] header, int floats) throws IOException {
    var bytes = ByteBuffer.allocate(28 + 4 * floats).order(ByteOrder.LITTLE_ENDIAN);
    for (int h : header) bytes.putInt(h);
    for (int i = 0; i < floats; i++) bytes.putFloat(i);
    return Files.write(folder.resolve("m.bin"), bytes.array());
  }

  private static int[] changed(int at, int value) {
    var header = TINY.clone();
    header[at] = value;
    return header;
  }

  private static float[] from(int first, int count) {
    var out = new float[count];
    for (int i = 0; i < count; i++) out[i] = first + i;
    return out;
  }

  @Test
  void tensorsEqualTheHuggingFaceCopyBitForBit() {
    assumeTrue(Files.exists(STORIES), "skipped: " + STORIES + " is not here");
    var c = Llama2c.read(STORIES.resolve("stories260K.bin"));
    var published = LlamaConfig.read(STORIES.resolve("hf/config.json"));
    assertThat(c.config()).isEqualTo(published);
    try (var hf = Safetensors.open(STORIES.resolve("hf/model.safetensors"))) {
      assertThat(c.tensors().keySet()).containsExactlyInAnyOrderElementsOf(hf.entries().keySet());
      c.tensors().forEach((name, values) -> assertThat(values).as(name).isEqualTo(hf.get(name).toFloats()));
    }
    assertThat(Llama2c.plausible(STORIES.resolve("stories260K.bin"))).isTrue();
    assertThat(Llama2c.plausible(STORIES.resolve("tok512.bin"))).isFalse();
    assertThat(Llama2c.plausible(STORIES.resolve("hf/model.safetensors"))).isFalse();
  }

  @Test
  void tensorsLieKindByKindAndQueriesArePermuted() throws IOException {
    var c = Llama2c.read(counted(TINY, 286));
    assertThat(c.config())
        .isEqualTo(new LlamaConfig(5, 4, 6, 2, 2, 1, 2, 3, 1e-5, 10000, 1, true, OptionalInt.of(1), List.of(2),
            OptionalInt.empty(), "float32"));
    assertThat(c.tensors().get("model.embed_tokens.weight")).isEqualTo(from(0, 20));
    assertThat(c.tensors().get("model.layers.1.input_layernorm.weight")).isEqualTo(from(24, 4));
    assertThat(c.tensors().get("model.layers.0.self_attn.v_proj.weight")).isEqualTo(from(76, 8));
    assertThat(c.tensors().get("model.layers.1.self_attn.o_proj.weight")).isEqualTo(from(108, 16));
    assertThat(c.tensors().get("model.layers.0.mlp.gate_proj.weight")).isEqualTo(from(132, 24));
    assertThat(c.tensors().get("model.layers.0.mlp.down_proj.weight")).isEqualTo(from(180, 24));
    assertThat(c.tensors().get("model.layers.1.mlp.up_proj.weight")).isEqualTo(from(252, 24));
    assertThat(c.tensors().get("model.norm.weight")).isEqualTo(from(276, 4));
    assertThat(c.tensors()).doesNotContainKey("lm_head.weight");
  }

  @Test
  void aNegativeVocabularyMeansAHeadOfItsOwn() throws IOException {
    var c = Llama2c.read(counted(changed(5, -5), 306));
    assertThat(c.config().tiedHead()).isFalse();
    assertThat(c.config().vocabulary()).isEqualTo(5);
    assertThat(c.tensors().get("lm_head.weight")).isEqualTo(from(286, 20));
  }

  @Test
  void rowsOfAHeadGoFromNeighboursToHalves() {
    var rows = new float[] {0, 0, 1, 1, 2, 2, 3, 3, 10, 10, 11, 11, 12, 12, 13, 13};
    assertThat(Llama2c.halves(rows, 2, 4, 2)).containsExactly(0, 0, 2, 2, 1, 1, 3, 3, 10, 10, 12, 12, 11, 11, 13, 13);
  }

  @Test
  void aFileCutAnywhereIsRefused() throws IOException {
    var file = counted(TINY, 286);
    Llama2c.read(file);
    try (var cut = new RandomAccessFile(file.toFile(), "rw")) {
      for (int n = Math.toIntExact(cut.length()) - 1; n >= 0; n--) {
        cut.setLength(n);
        assertThat(Llama2c.plausible(file)).isFalse();
        assertThatThrownBy(() -> Llama2c.read(file)).as("cut to " + n + " bytes").isInstanceOf(InvalidInput.class)
            .hasMessageContaining(file.toString());
      }
    }
  }

  @Test
  void aFileWithBytesToSpareIsRefused() throws IOException {
    var file = counted(TINY, 286);
    Files.write(file, Arrays.copyOf(Files.readAllBytes(file), 28 + 4 * 286 + 1));
    assertThatThrownBy(() -> Llama2c.read(file)).isInstanceOf(InvalidInput.class)
        .hasMessageContainingAll("has 1173 bytes", "asks for 1172");
  }

  @ParameterizedTest
  @CsvSource({
      "0,0", "0,-4", "0,2147483647", "0,-2147483648", "0,5", "1,0", "1,-6", "1,2147483647", "2,0", "2,2147483647", "3,0", "3,-1",
      "3,4", "4,0", "4,2", "4,3", "5,0",
      "5,2147483647", "5,-2147483648", "6,0", "6,-1", "6,2147483647"})
  void headersThatContradictTheFileAreRefused(int at, int value) throws IOException {
    var file = counted(changed(at, value), 286);
    assertThat(Llama2c.plausible(file)).isFalse();
    assertThatThrownBy(() -> Llama2c.read(file)).isInstanceOf(InvalidInput.class).hasMessageContaining(file.toString());
  }

  @Test
  void laterVersionsAreNamed() throws IOException {
    var file = counted(new int[] {0x616b3432, 1, 4, 6, 2, 2, 1}, 286);
    assertThatThrownBy(() -> Llama2c.read(file)).isInstanceOf(InvalidInput.class)
        .hasMessageContainingAll("version 1", "--version 0");
  }

  @Test
  void whatIsNoFileIsRefused() {
    assertThatThrownBy(() -> Llama2c.read(folder)).isInstanceOf(InvalidInput.class).hasMessageContaining("there is no file");
    assertThat(Llama2c.plausible(folder.resolve("none"))).isFalse();
    assertThat(Llama2c.plausible(folder)).isFalse();
  }
}
