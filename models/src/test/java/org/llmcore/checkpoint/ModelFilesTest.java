package org.llmcore.checkpoint;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class ModelFilesTest {
  private static final String FIRST = "model-00001-of-00002.safetensors";
  private static final String SECOND = "model-00002-of-00002.safetensors";

  @TempDir private Path folder;

  private static Safetensors.Item item(String name, int bytes) {
    return new Safetensors.Item(name, "U8", new int[] {bytes}, MemorySegment.ofArray(new byte[bytes]));
  }

  private Path index() {
    return folder.resolve("model.safetensors.index.json");
  }

  private void index(String content) throws IOException {
    Files.writeString(index(), content);
  }

  @BeforeEach
  void twoShards() {
    ModelFiles.write(folder, List.of(item("a", 60), item("b", 40), item("c", 1)), 100);
  }

  private void refused(String... words) {
    assertThatThrownBy(() -> ModelFiles.open(folder)).isInstanceOf(InvalidInput.class).hasMessageContaining(folder.toString())
        .hasMessageContainingAll(words);
  }

  @Test
  void shardsAreFilledUpToTheirSizeAndIndexed() throws IOException {
    assertThat(index()).content().contains("\"total_size\" : 101", "\"a\" : \"" + FIRST + "\"", "\"b\" : \"" + FIRST + "\"",
        "\"c\" : \"" + SECOND + "\"");
    try (var files = ModelFiles.open(folder); var list = Files.list(folder)) {
      assertThat(files.entries().keySet()).containsExactlyInAnyOrder("a", "b", "c");
      assertThat(list).hasSize(3);
    }
  }

  @Test
  void aTensorLargerThanAShardGetsItsOwn() {
    var other = folder.resolve("other");
    ModelFiles.write(other, List.of(item("a", 10), item("b", 300), item("c", 10), item("d", 0)), 100);
    try (var files = ModelFiles.open(other)) {
      assertThat(files.entries().get("b").data().byteSize()).isEqualTo(300);
      assertThat(other.resolve("model-00003-of-00003.safetensors")).exists();
    }
  }

  @Test
  void whatFitsIntoOneFileHasNoIndex() {
    var other = folder.resolve("other");
    ModelFiles.write(other, List.of(item("a", 60), item("b", 40)), 100);
    assertThat(other.resolve("model.safetensors")).exists();
    assertThat(other.resolve("model.safetensors.index.json")).doesNotExist();
    try (var files = ModelFiles.open(other)) {
      assertThat(files.entries()).hasSize(2);
    }
  }

  @Test
  void aMissingShardIsNamedWithATensorOfIt() throws IOException {
    Files.delete(folder.resolve(SECOND));
    refused(SECOND, "is missing; it holds c");
  }

  @Test
  void aTensorInAnotherShardThanTheIndexSaysIsNamed() throws IOException {
    index("{\"weight_map\":{\"a\":\"" + FIRST + "\",\"b\":\"" + SECOND + "\",\"c\":\"" + SECOND + "\"}}");
    refused(SECOND, "lacks the tensor b");
  }

  @Test
  void aTensorInTwoShardsIsRefused() {
    Safetensors.write(folder.resolve(SECOND), List.of(item("a", 60), item("c", 1)));
    refused(SECOND, "holds a, which another shard holds too");
  }

  @Test
  void aTruncatedShardIsNamed() throws IOException {
    var bytes = Files.readAllBytes(folder.resolve(SECOND));
    Files.write(folder.resolve(SECOND), java.util.Arrays.copyOf(bytes, bytes.length - 1));
    refused(SECOND, "not a valid safetensors file");
  }

  @ParameterizedTest
  @ValueSource(strings = {"../x.safetensors", "/etc/passwd", "..", ".", "", "a/b.safetensors", "a\\\\b.safetensors", "\\u0000",
      "C:x", "x y", "\\n"})
  void anIndexThatLeavesTheFolderIsRefused(String shard) throws IOException {
    Safetensors.write(folder.resolveSibling("x.safetensors"), List.of(item("a", 60)));
    index("{\"weight_map\":{\"a\":\"" + shard + "\"}}");
    assertThatThrownBy(() -> ModelFiles.open(folder)).isInstanceOf(InvalidInput.class);
  }

  @ParameterizedTest
  @ValueSource(strings = {
      "", "{", "[]", "null", "{}", "{\"weight_map\":null}", "{\"weight_map\":[]}", "{\"weight_map\":{}}",
      "{\"weight_map\":{\"a\":1}}",
      "{\"weight_map\":{\"a\":null}}", "{\"weight_map\":{\"a\":[\"model-00001-of-00002.safetensors\"]}}",
      "{\"weight_map\":{\"a\":\"x\",\"a\":\"y\"}}"})
  void anIndexThatIsNoneIsRefused(String content) throws IOException {
    index(content);
    refused("model.safetensors.index.json", "---> ");
  }

  @Test
  void anIndexThatIsNotUtf8IsRefused() throws IOException {
    Files.write(index(), new byte[] {'{', '"', (byte) 0xc3, '"', ':', '1', '}'});
    refused("not UTF-8");
  }

  @ParameterizedTest
  @ValueSource(strings = {"pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "adapter_model.bin", "consolidated.00.pth",
      "model.pt", "last.ckpt"})
  void picklesAreRefusedWithAWayOut(String name) throws IOException {
    var other = Files.createDirectory(folder.resolve("other"));
    var file = Files.write(other.resolve(name), new byte[] {(byte) 0x80, 2});
    assertThatThrownBy(() -> ModelFiles.refusePickle(file)).isInstanceOf(InvalidInput.class)
        .hasMessageContainingAll(name, "pickle", "use safetensors");
    assertThatThrownBy(() -> ModelFiles.open(other)).isInstanceOf(InvalidInput.class)
        .hasMessageContainingAll(name, "use safetensors");
  }

  @Test
  void aPickleBesideSafetensorsIsLeftAlone() throws IOException {
    Files.write(folder.resolve("pytorch_model.bin"), new byte[] {(byte) 0x80, 2});
    ModelFiles.open(folder).close();
    ModelFiles.refusePickle(Path.of("/"));
    ModelFiles.refusePickle(Path.of("stories260K.bin"));
  }

  @Test
  void aFolderWithoutAModelSaysWhatWasLookedFor() throws IOException {
    var other = Files.createDirectory(folder.resolve("other"));
    for (var place : List.of(other, folder.resolve("nowhere"))) {
      assertThatThrownBy(() -> ModelFiles.open(place)).isInstanceOf(InvalidInput.class)
          .hasMessageContainingAll("model.safetensors", "index.json", "Hugging Face");
    }
  }
}
