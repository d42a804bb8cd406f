package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.atomic.AtomicInteger;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.data.TooLong;
import org.llmcore.model.Decoder;
import org.llmcore.model.DenseLinear;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Linear;
import org.llmcore.model.Precision;
import org.llmcore.model.QuantLinear;
import org.llmcore.op.Device;
import org.llmcore.peft.Lora;
import org.llmcore.peft.LoraLinear;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// QLoRA from the recipe to the answer: an adapter trained on a base whose linear layers are held in NF4.
class QloraTest {
  @TempDir Path folder;
  private Path text;

  @BeforeEach
  void writeText() throws IOException {
    var s = new StringBuilder();
    for (int i = 0; i < 300; i++) s.append("{\"prompt\":\"colour of ").append(i % 5).append("\",\"completion\":\"").append(List.of("red", "blue", "green", "black", "white").get(i % 5)).append("\"}\n");
    text = Files.writeString(folder.resolve("pairs.jsonl"), s);
  }

  private Recipe recipe(Precision precision, int microBatch, boolean checkpointing, int steps) {
    return new Recipe(
        new Recipe.Pretrained(new Recipe.Source("embedded:sql-base"), precision), Optional.empty(),
        new Recipe.LowRank(8, 16, 0.05, new Recipe.AllLinear(), false),
        new Recipe.Data(new Recipe.Source(text.toString()), Optional.empty(), 0.1, OptionalInt.empty(), false, TooLong.REFUSE),
        new Recipe.Training(50, OptionalInt.of(steps), 8, microBatch, 1e-2, LrSchedule.Kind.COSINE, 2, 0, 0, 0.9, 0.999, 1e-8, 1, 7, OptionalInt.empty(), checkpointing),
        new Recipe.Evaluation(4, Recipe.Task.LOSS, 24, OptionalInt.empty()), new Recipe.Checkpoints(3, 2), new Recipe.Output(folder.toString(), Optional.empty()));
  }

  private Summary run(String name, Recipe recipe, int threads) {
    try (Device device = new CpuDevice(true, threads)) {
      return new TrainingRun(device, recipe, folder.resolve(name), false, TrainingListener.NONE, () -> false).run();
    }
  }

  @Test
  void theLossFallsThePlanIsKeptAndTheAdapterIsUsedOnTheSameBase() {
    for (var precision : List.of(Precision.NF4, Precision.NF4_DOUBLE, Precision.NF4_BF16, Precision.NF4_DOUBLE_BF16)) {
      var s = run("run-" + precision, recipe(precision, 8, false, 30), 2);
      assertThat(s.lastLoss()).isLessThan(0.5 * s.firstLoss());
      assertThat(s.evalLossAfter().getAsDouble()).isLessThan(s.evalLossBefore().getAsDouble());
      assertThat((double) s.peakBytes()).isCloseTo(s.plannedPeakBytes(), org.assertj.core.data.Percentage.withPercentage(1));
      assertThat(folder.resolve("run-" + precision).resolve("adapter/adapter_model.safetensors")).isNotEmptyFile();
      try (Device device = new CpuDevice(true, 2); var model = OpenModel.ofRun(device, folder.resolve("run-" + precision))) {
        assertThat(((LoraLinear) model.decoder().linears().getFirst()).base()).isInstanceOf(QuantLinear.class);
        assertThat(model.complete("colour of 3", 4)).isNotNull();
      }
    }
  }

  @Test
  void threadsMicroBatchesAndRecomputationDoNotChangeABit() {
    for (var p : List.of(Precision.NF4, Precision.NF4_BF16)) {
      var whole = run("whole-" + p, recipe(p, 8, false, 5), 2);
      assertThat(run("threads-" + p, recipe(p, 8, false, 5), 3).weightsSha256()).isEqualTo(whole.weightsSha256());
      assertThat(run("micro-" + p, recipe(p, 2, false, 5), 2).weightsSha256()).isEqualTo(whole.weightsSha256());
      assertThat(run("again-" + p, recipe(p, 8, true, 5), 2).weightsSha256()).isEqualTo(whole.weightsSha256());
      assertThat(run("double-" + p, recipe(Precision.NF4_DOUBLE, 8, false, 5), 2).weightsSha256()).isNotEqualTo(whole.weightsSha256());
    }
  }

