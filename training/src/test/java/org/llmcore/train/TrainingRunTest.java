package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.atomic.AtomicInteger;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.data.TooLong;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// The promises of a run on a model small enough to train in a second: the same bits whatever the threads, the split into
/// micro-batches, recomputation and interruptions; memory as planned; what is wrong is said.
class TrainingRunTest {
  @TempDir Path folder;
  private Path text;

  @BeforeEach
  void writeText() throws IOException {
    var s = new StringBuilder();
    for (int i = 0; i < 400; i++) s.append("the ").append(i % 7 == 0 ? "old " : "young ").append(i % 3 == 0 ? "fox" : "owl").append(" saw ").append(i).append(" stars\n");
    text = Files.writeString(folder.resolve("text.txt"), s);
  }

  private Recipe recipe(int microBatch, boolean checkpointing, int steps, double learningRate) {
    return new Recipe(
        new Recipe.Scratch(new Recipe.Architecture(32, 2, 4, 2, 8, 48, OptionalInt.empty(), 32, 1e-5, 10000, true), Precision.F32),
        Optional.of(new Recipe.Source("bpe:300")), new Recipe.Full(),
        new Recipe.Data(new Recipe.Source(text.toString()), Optional.empty(), 0.1, OptionalInt.empty(), false, TooLong.REFUSE),
        new Recipe.Training(1, OptionalInt.of(steps), 8, microBatch, learningRate, LrSchedule.Kind.COSINE, 2, 0, 0.01, 0.9, 0.999, 1e-8, 1, 7, OptionalInt.empty(), checkpointing),
        new Recipe.Evaluation(4, Recipe.Task.LOSS, 50, OptionalInt.empty()), new Recipe.Checkpoints(3, 2), new Recipe.Output(folder.toString(), Optional.empty()));
  }

  private Summary run(String name, Recipe recipe, int threads) {
    try (Device device = new CpuDevice(true, threads)) {
      return new TrainingRun(device, recipe, folder.resolve(name), false, TrainingListener.NONE, () -> false).run();
    }
  }

  @Test
  void lossFallsAndEverythingIsWritten() {
    var s = run("run", recipe(8, false, 30, 5e-3), 2);
    assertThat(s.lastLoss()).isLessThan(0.7 * s.firstLoss());
    assertThat(s.evalLossAfter().getAsDouble()).isLessThan(s.evalLossBefore().getAsDouble());
    for (var file : new String[] {"recipe.yaml", "metrics.jsonl", "loss.png", "summary.json", "model/config.json", "model/model.safetensors", "model/tokenizer.model"}) {
      assertThat(folder.resolve("run").resolve(file)).isNotEmptyFile();
    }
    assertThat(Checkpoint.list(folder.resolve("run/checkpoints"))).hasSize(2);
  }

  @Test
  void threadsDoNotChangeABit() {
    var one = run("one", recipe(8, false, 6, 5e-3), 1);
    assertThat(run("three", recipe(8, false, 6, 5e-3), 3).weightsSha256()).isEqualTo(one.weightsSha256());
  }

  @Test
  void microBatchesDoNotChangeABit() {
    var whole = run("8", recipe(8, false, 6, 5e-3), 2);
    for (int micro : new int[] {4, 2, 1}) {
      var split = run("micro" + micro, recipe(micro, false, 6, 5e-3), 2);
      assertThat(split.weightsSha256()).as("micro-batches of " + micro).isEqualTo(whole.weightsSha256());
      assertThat(split.lastLoss()).isCloseTo(whole.lastLoss(), org.assertj.core.data.Offset.offset(1e-12));
    }
  }

