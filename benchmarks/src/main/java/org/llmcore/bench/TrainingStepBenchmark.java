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

import org.llmcore.Devices;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.trace.TracedDevice;
import org.llmcore.train.Trainer;

/// One AdamW training step (`Step`) at a shape of `Shapes`. Time per step; tokens per second are batch × length / time. `Main` adds the rate
/// and the share of what this machine could do (`Limit`).
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Warmup(iterations = 2, time = 3)
@Measurement(iterations = 5, time = 3)
public class TrainingStepBenchmark {
  /// Shape, method and precision.
  @Param({
    "15M full f32", "15M lora f32", "15M full bf16", "15M lora bf16", "110M full bf16", "110M lora bf16", "110M lora nf4-bf16", "1.1B lora bf16"
  })
  public String work;

  private Step step;

  @Setup
  public void setup(Limit limit) {
    try (var counted = step(new TracedDevice(Devices.open(), limit))) {
      counted.run();
    }
    step = step(Devices.open());
  }

  private Step step(Device device) {
    var words = work.split(" ");
    return Step.of(device, Shapes.of(words[0]), words[1], Precision.parse(words[2]), false);
  }

  @Benchmark
  public Trainer.Report run() {
    return step.run();
  }

  @TearDown
  public void tearDown() {
    step.close();
  }
}
