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
import org.llmcore.quantize.Settings;
import org.llmcore.quantize.Team;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Quantizing one square layer to 4 bits in groups of 128, in its two parts, beside the matrix product they are measured by.
///
/// | benchmark | does                                     | operations                             |
/// |-----------|------------------------------------------|----------------------------------------|
/// | hessian   | XᵀX of 2,048 tokens; usual are 128 × 2,048 | 2·2048·K²                      |
/// | layer     | factor, walk and updates                 | ⅔K³ in f64 and K³ in f32               |
/// | product   | X·W of 2,048 tokens, the same kernel     | 2·2048·K²                              |
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Warmup(iterations = 2, time = 2)
@Measurement(iterations = 3, time = 2)
public class GptqBenchmark {
  static final int T = 2048;

  @Param({"768", "2048"})
  public int width;

  private Device device;
  private Team team;
  private Region region;
  private Tensor x;
  private Tensor w;
  private Tensor y;
  private Tensor h;
  private float[] weights;
  private float[] hessian;

  @Setup
  public void setup() {
    device = new CpuDevice(true, Flags.threads());
    team = new Team(Flags.threads());
    region = Region.growing("benchmark");
    x = region.carve(DType.F32, Shape.of(T, width));
    w = region.carve(DType.F32, Shape.of(width, width));
    y = region.carve(DType.F32, Shape.of(T, width));
    h = region.carve(DType.F32, Shape.of(width, width));
    x.set(random(T * width, 1));
    weights = random(width * width, 2);
    w.set(weights);
    hessian();
    hessian = h.toFloats();
  }

  private static float[] random(int n, long seed) {
    var random = new Random(seed);
    var values = new float[n];
    for (int i = 0; i < n; i++) values[i] = (float) random.nextGaussian();
    return values;
  }

  @Benchmark
  public void hessian() {
    device.run(new MatMul.Product(Sink.write(h), x, x, true, false, 1));
  }

  @Benchmark
  public Gptq.Result layer() {
    return Gptq.quantize(device, team, Settings.gptq(4, 128), weights, width, width, hessian);
  }

  @Benchmark
  public void product() {
    device.run(new MatMul.Product(Sink.write(y), x, w, false, false, 1));
  }

  @TearDown
  public void tearDown() {
    region.close();
    team.close();
    device.close();
  }
}
