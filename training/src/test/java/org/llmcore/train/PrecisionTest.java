package org.llmcore.train;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.cpu.Tier;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.peft.PeftAdapter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.data.Offset.offset;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Training with weights, or weights and activations, in bf16 beside training in f32, on the batch of `PublishedValuesTest`: five steps of
/// AdamW over all weights and thirty over PEFT's adapter, in which the loss falls from 1.86 to 0.29 and 0.26.
class PrecisionTest {
  /// Of the loss at the start: twice the distance of neighbours in bf16. A logit, the last thing that is rounded, is off by up to half that
  /// distance of its own size, the loss of a token by as much as its logit and the others' together; over a batch most of it cancels.
  private static final double CLOSE = 2 * 0x1p-8;

  private static final Path DATA = Path.of(System.getProperty("llm.data", "../shared/data"));
  private static final Path STORIES = DATA.resolve("stories260k");

  private static List<Double> losses(Device device, Precision precision, boolean full) {
    try (var model = LanguageModel.open(device, STORIES.resolve("hf"), Optional.of(STORIES.resolve("tok512.model")), precision, full);
        var region = device.growing("test");
        var step = device.growing("step")) {
      Tuning tuning;
      if (full) {
        tuning = Tuning.full(model.decoder());
      } else {
        var lora = PeftAdapter.load(device, model.decoder(), DATA.resolve("peft/qv_r4/init"), region);
        tuning = new Tuning(lora.decoder(), lora.parameters(), Optional.of(lora));
      }
      var optimizer = new Optimizer(device, region, tuning.trained(), new Optimizer.Settings(0.9, 0.999, 1e-8, 0, 0));
      var trainer = new Trainer(device, tuning, optimizer, step, false, 0);
      var losses = new ArrayList<Double>();
      for (int i = 0; i < (full ? 5 : 30); i++) losses.add(trainer.step(i + 1, PublishedValuesTest.batches(4), full ? 1e-3 : 5e-3).loss());
      return losses;
    }
  }

  /// The fastest tier with the bits of all others, and those that sum products of bf16 in an order of their own.
  static List<Tier> tiers() {
    var tiers = new ArrayList<Tier>(List.of(Tier.exactHere().getLast()));
    Tier.here().stream().filter(t -> !t.exact()).forEach(tiers::add);
    return tiers;
  }

  @ParameterizedTest
  @MethodSource("tiers")
  void trainingInBf16FollowsTrainingInF32(Tier tier) {
    assumeTrue(Files.exists(STORIES), "skipped: " + STORIES + " is not here");
    try (var device = new CpuDevice(tier, 2)) {
      for (boolean full : new boolean[] {true, false}) {
        var expected = losses(device, Precision.F32, full);
        for (var precision : List.of(Precision.BF16_WEIGHTS, Precision.BF16)) {
          var found = losses(device, precision, full);
          for (int i = 0; i < found.size(); i++) {
            assertThat(found.get(i)).as("%s, full %s, step %d", precision, full, i + 1).isCloseTo(expected.get(i), offset(CLOSE * expected.getFirst()));
          }
          assertThat(found).doesNotContainAnyElementsOf(expected);
        }
      }
    }
  }
}
