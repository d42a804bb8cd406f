package org.llmcore.bench;

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

import org.llmcore.train.Trainer;

/// One AdamW training step (`Step`) at the shapes of `Shapes`. Time per step; tokens per second are batch × length / time.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Warmup(iterations = 2, time = 3)
@Measurement(iterations = 5, time = 3)
public class TrainingStepBenchmark {
  @Param({"small", "15M"})
  public String shape;

  @Param({"full", "lora"})
  public String method;

  private Step step;

  @Setup
  public void setup() {
    step = Step.of(Shapes.of(shape), method);
  }

  @Benchmark
  public Trainer.Report step() {
    return step.run();
  }

  @TearDown
  public void tearDown() {
    step.close();
  }
}