  @Test
  void anInterruptedRunEndsWithTheSameBits() {
    var r = recipe(Precision.NF4_DOUBLE, 8, false, 8);
    var whole = run("uninterrupted", r, 2);
    var asked = new AtomicInteger();
    try (Device device = new CpuDevice(true, 2)) {
      assertThat(new TrainingRun(device, r, folder.resolve("stopped"), false, TrainingListener.NONE, () -> asked.incrementAndGet() > 4).run().interrupted()).isTrue();
      var resumed = new TrainingRun(device, r, folder.resolve("stopped"), true, TrainingListener.NONE, () -> false).run();
      assertThat(resumed.weightsSha256()).isEqualTo(whole.weightsSha256());
    }
  }

  @Test
  void mergingIntoFewBitsIsRefused() {
    run("short", recipe(Precision.NF4, 8, false, 2), 2);
    try (Device device = new CpuDevice(true, 2);
        var base = LanguageModel.open(device, Embedded.path("embedded:sql-base"), Optional.empty(), Precision.NF4, false);
        var region = Region.growing("adapter")) {
      Lora lora = PeftAdapter.load(device, base.decoder(), folder.resolve("short/adapter"), region);
      assertThatThrownBy(() -> lora.merge(device)).isInstanceOf(InvalidInput.class).hasMessageContaining("not dense");
    }
  }

  @Test
  void aLayerInFewBitsIsTrainedWholeFromItsValuesAndMergedIntoTheDenseBase() {
    var config = LoraConfig.of(2, 4, 0, false, List.of("q_proj")).saving(List.of("1.mlp.down_proj"));
    try (Device device = new CpuDevice(true, 2);
        var base = LanguageModel.open(device, Embedded.path("embedded:sql-base"), Optional.empty(), Precision.NF4, false);
        var region = Region.growing("adapter")) {
      var lora = Lora.attach(base.decoder(), config, region).checked();
      lora.initialise(device, 1);
      var whole = lora.wholes().getFirst();
      var few = (QuantMatrix) whole.base();
      for (int r = 0; r < few.outputs(); r++) assertThat(whole.trained().slice(r, r + 1).toFloats()).isEqualTo(few.row(r));
      assertThat(layer(lora.decoder(), whole.module())).isEqualTo(new DenseLinear(whole.module(), whole.trained()));
      whole.trained().set(new float[few.outputs() * few.inputs()]);
      PeftAdapter.save(device, lora, folder.resolve("whole"));
      var dense = base.decoder().dense(device, region);
      PeftAdapter.load(device, dense, folder.resolve("whole"), region).merge(device);
      assertThat(((DenseLinear) layer(dense, whole.module())).w().toFloats()).containsOnly(0);
    }
  }

  private static Linear layer(Decoder decoder, String name) {
    return decoder.linears().stream().filter(l -> l.name().equals(name)).findFirst().orElseThrow();
  }

  @Test
  void trainingTheFewBitsThemselvesIsRefusedInTheRecipe() {
    assertThatThrownBy(() -> RecipeFile.parse("model: {path: embedded:sql-base, precision: nf4}\nmethod: {type: full}\ndata: {path: x.jsonl}\n", "r", List.of())).isInstanceOf(InvalidInput.class).hasMessageContaining("nf4").hasMessageContaining("full");
    assertThatThrownBy(() -> RecipeFile.parse("model: {init: scratch, precision: nf4-double, config: {hidden: 32, layers: 1, heads: 2, contextLength: 32}}\ntokenizer: bpe:300\ndata: {path: x.txt}\n", "r", List.of())).isInstanceOf(InvalidInput.class).hasMessageContaining("scratch");
  }
}
