package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.data.Batch;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.peft.Lora;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.reference.ReferenceDevice;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.data.Offset.offset;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// DoRA from the gradient to the files.
class DoraTest {

  @TempDir Path folder;

  private static LanguageModel base(Device device) {
    return LanguageModel.open(device, Embedded.path("embedded:sql-base"), Optional.empty(), Precision.F32, false);
  }

  private static LoraConfig config(double dropout, boolean rslora) {
    return LoraConfig.of(4, 6, dropout, rslora, List.of("q_proj", "down_proj")).withDora(true);
  }

  @Test
  void itStartsAsTheBase() {
    try (Device device = new ReferenceDevice(); var model = base(device); var region = device.growing("adapter")) {
      var lora = Lora.attach(model.decoder(), config(0, false), region);
      lora.initialise(device, 1);
      var found = Adapted.logits(device, lora.decoder());
      var expected = Adapted.logits(device, model.decoder());
      for (int i = 0; i < found.length; i++) assertThat((double) found[i]).isCloseTo(expected[i], offset(1e-4));
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void mergedWeightsComputeTheSame(boolean rslora) {
    try (Device device = new ReferenceDevice(); var model = base(device); var region = device.growing("adapter")) {
      var lora = Adapted.moved(device, model.decoder(), config(0.3, rslora), region);
      var before = Adapted.logits(device, lora.decoder());
      var untouched = Adapted.logits(device, model.decoder());
      lora.merge(device);
      var after = Adapted.logits(device, model.decoder());
      double change = 0;
      for (int i = 0; i < before.length; i++) {
        assertThat((double) after[i]).isCloseTo(before[i], offset(1e-3));
        change = Math.max(change, Math.abs(after[i] - untouched[i]));
      }
      assertThat(change).isGreaterThan(0.1);
    }
  }

  /// The norm is a constant of the gradient, so A and B have no slope to compare with; the magnitudes do.
  @ParameterizedTest
  @ValueSource(doubles = {0, 0.25})
  void theMagnitudesGradientIsThatOfCentralDifferences(double dropout) {
    try (Device device = new ReferenceDevice(); var model = base(device); var region = device.growing("adapter")) {
      var lora = Adapted.moved(device, model.decoder(), config(dropout, false), region);
      for (var name : List.of("model.layers.0.self_attn.q_proj", "model.layers.4.mlp.down_proj")) {
        var m = lora.parameters().get("base_model.model." + name + ".lora_magnitude_vector");
        var gradient = Adapted.gradient(device, lora, m);
        for (int i = 0; i < gradient.length; i += 17) {
          double slope = Adapted.slope(device, lora, m, i);
          assertThat((double) gradient[i]).as(name + " " + i).isCloseTo(slope, offset(1e-3 + 1e-2 * Math.abs(slope)));
        }
      }
    }
  }

  private Recipe recipe(int microBatch, boolean checkpointing, int steps) throws IOException {
    var s = new StringBuilder();
    for (int i = 0; i < 200; i++) s.append("{\"prompt\":\"colour of ").append(i % 5).append("\",\"completion\":\"shade ").append(i % 5 * 7).append("\"}\n");
    var text = Files.writeString(folder.resolve("pairs.jsonl"), s);
    return RecipeFile.parse(
        """
        model: {path: embedded:sql-base}
        method: {type: lora, r: 4, dropout: 0.1, dora: true, rslora: true}
        data: {path: %s, validation: 0.1}
        training: {epochs: 50, maxSteps: %d, batch: 8, microBatch: %d, learningRate: 5e-3, checkpointing: %s}
        checkpoints: {every: 3}
        """.formatted(text, steps, microBatch, checkpointing));
  }

  private Summary run(String name, Recipe recipe, int threads) {
    try (Device device = new CpuDevice(true, threads)) {
      return new TrainingRun(device, recipe, folder.resolve(name)).run();
    }
  }

  @Test
  void threadsMicroBatchesRecomputationAndInterruptionDoNotChangeABit() throws IOException {
    var whole = run("whole", recipe(8, false, 6), 2);
    assertThat(whole.lastLoss()).isLessThan(whole.firstLoss());
    assertThat((double) whole.peakBytes()).isCloseTo(whole.plannedPeakBytes(), org.assertj.core.data.Percentage.withPercentage(1));
    assertThat(run("threads", recipe(8, false, 6), 3).weightsSha256()).isEqualTo(whole.weightsSha256());
    assertThat(run("micro", recipe(2, false, 6), 2).weightsSha256()).isEqualTo(whole.weightsSha256());
    assertThat(run("again", recipe(8, true, 6), 2).weightsSha256()).isEqualTo(whole.weightsSha256());
    var asked = new AtomicInteger();
    try (Device device = new CpuDevice(true, 2)) {
      var r = recipe(8, false, 6);
      new TrainingRun(device, r, folder.resolve("stopped"), false, TrainingListener.NONE, () -> asked.incrementAndGet() > 4).run();
      var resumed = new TrainingRun(device, r, folder.resolve("stopped"), true, TrainingListener.NONE, () -> false).run();
      assertThat(resumed.weightsSha256()).isEqualTo(whole.weightsSha256());
    }
  }

  /// PEFT continues from our files with its own autograd and PyTorch's AdamW: the same losses, with and without rsLoRA.
  @ParameterizedTest
  @CsvSource({"true, false", "true, true", "false, true"})
  void peftsLossesAreFollowed(boolean dora, boolean rslora) throws IOException, InterruptedException {
    var python = System.getProperty("llm.peers");
    assumeTrue(python != null, "no Python of peers is named by -Dllm.peers");
    try (Device device = new CpuDevice(true, 2); var model = base(device); var training = device.growing("training"); var step = device.growing("step")) {
      model.save(folder.resolve("base"), Long.MAX_VALUE);
      var tuning = Tuning.lora(model.decoder(), config(0, rslora).withDora(dora), training);
      var lora = tuning.lora().orElseThrow();
      lora.initialise(device, 5);
      PeftAdapter.save(device, lora, folder.resolve("start"));
      var program = """
          import json, torch
          from transformers import LlamaForCausalLM
          from peft import PeftModel
          ids, targets = torch.tensor([%s]), torch.tensor([%s])
          m = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained("base"), "start", is_trainable=True)
          o = torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-2, weight_decay=0)
          losses = []
          for _ in range(12):
              o.zero_grad()
              loss = torch.nn.functional.cross_entropy(m(input_ids=ids).logits[0], targets[0])
              loss.backward()
              o.step()
              losses.append(loss.item())
          print(json.dumps(losses))
          """.formatted(Arrays.toString(Adapted.IDS), Arrays.toString(Adapted.TARGETS));
      var errors = folder.resolve("errors");
      var process = new ProcessBuilder(python, "-c", program).directory(folder.toFile()).redirectError(errors.toFile()).start();
      var expected = new ObjectMapper().readTree(process.getInputStream().readAllBytes());
      assertThat(process.waitFor()).as(Files.readString(errors)).isZero();
      var optimizer = new Optimizer(device, training, tuning.trained(), new Optimizer.Settings(0.9, 0.999, 1e-8, 0, 0));
      var trainer = new Trainer(device, tuning, optimizer, step, false, 1);
      var positions = new int[] {0, 1, 2, 3, 4, 5, 6, 7};
      var batch = new Batch(Adapted.IDS, Adapted.TARGETS, new int[] {0, Adapted.IDS.length}, positions, 7);
      for (int i = 0; i < expected.size(); i++) {
        assertThat(trainer.step(i + 1, List.of(batch), 1e-2).loss()).as("step " + i).isCloseTo(expected.get(i).asDouble(), offset(1e-3));
      }
      assertThat(expected.get(11).asDouble()).isLessThan(0.7 * expected.get(0).asDouble());
    }
  }
}
