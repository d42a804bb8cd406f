package org.llmcore.bench;

import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.data.Batch;
import org.llmcore.model.Decoder;
import org.llmcore.op.Dropout;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.train.MemoryPlan;
import org.llmcore.train.Optimizer;
import org.llmcore.train.Trainer;
import org.llmcore.train.Tuning;

/// One full AdamW training step: forward, backward, clip, update, at the shapes of `Shapes`. Time per step; tokens per
/// second are batch × length / time.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Warmup(iterations = 2, time = 3)
@Measurement(iterations = 5, time = 3)
public class TrainingStepBenchmark {
  @Param({"small", "15M"})
  public String shape;

  private CpuDevice device;
  private Region weights;
  private Region training;
  private Region step;
  private Trainer trainer;
  private Batch batch;
  private int number;

  @Setup
  public void setup() {
    var s = Shapes.of(shape);
    var plan =
        MemoryPlan.of(
            new MemoryPlan.Shape(s.config(), DType.F32, DType.F32, Optional.empty(), false), s.batch() * s.length(), s.batch());
    device = CpuDevice.open();
    weights = device.reserve("weights", plan.weights());
    training = device.reserve("training", plan.training());
    step = device.reserve("step", plan.step());
    var decoder = Decoder.carve(s.config(), weights, DType.F32, DType.F32, true);
    org.llmcore.model.Initialisation.initialise(decoder, 1);
    var tuning = Tuning.full(decoder);
    var optimizer = new Optimizer(device, training, tuning.trained(), new Optimizer.Settings(0.9, 0.999, 1e-8, 0.01, 1));
    trainer = new Trainer(device, tuning, optimizer, step, false, 1);
    batch = batch(s);
  }

  private static Batch batch(Shapes s) {
    int t = s.batch() * s.length();
    var ids = new int[t];
    var targets = new int[t];
    var positions = new int[t];
    var starts = new int[s.batch() + 1];
    for (int i = 0; i < t; i++) {
      ids[i] = (int) (Dropout.uniform(5, i) * s.config().vocabulary());
      targets[i] = (int) (Dropout.uniform(6, i) * s.config().vocabulary());
      positions[i] = i % s.length();
    }
    for (int i = 0; i <= s.batch(); i++) starts[i] = i * s.length();
    return new Batch(ids, targets, starts, positions, t);
  }

  @Benchmark
  public Trainer.Report step() {
    return trainer.step(++number, List.of(batch), 1e-5);
  }

  @TearDown
  public void tearDown() {
    step.close();
    training.close();
    weights.close();
    device.close();
  }
}
