package org.llmcore.bench;

import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

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
import org.llmcore.op.TopK;
import org.llmcore.op.Unary;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Every kernel once, at the shapes and in the dtypes that a training step gives it (`Shapes`; LoRA of rank 8): activations and weights
/// in `x`, gradients of weights, adapters, masters and moments in f32. `Main` adds GFLOP/s or GB/s and the share of what this machine
/// could do (`Limit`).
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public class OperatorBenchmark {
  private static final int CHUNK = 512; // tokens whose logits exist at once
  private static final int RANK = 8;
  private static final int SEQUENCES = 8; // that decode, with a page of cache each
  private static final int PAGE = 256;

  /// One case per kernel.
  public enum Case {
    MATMUL_FORWARD,
    MATMUL_DX,
    MATMUL_DW,
    MATMUL_VOCABULARY,
    LORA_FORWARD,
    LORA_DX,
    LORA_U,
    LORA_DU,
    LORA_DA,
    LORA_DB,
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
    TOP_K,
    DROPOUT,
    GELU,
    REDUCE_SUM,
    COPY,
    ADAMW,
    GRADIENT_NORM
  }

  @Param public Case kernel;

  @Param("110M")
  public String shape;

  @Param({"F32", "BF16"})
  public DType x;

  private CpuDevice device;
  private Region region;
  private Kernel call;
  private int length; // of a sequence
  private int tokens;
  private int hidden;
  private int ff;
  private int heads;
  private int kvHeads;
  private int headDim;
  private int vocabulary;

  @Setup
  public void setup() {
    var s = Shapes.of(shape);
    var c = s.config();
    length = s.length();
    tokens = s.batch() * length;
    hidden = c.hidden();
    ff = c.intermediate();
    heads = c.heads();
    kvHeads = c.kvHeads();
    headDim = c.headDim();
    vocabulary = c.vocabulary();
    device = CpuDevice.open();
    region = Region.growing("benchmark");
    call = kernel();
  }

  @TearDown
  public void tearDown() {
    device.close();
    region.close();
  }

  @Benchmark
  public void run(Limit limit) {
    limit.run(device, call);
  }

  /// What is measured.
  Kernel call() {
    return call;
  }

  private Kernel kernel() {
    return switch (kernel) {
      case MATMUL_FORWARD -> product(in(tokens, ff), in(tokens, hidden), in(ff, hidden), false, true);
      case MATMUL_DX -> product(in(tokens, hidden), in(tokens, ff), in(ff, hidden), false, false);
      case MATMUL_DW -> product(f32(ff, hidden), in(tokens, ff), in(tokens, hidden), true, false);
      case MATMUL_VOCABULARY -> product(f32(CHUNK, vocabulary), in(CHUNK, hidden), in(vocabulary, hidden), false, true);
      case LORA_FORWARD -> new MatMul.LowRank(Sink.write(in(tokens, ff)), in(tokens, hidden), in(ff, hidden), true, in(tokens, RANK), f32(RANK, ff), 2);
      case LORA_DX -> new MatMul.LowRank(Sink.write(in(tokens, hidden)), in(tokens, ff), in(ff, hidden), false, in(tokens, RANK), f32(RANK, hidden), 1);
      case LORA_U -> product(in(tokens, RANK), in(tokens, hidden), f32(RANK, hidden), false, true);
      case LORA_DU -> product(in(tokens, RANK), in(tokens, ff), f32(RANK, ff), false, true);
      case LORA_DA -> product(f32(RANK, hidden), in(tokens, RANK), in(tokens, hidden), true, false);
      case LORA_DB -> product(f32(RANK, ff), in(tokens, RANK), in(tokens, ff), true, false);
      case ATTENTION_FORWARD -> attention(queries(), f32(tokens, heads), queries(), keys(), keys());
      case ATTENTION_BACKWARD -> {
        var forward = attention(queries(), f32(tokens, heads), queries(), keys(), keys());
        device.run(forward);
        yield new Attention.Backward(
            Sink.write(queries()), Sink.write(keys()), Sink.write(keys()), queries(), forward.o(), forward.lse(), forward.q(), forward.k(), forward.v(),
            forward.starts(), forward.scale(), true);
      }
      case ATTENTION_DECODE ->
          new Attention.Decode(
              in(SEQUENCES, heads, headDim), in(SEQUENCES, heads, headDim), in(SEQUENCES, PAGE, kvHeads, headDim), in(SEQUENCES, PAGE, kvHeads, headDim),
              i32(IntStream.range(0, SEQUENCES).toArray()).reshape(SEQUENCES, 1), i32(IntStream.rangeClosed(0, SEQUENCES).toArray()),
              i32(IntStream.generate(() -> PAGE).limit(SEQUENCES).toArray()), scale());
      case RMS_NORM_FORWARD -> new RmsNorm.Forward(in(tokens, hidden), f32(tokens), in(tokens, hidden), in(hidden), 1e-5f);
      case RMS_NORM_BACKWARD ->
          new RmsNorm.Backward(Sink.write(in(tokens, hidden)), Sink.write(f32(hidden)), in(tokens, hidden), in(tokens, hidden), in(hidden), f32(tokens));
      case ROPE -> {
        var q = queries();
        yield new Rope.Rotate(Sink.write(q), q, ids(tokens, length), f32(length, headDim), Rope.Pairing.HALVES, false);
      }
      case SWIGLU_FORWARD -> new SwiGlu.Forward(in(tokens, ff), in(tokens, ff), in(tokens, ff));
      case SWIGLU_BACKWARD -> new SwiGlu.Backward(Sink.write(in(tokens, ff)), Sink.write(in(tokens, ff)), in(tokens, ff), in(tokens, ff), in(tokens, ff));
      case ADD -> new Binary.Forward(in(tokens, hidden), in(tokens, hidden), in(tokens, hidden), Binary.Function.ADD);
      case EMBEDDING_FORWARD -> new Embedding.Forward(in(tokens, hidden), ids(tokens, vocabulary), in(vocabulary, hidden));
      case EMBEDDING_BACKWARD -> new Embedding.Backward(Sink.write(f32(vocabulary, hidden)), in(tokens, hidden), ids(tokens, vocabulary));
      case CROSS_ENTROPY_FUSED -> {
        var z = f32(CHUNK, vocabulary);
        yield new CrossEntropy.Fused(f32(CHUNK), x == DType.F32 ? z : in(CHUNK, vocabulary), z, ids(CHUNK, vocabulary), 1e-3f);
      }
      case SOFTMAX -> new Softmax.Forward(in(tokens, hidden), in(tokens, hidden), false);
      case TOP_K -> new TopK.Forward(f32(SEQUENCES, TopK.MOST), region.carve(DType.I32, Shape.of(SEQUENCES, TopK.MOST)), f32(SEQUENCES), in(SEQUENCES, vocabulary), ones(SEQUENCES), vocabulary);
      case DROPOUT -> new Dropout.Mask(Sink.write(in(tokens, hidden)), in(tokens, hidden), 0.1f, 42, 0);
      case GELU -> new Unary.Forward(in(tokens, hidden), in(tokens, hidden), Unary.Function.GELU);
      case REDUCE_SUM -> new Reduce.Forward(in(tokens, 1), in(tokens, hidden), 1, Reduce.Function.SUM);
      case COPY -> new Move.Copy(Sink.write(in(tokens, hidden)), in(tokens, hidden));
      case ADAMW -> {
        var master = f32(vocabulary, hidden);
        var v = f32(vocabulary, hidden).set(new float[vocabulary * hidden]);
        yield new AdamW.Step(
            x == DType.F32 ? master : in(vocabulary, hidden), master, f32(vocabulary, hidden), v, f32(vocabulary, hidden), f32(1), 1e-6f, 0.9f, 0.999f,
            1e-8f, 0, 1);
      }
      case GRADIENT_NORM -> new GradientNorm.SumOfSquares(f32(1), 0, f32(vocabulary, hidden));
    };
  }

  private static Kernel product(Tensor y, Tensor a, Tensor b, boolean ta, boolean tb) {
    return new MatMul.Product(Sink.write(y), a, b, ta, tb, 1);
  }

  private Attention.Forward attention(Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v) {
    var starts = i32(IntStream.rangeClosed(0, tokens / length).map(i -> i * length).toArray());
    return new Attention.Forward(o, lse, q, k, v, starts, scale(), true);
  }

  private float scale() {
    return (float) (1 / Math.sqrt(headDim));
  }

  private Tensor queries() {
    return in(tokens, heads, headDim);
  }

  private Tensor keys() {
    return in(tokens, kvHeads, headDim);
  }

  /// A tensor in the dtype of activations and weights.
  private Tensor in(int... dims) {
    return filled(x, dims);
  }

  private Tensor ones(int n) {
    var values = new float[n];
    Arrays.fill(values, 1);
    return region.carve(DType.F32, Shape.of(n)).set(values);
  }

  private Tensor f32(int... dims) {
    return filled(DType.F32, dims);
  }

  private Tensor filled(DType dtype, int... dims) {
    var t = region.carve(dtype, Shape.of(dims));
    var values = new float[Math.toIntExact(t.elements())];
    for (int i = 0; i < values.length; i++) values[i] = Dropout.uniform(7, i) - 0.5f;
    return t.set(values);
  }

  private Tensor i32(int... values) {
    return region.carve(DType.I32, Shape.of(values.length)).set(values);
  }

  private Tensor ids(int n, int below) {
    return i32(IntStream.range(0, n).map(i -> (int) (Dropout.uniform(3, i) * below)).toArray());
  }
}
