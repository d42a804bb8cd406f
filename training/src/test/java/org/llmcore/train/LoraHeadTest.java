package org.llmcore.train;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.IntStream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.data.Batch;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.reference.ReferenceDevice;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.data.Offset.offset;

/// LoRA and DoRA on the projection onto the vocabulary.
class LoraHeadTest {
  private static LanguageModel base(Device device, Precision precision) {
    return LanguageModel.open(device, Embedded.path("embedded:sql-base"), Optional.empty(), precision, false);
  }

  private static LoraConfig config(double dropout, boolean dora) {
    return LoraConfig.of(4, 6, dropout, false, List.of("q_proj", "lm_head")).withDora(dora);
  }

  @ParameterizedTest
  @CsvSource({"0, lora_A.weight", "0, lora_B.weight", "0.25, lora_A.weight", "0.25, lora_B.weight"})
  void itsGradientsAreThoseOfCentralDifferences(double dropout, String parameter) {
    try (Device device = new ReferenceDevice(); var model = base(device, Precision.F32); var region = device.growing("adapter")) {
      var lora = Adapted.moved(device, model.decoder(), config(dropout, false), region);
      var w = lora.parameters().get("base_model.model.lm_head." + parameter);
      var gradient = Adapted.gradient(device, lora, w);
      double largest = 0;
      for (int i = 3; i < gradient.length; i += gradient.length / 6) {
        double slope = Adapted.slope(device, lora, w, i);
        assertThat((double) gradient[i]).as(i + "").isCloseTo(slope, offset(1e-3 + 1e-2 * Math.abs(slope)));
        largest = Math.max(largest, Math.abs(slope));
      }
      assertThat(largest).isGreaterThan(0.02);
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void mergedIntoAHeadOfItsOwnItComputesTheSame(boolean dora) {
    try (Device device = new ReferenceDevice(); var model = base(device, Precision.F32); var region = device.growing("adapter")) {
      assertThat(model.config().tiedHead()).isTrue();
      var before = Adapted.logits(device, Adapted.moved(device, model.decoder(), config(0.3, dora), region).decoder());
      var embedding = model.decoder().embedding().toFloats();
      var untouched = Adapted.logits(device, model.decoder());
      var untied = model.decoder().untied(device, region);
      Adapted.moved(device, untied, config(0.3, dora), region).merge(device);
      var after = Adapted.logits(device, untied);
      double change = 0;
      for (int i = 0; i < before.length; i++) {
        assertThat((double) after[i]).isCloseTo(before[i], offset(1e-4));
        change = Math.max(change, Math.abs(after[i] - untouched[i]));
      }
      assertThat(change).isGreaterThan(0.02);
      assertThat(model.decoder().embedding().toFloats()).isEqualTo(embedding);
    }
  }

  private static Batch batch(int... ids) {
    var targets = new int[ids.length];
    for (int i = 0; i < ids.length; i++) targets[i] = i + 1 < ids.length ? ids[i + 1] : -100;
    return new Batch(ids, targets, new int[] {0, ids.length}, IntStream.range(0, ids.length).toArray(), ids.length - 1);
  }

  @ParameterizedTest
  @EnumSource(names = {"F32", "BF16", "NF4"})
  void itTrainsInTheMemoryThatWasPlanned(Precision precision) {
    try (Device device = new CpuDevice(true, 2); var model = base(device, precision)) {
      for (boolean dora : new boolean[] {false, true}) {
        var config = config(0.1, dora);
        var batch = batch(5, 200, 17, 33, 42, 250, 99, 7, 3, 1, 77);
        var plan = MemoryPlan.of(new MemoryPlan.Shape(model.config(), model.form(), Optional.of(config), false), List.of(batch));
        try (var training = device.reserve("training", plan.training()); var step = device.reserve("step", plan.step())) {
          var tuning = Tuning.adapter(model.decoder(), config, training);
          tuning.lora().orElseThrow().initialise(device, 1);
          var optimizer = new Optimizer(device, training, tuning.trained(), new Optimizer.Settings(0.9, 0.999, 1e-8, 0, 1));
          var trainer = new Trainer(device, tuning, optimizer, step, false, 0);
          double first = trainer.step(1, List.of(batch), 0.02).loss();
          double last = first;
          for (int i = 2; i <= 12; i++) last = trainer.step(i, List.of(batch), 0.02).loss();
          assertThat(last).as(precision + ", DoRA " + dora).isLessThan(0.7 * first);
          assertThat(training.high()).isEqualTo(plan.training());
          assertThat(step.high()).isEqualTo(plan.step());
        }
      }
    }
  }

  @Test
  void cachedStepsHaveTheBitsOfTheWholeSequence() {
    try (Device device = new CpuDevice(true, 1); var model = base(device, Precision.F32); var region = device.growing("adapter")) {
      var lora = Adapted.moved(device, model.decoder(), config(0, false), region);
      var all = Adapted.logits(device, lora.decoder());
      var p = Pass.inference(device, region);
      var tokens = Tokens.of(p, 5, 200, 17);
      var first = lora.decoder().logits(p, lora.decoder().hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>())).toFloats();
      for (int i = 0; i < first.length; i++) assertThat(first[i]).isEqualTo(all[i]);
    }
  }
}
