package org.llmcore.bench;

import java.util.Random;
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
import org.llmcore.flags.Flags;
import org.llmcore.op.Device;
import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.quantize.Gptq;
import org.llmcore.quantize.Hessian;
import org.llmcore.quantize.Settings;
import org.llmcore.quantize.Team;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Quantizing one layer (N,K) to 4 bits in groups of 128, in its two parts, beside the matrix product they are measured by.
///
/// | benchmark | does                                           | operations                |
/// |-----------|------------------------------------------------|---------------------------|
/// | hessian   | XᵀX of 2,048 tokens, half of it; usual are 128 × 2,048 | 2048·K·(K + 512)  |
/// | layer     | factor, walk and updates                       | ⅔K³ in f64 and K²N in f32 |
/// | product   | X·Wᵀ of 2,048 tokens                           | 2·2048·K·N                |
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Warmup(iterations = 2, time = 2)
@Measurement(iterations = 3, time = 2)
public class GptqBenchmark {
  static final int T = 2048;

  /// Outputs and inputs.
  @Param({"768x768", "2048x2048", "4096x4096", "11008x4096"})
  public String shape;

  private int outputs;
  private int inputs;

  private Device device;
  private Team team;
  private Region region;
  private Tensor x;
  private Tensor w;
  private Tensor y;
  private float[] weights;
  private float[] hessian;

  @Setup
  public void setup() {
    var sides = shape.split("x");
    outputs = Integer.parseInt(sides[0]);
    inputs = Integer.parseInt(sides[1]);
    device = new CpuDevice(true, Flags.threads());
    team = new Team(Flags.threads());
    region = Region.growing("benchmark");
    x = region.carve(DType.F32, Shape.of(T, inputs));
    w = region.carve(DType.F32, Shape.of(outputs, inputs));
    y = region.carve(DType.F32, Shape.of(T, outputs));
    x.set(random(T * inputs, 1));
    weights = random(outputs * inputs, 2);
    w.set(weights);
    try (var h = new Hessian(device, inputs)) {
      h.add(x);
      hessian = h.toFloats();
    }
  }

  private static float[] random(int n, long seed) {
    var random = new Random(seed);
    var values = new float[n];
    for (int i = 0; i < n; i++) values[i] = (float) random.nextGaussian();
    return values;
  }

  @Benchmark
  public void hessian() {
    try (var h = new Hessian(device, inputs)) {
      h.add(x);
    }
  }

  @Benchmark
  public Gptq.Result layer() {
    return Gptq.quantize(device, team, Settings.gptq(4, 128), weights, outputs, inputs, hessian);
  }

  @Benchmark
  public void product() {
    device.run(new MatMul.Product(Sink.write(y), x, w, false, true, 1));
  }

  @TearDown
  public void tearDown() {
    region.close();
    team.close();
    device.close();
  }
}
