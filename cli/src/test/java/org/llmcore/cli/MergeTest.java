package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;

/// `merge` says how far the merged model is from what was trained, quantized bases included.
class MergeTest {
  @TempDir Path folder;
  private final Session session = new Session();
  private Path model;

  @BeforeEach
  void aModelAndData() throws IOException {
    model = Session.model(folder.resolve("model"));
    var s = new StringBuilder();
    for (int i = 0; i < 40; i++) s.append("{\"prompt\":\"two and two\",\"completion\":\"are four\"}\n");
    Files.writeString(folder.resolve("pairs.jsonl"), s);
  }

  private Path trained(String precision) throws IOException {
    var recipe =
        Files.writeString(
            folder.resolve(precision + ".yaml"),
            """
            model: {path: %s, precision: %s}
            method: {type: lora, r: 4}
            data: {path: %s, validation: 0}
            training: {maxSteps: 4, batch: 4, learningRate: 0.02, warmupSteps: 0}
            evaluation: {every: 0}
            output: {folder: %s, name: %s}
            """.formatted(model, precision, folder.resolve("pairs.jsonl"), folder, precision));
    assertThat(session.run("train", recipe)).as(session.err()).isZero();
    return folder.resolve(precision).resolve("adapter");
  }

  @Test
  void anAdapterTrainedInFullPrecisionMergesAlmostExactly() throws IOException {
    assertThat(session.run("--json", "merge", "--model", model, "--adapter", trained("f32"), "--out", folder.resolve("merged"))).as(session.err()).isZero();
    assertThat(session.object().get("largest_difference").asDouble()).isLessThan(1e-4);
    assertThat(session.object().has("drift_from_trained")).isFalse();
  }

  @Test
  void theDriftFromAQuantizedBaseIsMeasuredAndSaid() throws IOException {
    var adapter = trained("nf4");
    assertThat(session.run("--json", "merge", "--model", model, "--adapter", adapter, "--out", folder.resolve("merged"))).as(session.err()).isZero();
    var o = session.object();
    assertThat(o.get("trained_on").asText()).isEqualTo("nf4");
    assertThat(o.get("largest_difference").asDouble()).isLessThan(1e-4);
    assertThat(o.get("drift_from_trained").asDouble()).isGreaterThan(10 * o.get("largest_difference").asDouble());
    assertThat(session.run("merge", "--model", model, "--adapter", adapter, "--out", folder.resolve("again"))).isZero();
    assertThat(session.out()).contains("trained on nf4");
  }

  @Test
  void mergingIntoFewBitsIsRefused() throws IOException {
    assertThat(session.run("merge", "--model", model, "--adapter", trained("nf4-double"), "--out", folder.resolve("merged"), "--precision", "nf4")).isEqualTo(2);
    assertThat(session.err()).contains("nf4").contains("bf16-weights");
    assertThat(folder.resolve("merged")).doesNotExist();
  }
}
