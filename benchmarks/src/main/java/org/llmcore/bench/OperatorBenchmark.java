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

import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.AdamW;
import org.llmcore.op.Attention;
import org.llmcore.op.Binary;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Dropout;
import org.llmcore.op.Embedding;
import org.llmcore.op.GradientNorm;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.Move;
import org.llmcore.op.Reduce;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Rope;
import org.llmcore.op.Sink;
import org.llmcore.op.Softmax;
import org.llmcore.op.SwiGlu;
import org.llmcore.op.Unary;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Every kernel once at the 15M training shape: 8 × 256 tokens, hidden 288, 6 heads of 48, ff 768, vocabulary 32,000.
/// Time per call; `Main` adds GFLOP/s or GB/s from the sizes.
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class OperatorBenchmark {
  static final int T = 2048;
  static final int C = 288;
  static final int F = 768;
  static final int H = 6;
  static final int V = 32000;

  /// One case per kernel.
  public enum Case {
    MATMUL_FORWARD,
    MATMUL_DX,
    MATMUL_DW,
    MATMUL_VOCABULARY,
    ATTENTION_FORWARD,
    ATTENTION_BACKWARD,
    ATTENTION_DECODE,
    RMS_NORM_FORWARD,
    RMS_NORM_BACKWARD,
    ROPE,
    SWIGLU_FORWARD,
    SWIGLU_BACKWARD,
    ADD,
    EMBEDDING_FORWARD,
    EMBEDDING_BACKWARD,
    CROSS_ENTROPY_FUSED,
    SOFTMAX,
    DROPOUT,
    GELU,
    REDUCE_SUM,
    COPY,
    ADAMW,
    GRADIENT_NORM
  }

  @Param public Case kernel;

  private CpuDevice device;
  private Region region;
  private Kernel call;

  @Setup
  public void setup() {
    device = CpuDevice.open();
    region = Region.growing("benchmark");
    call = call(kernel);
  }

  @TearDown
  public void tearDown() {
    device.close();
    region.close();
  }

  @Benchmark
  public void run() {
    device.run(call);
  }

  /// What is measured.
  Kernel call() {
    return call;
  }

  /// Floating-point operations of one call, 0 where bytes are the measure.
  static double flops(Case kernel) {
    return switch (kernel) {
      case MATMUL_FORWARD, MATMUL_DX, MATMUL_DW -> 2.0 * T * C * F;
      case MATMUL_VOCABULARY -> 2.0 * 512 * C * V;
      case ATTENTION_FORWARD -> 4.0 * (C / H) * H * 8 * (256.0 * 257 / 2);
      case ATTENTION_BACKWARD -> 10.0 * (C / H) * H * 8 * (256.0 * 257 / 2);
      default -> 0;
    };
  }

  /// Bytes one call must move, 0 where flops are the measure.
  static double bytes(Case kernel) {
    return switch (kernel) {
      case RMS_NORM_FORWARD, ROPE, EMBEDDING_FORWARD, SOFTMAX, DROPOUT, GELU, COPY -> 8.0 * T * C;
      case RMS_NORM_BACKWARD, ADD -> 12.0 * T * C;
      case SWIGLU_FORWARD -> 12.0 * T * F;
      case SWIGLU_BACKWARD -> 20.0 * T * F;
      case EMBEDDING_BACKWARD -> 4.0 * V * C + 8.0 * T * C;
      case CROSS_ENTROPY_FUSED -> 8.0 * 512 * V;
      case REDUCE_SUM -> 4.0 * T * C;
      case ADAMW -> 28.0 * V * C;
      case GRADIENT_NORM -> 4.0 * V * C;
      case ATTENTION_DECODE -> 8.0 * 8 * 256 * C;
      default -> 0;
    };
  }

  private Kernel call(Case c) {
    return switch (c) {
      case MATMUL_FORWARD -> product(f32(T, F), f32(T, C), f32(F, C), false, true);
      case MATMUL_DX -> product(f32(T, C), f32(T, F), f32(F, C), false, false);
      case MATMUL_DW -> product(f32(F, C), f32(T, F), f32(T, C), true, false);
      case MATMUL_VOCABULARY -> product(f32(512, V), f32(512, C), f32(V, C), false, true);
      case ATTENTION_FORWARD -> new Attention.Forward(heads(), f32(T, H), heads(), heads(), heads(), starts(), 0.144f, true);
      case ATTENTION_BACKWARD -> {
        var o = heads();
        var lse = f32(T, H);
        var q = heads();
        var k = heads();
        var v = heads();
        device.run(new Attention.Forward(o, lse, q, k, v, starts(), 0.144f, true));
        yield new Attention.Backward(
            Sink.write(heads()), Sink.write(heads()), Sink.write(heads()), heads(), o, lse, q, k, v, starts(), 0.144f, true);
      }
      case ATTENTION_DECODE ->
          new Attention.Decode(
              f32(8, H, C / H), f32(8, H, C / H), f32(8, 256, H, C / H), f32(8, 256, H, C / H),
              i32(0, 1, 2, 3, 4, 5, 6, 7).reshape(8, 1), i32(0, 1, 2, 3, 4, 5, 6, 7, 8), i32(256, 256, 256, 256, 256, 256, 256, 256), 0.144f);
      case RMS_NORM_FORWARD -> new RmsNorm.Forward(f32(T, C), f32(T), f32(T, C), f32(C), 1e-5f);
      case RMS_NORM_BACKWARD -> new RmsNorm.Backward(Sink.write(f32(T, C)), Sink.write(f32(C)), f32(T, C), f32(T, C), f32(C), f32(T));
      case ROPE -> {
        var x = heads();
        yield new Rope.Rotate(Sink.write(x), x, ids(T, 256), f32(256, C / H), Rope.Pairing.HALVES, false);
      }
      case SWIGLU_FORWARD -> new SwiGlu.Forward(f32(T, F), f32(T, F), f32(T, F));
      case SWIGLU_BACKWARD -> new SwiGlu.Backward(Sink.write(f32(T, F)), Sink.write(f32(T, F)), f32(T, F), f32(T, F), f32(T, F));
      case ADD -> new Binary.Forward(f32(T, C), f32(T, C), f32(T, C), Binary.Function.ADD);
      case EMBEDDING_FORWARD -> new Embedding.Forward(f32(T, C), ids(T, V), f32(V, C));
      case EMBEDDING_BACKWARD -> new Embedding.Backward(Sink.write(f32(V, C)), f32(T, C), ids(T, V));
      case CROSS_ENTROPY_FUSED -> {
        var z = f32(512, V);
        yield new CrossEntropy.Fused(f32(512), z, z, ids(512, V), 1e-3f);
      }
      case SOFTMAX -> new Softmax.Forward(f32(T, C), f32(T, C), false);
      case DROPOUT -> new Dropout.Mask(Sink.write(f32(T, C)), f32(T, C), 0.1f, 42);
      case GELU -> new Unary.Forward(f32(T, C), f32(T, C), Unary.Function.GELU);
      case REDUCE_SUM -> new Reduce.Forward(f32(T, 1), f32(T, C), 1, Reduce.Function.SUM);
      case COPY -> new Move.Copy(Sink.write(f32(T, C)), f32(T, C));
      case ADAMW -> {
        var w = f32(V, C);
        yield new AdamW.Step(w, w, f32(V, C), f32(V, C).set(new float[V * C]), f32(V, C), f32(1), 1e-6f, 0.9f, 0.999f, 1e-8f, 0, 1);
      }
      case GRADIENT_NORM -> new GradientNorm.SumOfSquares(f32(1), 0, f32(V, C));
    };
  }

  private static Kernel product(Tensor y, Tensor a, Tensor b, boolean ta, boolean tb) {
    return new MatMul.Product(Sink.write(y), a, b, ta, tb, 1);
  }

  private Tensor heads() {
    return f32(T, H, C / H);
  }

  private Tensor f32(int... dims) {
    var t = region.carve(DType.F32, Shape.of(dims));
    var values = new float[Math.toIntExact(t.elements())];
    for (int i = 0; i < values.length; i++) values[i] = Dropout.uniform(7, i) - 0.5f;
    return t.set(values);
  }

  private Tensor i32(int... values) {
    return region.carve(DType.I32, Shape.of(values.length)).set(values);
  }

  private Tensor ids(int n, int below) {
    var values = new int[n];
    for (int i = 0; i < n; i++) values[i] = (int) (Dropout.uniform(3, i) * below);
    return i32(values);
  }

  private Tensor starts() {
    return i32(0, 256, 512, 768, 1024, 1280, 1536, 1792, 2048);
  }
}
