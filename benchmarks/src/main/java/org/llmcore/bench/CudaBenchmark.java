package org.llmcore.bench;

import java.util.concurrent.TimeUnit;

import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
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
import org.llmcore.cuda.GpuClock;
import org.llmcore.flags.Flags;
import org.llmcore.op.Device;

/// The cases of `Gpu` under JMH: a number of `GpuCase`, or a training step, a prompt and a decode step of a model. The score is the
/// wall time of a call that is waited for; `gpuMicros / calls` is the GPU's own time between two events.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 1)
public class CudaBenchmark {
  /// Totals of an iteration.
  @State(Scope.Thread)
  @AuxCounters(AuxCounters.Type.EVENTS)
  public static class Clocked {
    public double gpuMicros;
    public double calls;
  }

  @Param("7b")
  public String size;

  /// `training`, `full`, `prefill`, `decode`, or the number of a kernel's case as `Gpu` prints them.
  @Param({"training", "prefill", "decode", "0", "1", "2", "3", "4", "5"})
  public String work;

  private Device device;
  private GpuClock clock;
  private Runnable call;
  private Runnable release;

  @Setup(Level.Trial)
  public void setup() {
    device = Devices.open(Flags.Kind.CUDA, Flags.threads());
    clock = GpuClock.of(device).orElseThrow();
    var s = GpuSize.of(size);
    if (Character.isDigit(work.charAt(0))) {
      var region = device.growing("case");
      var noise = new Noise(device);
      call = Gpu.inTurns(GpuCase.of(s).get(Integer.parseInt(work)).kernels(region, noise), device::run);
      release = () -> {
        region.close();
        noise.close();
      };
      return;
    }
    var model = new GpuModel(device, s, work.equals("full"));
    int context = s.config().contextLength();
    var step = switch (work) {
      case "training" -> model.lora();
      case "full" -> model.full();
      case "prefill" -> model.reading(1, 0, Math.min(2048, context));
      default -> model.reading(1, Math.min(1024, context - 2), 1);
    };
    call = step::run;
    release = () -> {
      step.close();
      model.close();
    };
  }

  @Benchmark
  public void run(Clocked clocked) {
    clocked.gpuMicros += clock.micros(call);
    clocked.calls++;
  }

  @TearDown(Level.Trial)
  public void tearDown() {
    release.run();
    clock.close();
    device.close();
  }
}
