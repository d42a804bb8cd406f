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
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Sink;
import org.llmcore.quant.BlockCodes;
import org.llmcore.quant.Nf4Codes;
import org.llmcore.quant.RoundToNearest;
import org.llmcore.tensor.BlockType;
import org.llmcore.tensor.Blocks;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

/// Products of 1 and 128 rows with a weight matrix (4096, 4096), forward and backward, in every form of few bits and dense beside
/// them; encoding and decoding of that matrix. `Main` adds GB/s of the weights' bytes and, for the product, the share of what memory
/// gives (a matrix that a cache holds may exceed it: `Streaming` avoids that).
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

  private CpuDevice device;
  private Region region;
  private float[] weights;
  private Kernel forward;
  private Kernel backward;
  private Kernel dequantize;

  @Setup(Level.Trial)
  public void setup() {
    device = CpuDevice.open();
    region = Region.growing("benchmark");
    var random = new Random(1);
    weights = new float[N * N];
    for (int i = 0; i < weights.length; i++) weights[i] = (float) (0.02 * random.nextGaussian());
    var x = region.carve(DType.F32, Shape.of(rows, N));
    for (long i = 0; i < x.elements(); i++) x.segment().setAtIndex(java.lang.foreign.ValueLayout.JAVA_FLOAT, i, (float) random.nextGaussian());
    var y = region.carve(DType.F32, Shape.of(rows, N));
    if (form == Form.F32 || form == Form.BF16) {
      var w = region.carve(form == Form.F32 ? DType.F32 : DType.BF16, Shape.of(N, N)).set(weights);
      forward = new MatMul.Product(Sink.write(y), x, w, false, true, 1);
      backward = new MatMul.Product(Sink.write(y), x, w, false, false, 1);
    } else {
      var w = matrix();
      forward = new QuantMatMul.Product(Sink.write(y), x, w, true);
      backward = new QuantMatMul.Product(Sink.write(y), x, w, false);
      dequantize = new QuantMatMul.Dequantize(region.carve(DType.F32, Shape.of(N, N)), w);
    }
  }

  private QuantMatrix matrix() {
    return switch (form) {
      case GROUPED_2 -> grouped(2);
      case GROUPED_3 -> grouped(3);
      case GROUPED_4 -> grouped(4);
      case GROUPED_8 -> grouped(8);
      case NF4, NF4_DOUBLE -> Nf4Codes.encode(weights).upload(device, region, N, N, form == Form.NF4_DOUBLE);
      case Q8_0, Q4_0, Q4_K, Q6_K -> blocks(BlockType.valueOf(form.name()));
      default -> throw new IllegalStateException(form + " is dense");
    };
  }

  private QuantMatrix grouped(int bits) {
    return RoundToNearest.quantize(weights, N, N, bits, GROUP, false, true).upload(device, region, DType.F16);
  }

  /// Random bytes; f16 scales among them may be anything but NaN and infinity, which no time depends on.
  private QuantMatrix blocks(BlockType type) {
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
  public void product() {
    device.run(forward);
  }

  /// dx = dy·W.
  @Benchmark
  public void transposed() {
    device.run(backward);
  }

  /// W as f32.
  @Benchmark
  public void decode() {
    if (dequantize != null) device.run(dequantize);
  }

  /// f32 to codes on the host; groups are rounded to nearest. Q6_K is not made, dense forms are copied.
  @Benchmark
  public Object encode() {
    return switch (form) {
      case NF4, NF4_DOUBLE -> Nf4Codes.encode(weights);
      case Q8_0, Q4_0, Q4_K -> BlockCodes.encode(BlockType.valueOf(form.name()), weights, weights.length);
      case GROUPED_2 -> RoundToNearest.quantize(weights, N, N, 2, GROUP, false, true);
      case GROUPED_3 -> RoundToNearest.quantize(weights, N, N, 3, GROUP, false, true);
      case GROUPED_4 -> RoundToNearest.quantize(weights, N, N, 4, GROUP, false, true);
      case GROUPED_8 -> RoundToNearest.quantize(weights, N, N, 8, GROUP, false, true);
      case F32, BF16, Q6_K -> weights.clone();
    };
  }

  /// Bytes of the weights in a form.
  static double bytes(Form form) {
    double weights = (double) N * N;
    return switch (form) {
      case F32 -> 4 * weights;
      case BF16 -> 2 * weights;
      case GROUPED_2 -> weights * (2 + 32.0 / GROUP) / 8;
      case GROUPED_3 -> weights * (3 + 32.0 / GROUP) / 8;
      case GROUPED_4 -> weights * (4 + 32.0 / GROUP) / 8;
      case GROUPED_8 -> weights * (8 + 32.0 / GROUP) / 8;
      case NF4 -> weights * 4.5 / 8;
      case NF4_DOUBLE -> weights * (4 + 8.0 / 64 + 32.0 / (64 * 256)) / 8;
      case Q8_0, Q4_0, Q4_K, Q6_K -> {
        var type = BlockType.valueOf(form.name());
        yield weights * type.bytes() / type.weights();
      }
    };
  }
}
