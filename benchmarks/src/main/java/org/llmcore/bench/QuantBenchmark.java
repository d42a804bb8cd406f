package org.llmcore.bench;

import java.lang.foreign.MemorySegment;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;

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

import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.Device;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Sink;
import org.llmcore.quant.GroupedCodes;
import org.llmcore.quant.Nf4Codes;
import org.llmcore.quant.RoundToNearest;
import org.llmcore.tensor.BlockType;
import org.llmcore.tensor.Blocks;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

/// Products of 1 and 128 rows with a weight matrix (4096, 4096), forward and backward, in every form of few bits and dense beside
/// them. `Main` adds the rate and the share of what this machine could do (`Limit`; a matrix that a cache holds may exceed it: `Streaming`
/// avoids that).
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class QuantBenchmark {
  static final int N = 4096;
  private static final int GROUP = 128;

  /// What the weights are held in.
  public enum Form {
    F32,
    BF16,
    GROUPED_2,
    GROUPED_3,
    GROUPED_4,
    GROUPED_8,
    NF4,
    NF4_DOUBLE,
    Q8_0,
    Q4_0,
    Q4_K,
    Q6_K
  }

  @Param public Form form;

  @Param({"1", "128"})
  public int rows;

  /// What rows of x and y are held in.
  @Param({"F32", "BF16"})
  public DType x;

  private CpuDevice device;
  private Region region;
  private Kernel forward;
  private Kernel backward;
  private Kernel int8;

  @Setup(Level.Trial)
  public void setup() {
    device = CpuDevice.open();
    region = Region.growing("benchmark");
    var random = new Random(1);
    var weights = weights(random);
    var values = new float[rows * N];
    for (int i = 0; i < values.length; i++) values[i] = (float) random.nextGaussian();
    var left = region.carve(x, Shape.of(rows, N)).set(values);
    var y = region.carve(x, Shape.of(rows, N));
    if (form == Form.F32 || form == Form.BF16) {
      var w = region.carve(form == Form.F32 ? DType.F32 : DType.BF16, Shape.of(N, N)).set(weights);
      forward = new MatMul.Product(Sink.write(y), left, w, false, true, 1);
      backward = new MatMul.Product(Sink.write(y), left, w, false, false, 1);
      int8 = forward; // dense weights have no other
    } else {
      var w = matrix(form, weights, device, region);
      forward = new QuantMatMul.Product(Sink.write(y), left, w, true);
      backward = new QuantMatMul.Product(Sink.write(y), left, w, false);
      int8 = new QuantMatMul.Int8Product(Sink.write(y), left, w);
    }
  }

  static float[] weights(Random random) {
    var weights = new float[N * N];
    for (int i = 0; i < weights.length; i++) weights[i] = (float) (0.02 * random.nextGaussian());
    return weights;
  }

  /// The weights in few bits; those of blocks are others, for their time depends on no value.
  static QuantMatrix matrix(Form form, float[] weights, Device device, Region region) {
    return switch (form) {
      case GROUPED_2, GROUPED_3, GROUPED_4, GROUPED_8 -> grouped(form, weights).upload(device, region, DType.F16);
      case NF4, NF4_DOUBLE -> Nf4Codes.encode(weights).upload(device, region, N, N, form == Form.NF4_DOUBLE);
      case Q8_0, Q4_0, Q4_K, Q6_K -> blocks(BlockType.valueOf(form.name()), device, region);
      case F32, BF16 -> throw new IllegalStateException(form + " is dense");
    };
  }

  /// The weights rounded to nearest in groups.
  static GroupedCodes grouped(Form form, float[] weights) {
    return RoundToNearest.quantize(weights, N, N, bits(form), GROUP, false, true);
  }

  private static int bits(Form form) {
    return Integer.parseInt(form.name().substring("GROUPED_".length()));
  }

  /// Random bytes; f16 scales among them may be anything but NaN and infinity.
  private static QuantMatrix blocks(BlockType type, Device device, Region region) {
    var w = Blocks.carve(region, type, N, N);
    var bytes = new byte[(int) w.codes().bytes()];
    new SplittableRandom(1).nextBytes(bytes);
    for (int i = 0; i < bytes.length; i++) bytes[i] &= 0x3f;
    device.upload(MemorySegment.ofArray(bytes), w.codes());
    return w;
  }

  @TearDown(Level.Trial)
  public void tearDown() {
    device.close();
    region.close();
  }

  /// y = x·Wᵀ.
  @Benchmark
  public void product(Limit limit) {
    limit.run(device, forward);
  }

  /// The same of x in eight bits; of dense weights `product` once more.
  @Benchmark
  public void int8(Limit limit) {
    limit.run(device, int8);
  }

  /// dx = dy·W.
  @Benchmark
  public void transposed(Limit limit) {
    limit.run(device, backward);
  }
}
