package org.llmcore.bench;

import java.util.Random;
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
import org.llmcore.op.QuantMatMul;
import org.llmcore.quant.BlockCodes;
import org.llmcore.quant.Nf4Codes;
import org.llmcore.tensor.BlockType;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

/// A weight matrix (4096, 4096) from f32 to codes, and from codes to f32, in every form of few bits that we write. `Main` adds GB/s of
/// what decoding reads and writes.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class QuantCodesBenchmark {
  private static final int N = QuantBenchmark.N;

  @Param({"GROUPED_2", "GROUPED_3", "GROUPED_4", "GROUPED_8", "NF4", "NF4_DOUBLE", "Q8_0", "Q4_0", "Q4_K"})
  public QuantBenchmark.Form form;

  private CpuDevice device;
  private Region region;
  private float[] weights;
  private QuantMatMul.Dequantize dequantize;

  @Setup(Level.Trial)
  public void setup() {
    device = CpuDevice.open();
    region = Region.growing("benchmark");
    weights = QuantBenchmark.weights(new Random(1));
    dequantize = new QuantMatMul.Dequantize(region.carve(DType.F32, Shape.of(N, N)), QuantBenchmark.matrix(form, weights, device, region));
  }

  @TearDown(Level.Trial)
  public void tearDown() {
    device.close();
    region.close();
  }

  /// W as f32, by all threads.
  @Benchmark
  public void decode(Limit limit) {
    limit.run(device, dequantize);
  }

  /// f32 to codes on the host, blocks by all threads, the others by one; groups are rounded to nearest. NF4's double
  /// quantization is not in it: it comes with the upload.
  @Benchmark
  public Object encode() {
    return switch (form) {
      case NF4, NF4_DOUBLE -> Nf4Codes.encode(weights);
      case Q8_0, Q4_0, Q4_K -> BlockCodes.encode(BlockType.valueOf(form.name()), weights, weights.length);
      case GROUPED_2, GROUPED_3, GROUPED_4, GROUPED_8 -> QuantBenchmark.grouped(form, weights);
      case F32, BF16, Q6_K -> throw new IllegalStateException(form + " is not among the forms");
    };
  }
}