  @Test
  void recomputationDoesNotChangeABitAndSavesMemory() {
    var kept = run("kept", recipe(8, false, 6, 5e-3), 2);
    var recomputed = run("recomputed", recipe(8, true, 6, 5e-3), 2);
    assertThat(recomputed.weightsSha256()).isEqualTo(kept.weightsSha256());
    assertThat(recomputed.peakBytes()).isLessThan(kept.peakBytes());
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 5})
  void aRunThatWasInterruptedEndsWithTheSameBits(int steps) {
    var whole = run("whole", recipe(4, false, 10, 5e-3), 2);
    var asked = new AtomicInteger();
    try (Device device = new CpuDevice(true, 2)) {
      var stopped = new TrainingRun(device, recipe(4, false, 10, 5e-3), folder.resolve("stopped"), false, TrainingListener.NONE, () -> asked.incrementAndGet() > steps).run();
      assertThat(stopped.interrupted()).isTrue();
      assertThat(stopped.steps()).isEqualTo(steps);
      var resumed = new TrainingRun(device, recipe(4, false, 10, 5e-3), folder.resolve("stopped"), true, TrainingListener.NONE, () -> false).run();
      assertThat(resumed.weightsSha256()).isEqualTo(whole.weightsSha256());
      assertThat(resumed.lastLoss()).isEqualTo(whole.lastLoss());
      assertThat(resumed.evalLossBefore()).isEqualTo(whole.evalLossBefore());
    }
    assertThat(Metrics.read(folder.resolve("stopped/metrics.jsonl")).stream().filter(l -> l.values().containsKey("loss")).count()).isEqualTo(10);
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aRunThatWasKilledBeforeItsFirstCheckpointBeginsAgain(boolean adapter) {
    var recipe = recipe(8, false, 6, 5e-3);
    if (adapter) {
      run("base", recipe, 2);
      recipe = lora(recipe, folder.resolve("base/model"), 5e-3, OptionalInt.empty());
    }
    var whole = run("whole", recipe, 2);
    var killed = new TrainingListener() {
      @Override
      public void step(int step, Trainer.Report report, double rate, double tokensPerSecond) {
        if (step == 2) throw new IllegalStateException("killed");
      }
    };
    try (Device device = new CpuDevice(true, 2)) {
      var first = new TrainingRun(device, recipe, folder.resolve("killed"), false, killed, () -> false);
      assertThatThrownBy(first::run).hasMessage("killed");
      assertThat(Checkpoint.list(folder.resolve("killed/checkpoints")).size()).as("a better evaluation is a checkpoint").isEqualTo(adapter ? 1 : 0);
      var again = new TrainingRun(device, recipe, folder.resolve("killed"), true, TrainingListener.NONE, () -> false).run();
      assertThat(again.weightsSha256()).isEqualTo(whole.weightsSha256());
      assertThat(again.evalLossBefore()).isEqualTo(whole.evalLossBefore());
    }
    assertThat(lossesAndEvaluations("killed")).isEqualTo(lossesAndEvaluations("whole"));
  }

  private List<String> lossesAndEvaluations(String name) {
    return Metrics.read(folder.resolve(name + "/metrics.jsonl")).stream()
        .map(l -> l.step() + " " + l.values().get("loss") + " " + l.values().get("eval_loss")).toList();
  }

  @Test
  void aFinishedRunThatIsResumedSaysTheSameAgain() {
    var recipe = recipe(8, false, 4, 5e-3);
    var whole = run("whole", recipe, 2);
    try (Device device = new CpuDevice(true, 2)) {
      var again = new TrainingRun(device, recipe, folder.resolve("whole"), true, TrainingListener.NONE, () -> false).run();
      assertThat(again.weightsSha256()).isEqualTo(whole.weightsSha256());
      assertThat(again.firstLoss()).isEqualTo(whole.firstLoss());
      assertThat(again.lastLoss()).isEqualTo(whole.lastLoss());
      assertThat(again.evalLossAfter()).isEqualTo(whole.evalLossAfter());
    }
  }

  @Test
  void aFolderIsHeldByOneProcessAtATime() throws IOException {
    var recipe = recipe(8, false, 2, 5e-3);
    run("held", recipe, 1);
    Path run = folder.resolve("held");
    var program = Files.writeString(folder.resolve("Hold.java"), """
        void main(String[] a) throws Exception {
          var channel = java.nio.channels.FileChannel.open(java.nio.file.Path.of(a[0]), java.nio.file.StandardOpenOption.WRITE);
          IO.println(channel.lock().isValid());
          Thread.sleep(60_000);
        }
        """);
    var other = new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "java").toString(), program.toString(), run.resolve("lock").toString()).start();
    try (Device device = new CpuDevice(true, 1)) {
      assertThat(other.inputReader().readLine()).isEqualTo("true");
      var resumed = new TrainingRun(device, recipe, run, true, TrainingListener.NONE, () -> false);
      assertThatThrownBy(resumed::run).isInstanceOf(InvalidInput.class).hasMessageContaining(run + " is held by a run that goes on");
      other.destroyForcibly().onExit().join();
      assertThat(resumed.run().steps()).isEqualTo(2);
      try (var _ = RunLock.of(run)) {
        assertThatThrownBy(resumed::run).as("this process").isInstanceOf(InvalidInput.class).hasMessageContaining("is held");
      }
    } finally {
      other.destroyForcibly();
    }
  }

  @Test
  void theHeadIsAdaptedWithTheSameBitsWhateverTheSplit() {
    run("base", recipe(8, false, 6, 5e-3), 2);
    var t = recipe(8, false, 5, 5e-3);
    var shas = new ArrayList<String>();
    for (int micro : new int[] {8, 2}) {
      var l = lora(recipe(micro, false, 5, 5e-3), folder.resolve("base/model"), 0.01, OptionalInt.empty());
      var training = new Recipe.Training(1, OptionalInt.of(5), 8, micro, 0.01, LrSchedule.Kind.CONSTANT, 0, 0, 0, 0.9, 0.999, 1e-8, 1, 7, OptionalInt.empty(), false);
      var head = new Recipe(l.model(), l.tokenizer(), new Recipe.LowRank(4, 8, 0.1, new Recipe.Suffixes(List.of("q_proj", "lm_head")), false),
          l.data(), training, l.evaluation(), l.checkpoints(), t.output());
      var s = run("head-" + micro, head, 2);
      assertThat(s.lastLoss()).isLessThan(s.firstLoss());
      assertThat((double) s.peakBytes()).isCloseTo(s.plannedPeakBytes(), org.assertj.core.data.Percentage.withPercentage(1));
      shas.add(s.weightsSha256());
    }
    assertThat(shas.get(1)).isEqualTo(shas.get(0));
    try (var file = Safetensors.open(folder.resolve("head-8/adapter/adapter_model.safetensors"))) {
      assertThat(file.entries()).containsKeys("base_model.model.lm_head.lora_A.weight", "base_model.model.lm_head.lora_B.weight");
    }
  }

  @Test
  void namesThatMeanNothingAreRefusedBeforeTheRunBegins() {
    run("base", recipe(8, false, 2, 5e-3), 2);
    var l = lora(recipe(8, false, 2, 5e-3), folder.resolve("base/model"), 0.01, OptionalInt.empty());
    var refused = Map.of("nonsense", "LoRA targets nonsense, which", "embed_tokens", "embed_tokens, which is not supported");
    refused.forEach((target, words) -> {
      var method = new Recipe.LowRank(4, 8, 0, new Recipe.Suffixes(List.of("q_proj", target)), false);
      var recipe = new Recipe(l.model(), l.tokenizer(), method, l.data(), l.training(), l.evaluation(), l.checkpoints(), l.output());
      assertThatThrownBy(() -> run("refused", recipe, 1)).isInstanceOf(InvalidInput.class).hasMessageContaining(words);
      assertThat(folder.resolve("refused")).doesNotExist();
    });
  }

  /// LoRA on a saved model, evaluated after every step.
  private Recipe lora(Recipe recipe, Path base, double learningRate, OptionalInt patience) {
    var t = recipe.training();
    return new Recipe(
        new Recipe.Pretrained(new Recipe.Source(base.toString()), Precision.F32), Optional.empty(),
        new Recipe.LowRank(4, 8, 0, new Recipe.AllLinear(), false), recipe.data(),
        new Recipe.Training(1, t.maxSteps(), 8, 8, learningRate, LrSchedule.Kind.CONSTANT, 0, 0, 0, 0.9, 0.999, 1e-8, 1, 7, OptionalInt.empty(), false),
        new Recipe.Evaluation(1, Recipe.Task.LOSS, 50, patience), recipe.checkpoints(), recipe.output());
  }

  @Test
  void earlyStoppingGivesBackTheBestStepAndItsLoss() {
    run("base", recipe(8, false, 6, 5e-3), 2);
    var s = run("early", lora(recipe(8, false, 40, 5e-3), folder.resolve("base/model"), 0.01, OptionalInt.of(1)), 2);
    assertThat(s.steps()).isLessThan(40);
    var losses = Metrics.read(folder.resolve("early/metrics.jsonl")).stream().map(l -> l.values().get("eval_loss")).filter(Objects::nonNull).toList();
    double best = losses.stream().mapToDouble(x -> x).min().getAsDouble();
    assertThat(losses.indexOf(best)).as("%s", losses).isPositive().isEqualTo(losses.size() - 2);
    assertThat(s.evalLossAfter()).hasValue(best);
    assertThat(s.notes()).anyMatch(n -> n.contains("taking step " + losses.indexOf(best)));
  }

  @Test
  void earlyStoppingSaysWhenNoStepWasBetterThanNone() {
    run("base", recipe(8, false, 6, 5e-3), 2);
    var s = run("early", lora(recipe(8, false, 40, 5e-3), folder.resolve("base/model"), 30, OptionalInt.of(2)), 2);
    assertThat(s.notes()).anyMatch(n -> n.contains("no step was better than none"));
    assertThat(s.evalLossAfter().getAsDouble()).isGreaterThan(s.evalLossBefore().getAsDouble());
  }

  @Test
  void theMemoryPlanIsKept() {
    var s = run("plan", recipe(4, false, 3, 1e-3), 2);
    assertThat((double) s.peakBytes()).isCloseTo(s.plannedPeakBytes(), org.assertj.core.data.Percentage.withPercentage(5));
  }

  @Test
  void theMemoryPlanLooksAtEveryEpoch() throws IOException {
    var s = new StringBuilder();
    var words = new String[] {"old fox", "young owl", "red star", "big moon", "wild goose"};
    for (int i = 0; i < 40; i++) s.append("{\"prompt\":\"the\",\"completion\":\"").append(i < 2 ? "zyxwvutsrqponmlk" : words[i % 5]).append("\"}\n");
    text = Files.writeString(folder.resolve("pairs.jsonl"), s);
    // Two of the examples are long; they meet in a batch of two once in some forty epochs.
    assertThat(stepBytes(5)).isLessThan(stepBytes(500));
  }

  private long stepBytes(int epochs) {
    var r = recipe(8, false, 1, 1e-3);
    var data = new Recipe.Data(r.data().source(), Optional.empty(), 0, OptionalInt.empty(), false, TooLong.REFUSE);
    var t = new Recipe.Training(epochs, OptionalInt.empty(), 2, 2, 1e-3, LrSchedule.Kind.COSINE, 0, 0, 0, 0.9, 0.999, 1e-8, 1, 7, OptionalInt.empty(), false);
    var other = new Recipe(r.model(), r.tokenizer(), r.method(), data, t, new Recipe.Evaluation(0, Recipe.Task.NONE, 1, OptionalInt.empty()), r.checkpoints(), r.output());
    try (Device device = new CpuDevice(true, 1)) {
      return new TrainingRun(device, other, folder.resolve("never"), false, TrainingListener.NONE, () -> false).plan().memory().step();
    }
  }

  @Test
  void aLossThatIsNotANumberStopsWithTheStepAndAdvice() {
    assertThatThrownBy(() -> run("nan", recipe(8, false, 40, 90), 2)).isInstanceOf(InvalidInput.class).hasMessageContaining("step").hasMessageContaining("learningRate");
  }

  @Test
  void anExistingRunIsNotOverwritten() {
    run("twice", recipe(8, false, 1, 1e-3), 1);
    assertThatThrownBy(() -> run("twice", recipe(8, false, 1, 1e-3), 1)).isInstanceOf(InvalidInput.class).hasMessageContaining("holds another run");
  }
}
