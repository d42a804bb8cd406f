package org.llmcore.train;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.Map;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class MetricsTest {
  @TempDir Path folder;

  private Path three() {
    Path file = folder.resolve("metrics.jsonl");
    try (var metrics = Metrics.create(file)) {
      for (int step = 1; step <= 3; step++) metrics.add(new Metrics.Line(step, Map.of("loss", 4.0 / step)));
    }
    return file;
  }

  @Test
  void everyLineIsOneObjectAndLiesInTheFileAtOnce() throws IOException {
    Path file = folder.resolve("metrics.jsonl");
    var values = new LinkedHashMap<String, Double>();
    values.put("loss", 1.5);
    values.put("learning_rate", 2e-4);
    try (var metrics = Metrics.create(file)) {
      metrics.add(new Metrics.Line(1, values));
      assertThat(Files.readString(file)).isEqualTo("{\"step\":1,\"loss\":1.5,\"learning_rate\":2.0E-4}\n");
    }
  }

  @Test
  void whatIsReadIsWhatWasWritten() {
    Path file = folder.resolve("m.jsonl");
    var line = new Metrics.Line(7, Map.of("loss", Double.NaN, "gradient_norm", Double.POSITIVE_INFINITY, "tokens_per_second", 1e3));
    try (var metrics = Metrics.create(file)) {
      metrics.add(line);
    }
    assertThat(Metrics.read(file)).containsExactly(line);
  }

  @Test
  void aResumedRunKeepsTheLinesUpToItsStepAndGoesOn() throws IOException {
    Path file = three();
    try (var metrics = Metrics.resume(file, 2)) {
      metrics.add(new Metrics.Line(3, Map.of("loss", 9.0)));
    }
    assertThat(Metrics.read(file)).extracting(Metrics.Line::step).containsExactly(1L, 2L, 3L);
    assertThat(Metrics.read(file).getLast().values()).containsEntry("loss", 9.0);
    assertThat(Files.readString(file).lines()).hasSize(3);
  }

  @Test
  void aLineTornByACrashIsCutOff() throws IOException {
    Path file = three();
    Files.writeString(file, "{\"step\":4,\"lo", StandardOpenOption.APPEND);
    assertThat(Metrics.read(file)).hasSize(3);
    try (var metrics = Metrics.resume(file, 10)) {
      metrics.add(new Metrics.Line(4, Map.of("loss", 1.0)));
    }
    assertThat(Metrics.read(file)).hasSize(4);
  }

  @Test
  void aLastLineThatCannotBeReadIsCutOffBehindTheStep() throws IOException {
    Path file = three();
    Files.writeString(file, "{\"step\":4,\u0000\u0000\n", StandardOpenOption.APPEND);
    assertThatThrownBy(() -> Metrics.resume(file, 4)).as("it may be the step's own").isInstanceOf(InvalidInput.class).hasMessageContaining("not JSON");
    Metrics.resume(file, 3).close();
    assertThat(Metrics.read(file)).hasSize(3);
    Files.writeString(file, "x\n{\"step\":4}\n", StandardOpenOption.APPEND);
    assertThatThrownBy(() -> Metrics.resume(file, 3)).as("not the last").isInstanceOf(InvalidInput.class).hasMessageContaining("not JSON");
  }

  @Test
  void aRunWithoutMetricsYetResumesWithAnEmptyFile() {
    Path file = folder.resolve("new.jsonl");
    Metrics.resume(file, 5).close();
    assertThat(file).isEmptyFile();
  }

  @Test
  void anotherFileIsRefusedAndLeftAlone() throws IOException {
    Path file = Files.writeString(folder.resolve("notes.txt"), "step 1\n");
    assertThatThrownBy(() -> Metrics.resume(file, 1)).isInstanceOf(InvalidInput.class).hasMessageContaining("not JSON: step 1");
    assertThat(file).hasContent("step 1\n");
    assertThatThrownBy(() -> Metrics.create(file)).isInstanceOf(UncheckedIOException.class);
  }
}
