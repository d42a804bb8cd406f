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
    return trained(model, precision, precision, "r: 4");
  }

  private Path trained(Path model, String name, String precision, String method) throws IOException {
    var recipe =
        Files.writeString(
            folder.resolve(name + ".yaml"),
            """
            model: {path: %s, precision: %s}
            method: {type: lora, %s}
            data: {path: %s, validation: 0}
            training: {maxSteps: 4, batch: 4, learningRate: 0.02, warmupSteps: 0}
            evaluation: {every: 0}
            output: {folder: %s, name: %s}
            """.formatted(model, precision, method, folder.resolve("pairs.jsonl"), folder, name));
    assertThat(session.run("train", recipe)).as(session.err()).isZero();
    return folder.resolve(name).resolve("adapter");
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
  void anAdaptedHeadBecomesOneOfItsOwn() throws IOException {
    var adapter = trained(model, "head", "f32", "r: 4, targets: [q_proj, lm_head]");
    assertThat(session.run("merge", "--model", model, "--adapter", adapter, "--out", folder.resolve("merged"))).as(session.err()).isZero();
    assertThat(session.out()).contains("embedding and head, which were one, are two now");
    assertThat(Files.readString(folder.resolve("merged/config.json"))).contains("\"tie_word_embeddings\" : false");
    assertThat(said("--model", folder.resolve("merged"))).isEqualTo(said("--model", model, "--adapter", adapter));
  }

  private String said(Object... model) {
    var line = new java.util.ArrayList<Object>(java.util.List.of("generate", "--prompt", "two and two", "-n", 6));
    line.addAll(java.util.List.of(model));
    assertThat(session.run(line.toArray())).as(session.err()).isZero();
    return session.out().lines().filter(l -> !l.contains("tokens/s")).toList().toString();
  }

  @Test
  void modulesTrainedWholeTakeTheirPlaceAndATiedHeadBecomesItsOwn() throws IOException {
    var adapter = trained(model, "whole", "f32",
        "r: 4, dora: true, rankPattern: {down_proj: 2}, alphaPattern: {down_proj: 9}, layersToTransform: [1], modulesToSave: [embed_tokens, norm]");
    var out = folder.resolve("merged");
    assertThat(session.run("--json", "merge", "--model", model, "--adapter", adapter, "--out", out)).as(session.err()).isZero();
    var o = session.object();
    assertThat(o.get("layers").asInt()).isEqualTo(7);
    assertThat(o.get("whole_modules").asInt()).isEqualTo(6); // embedding, two norms in each of two blocks, the last norm
    assertThat(o.get("largest_difference").asDouble()).isLessThan(1e-4);
    assertThat(Files.readString(out.resolve("config.json"))).containsPattern("\"tie_word_embeddings\" ?: ?false");
    assertThat(said("--model", out)).isEqualTo(said("--run", folder.resolve("whole")));
    assertThat(session.run("eval", "perplexity", "--model", model, "--adapter", adapter, "--file",
        folder.resolve("pairs.jsonl"))).as(session.err()).isZero();
  }

  @Test
  void aQuantizedBaseBecomesDenseAndIsSaidTo() throws IOException {
    var base = folder.resolve("w4");
    assertThat(session.run("quantize", "--model", model, "--method", "rtn", "--bits", 4, "--group", 32, "--out",
        base)).as(session.err()).isZero();
    var adapter = trained(base, "above", "f32", "r: 4");
    var out = folder.resolve("merged");
    assertThat(session.run("--json", "merge", "--model", base, "--adapter", adapter, "--out", out)).as(session.err()).isZero();
    assertThat(session.object().get("base_in_few_bits").asBoolean()).isTrue();
    assertThat(session.object().get("largest_difference").asDouble()).isLessThan(1e-4);
    assertThat(said("--model", out)).isEqualTo(said("--run", folder.resolve("above")));
    assertThat(session.run("merge", "--model", base, "--adapter", adapter, "--out", folder.resolve("again"))).isZero();
    assertThat(session.out()).contains("dense in f32");
  }

  @Test
  void mergingIntoFewBitsIsRefused() throws IOException {
    assertThat(session.run("merge", "--model", model, "--adapter", trained("nf4-double"), "--out", folder.resolve("merged"), "--precision", "nf4")).isEqualTo(2);
    assertThat(session.err()).contains("nf4").contains("bf16-weights");
    assertThat(folder.resolve("merged")).doesNotExist();
  }
}
