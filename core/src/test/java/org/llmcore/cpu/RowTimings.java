package org.llmcore.cpu;

import java.util.LinkedHashMap;
import java.util.Map;

import org.llmcore.op.AdamW;
import org.llmcore.op.Attention;
import org.llmcore.op.Binary;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Dropout;
import org.llmcore.op.Embedding;
import org.llmcore.op.GradientNorm;
import org.llmcore.op.Kernel;
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

/// A first look at the speed of the row kernels, at the 15M shape: 8 sequences of 256 tokens, C 288, ff 768, 6 heads of 48,
/// vocabulary 32,000. Prints the best of a few runs: microseconds, ns per element, and GB/s or GFLOP/s. Not a benchmark.
final class RowTimings {
  private static final int TOKENS = 2048;
  private static final int C = 288;
  private static final int V = 32000;

  private final Region region = Region.growing("timings");
  private final Map<String, Kernel> kernels = new LinkedHashMap<>();
  private final Map<String, double[]> costs = new LinkedHashMap<>();
  private int seed = 1;

  private Tensor random(DType dtype, int... dims) {
    var t = region.carve(dtype, Shape.of(dims));
    var values = new float[(int) t.elements()];
    for (int i = 0; i < values.length; i++) values[i] = 2 * Dropout.uniform(seed, i) - 1;
    seed++;
    return t.set(values);
  }

  private Tensor integers(int bound, int... dims) {
    var t = region.carve(DType.I32, Shape.of(dims));
    var values = new int[(int) t.elements()];
    for (int i = 0; i < values.length; i++) values[i] = (int) Long.remainderUnsigned(Dropout.bits(seed, i), bound);
    seed++;
    return t.set(values);
  }

  private void add(String name, Kernel kernel, double elements, double bytes, double flops) {
    kernels.put(name, kernel);
    costs.put(name, new double[] {elements, bytes, flops});
  }

  private RowTimings(DType dtype) {
    double n = TOKENS * C;
    double b = dtype.bytes();
    var x = random(dtype, TOKENS, C);
    var y = random(dtype, TOKENS, C);
    var dy = random(dtype, TOKENS, C);
    var w = random(dtype, C);
    var gradW = random(DType.F32, C);
    var rstd = random(DType.F32, TOKENS);
    var ids = integers(V, TOKENS);
    var table = random(dtype, V, C);
    var grad = random(DType.F32, V, C);
    add("Embedding.Forward", new Embedding.Forward(y, ids, table), n, 2 * n * b, 0);
    add("Embedding.Backward write", new Embedding.Backward(Sink.write(grad), dy, ids), n, (double) V * C * 4, 0);
    add("Embedding.Backward add", new Embedding.Backward(Sink.add(grad), dy, ids), n, n * 12, 0);
    add("RmsNorm.Forward", new RmsNorm.Forward(y, rstd, x, w, 1e-5f), n, 2 * n * b, 0);
    add("RmsNorm.Backward", new RmsNorm.Backward(Sink.write(y), Sink.write(gradW), dy, x, w, rstd), n, 5 * n * b, 0);
    var heads = x.reshape(TOKENS, 6, 48);
    var angles = region.carve(DType.F32, Shape.of(256, 48));
    Rope.table(angles, 10000, 1);
    var positions = integers(256, TOKENS);
    for (var pairing : Rope.Pairing.values()) {
      add("Rope " + pairing, new Rope.Rotate(Sink.write(heads), heads, positions, angles, pairing, false), n, 2 * n * b, 0);
    }
    double m = TOKENS * 768;
    var g = random(dtype, TOKENS, 768);
    var u = random(dtype, TOKENS, 768);
    var dh = random(dtype, TOKENS, 768);
    var h = random(dtype, TOKENS, 768);
    var du = random(dtype, TOKENS, 768);
    add("SwiGlu.Forward", new SwiGlu.Forward(h, g, u), m, 3 * m * b, 0);
    add("SwiGlu.Backward", new SwiGlu.Backward(Sink.write(h), Sink.write(du), dh, g, u), m, 5 * m * b, 0);
    add("Dropout", new Dropout.Mask(Sink.write(y), x, 0.1f, 7, 0), n, 2 * n * b, 0);
    add("Dropout add", new Dropout.Mask(Sink.add(y), x, 0.1f, 7, 0), n, 3 * n * b, 0);
    var starts = region.carve(DType.I32, Shape.of(9)).set(0, 256, 512, 768, 1024, 1280, 1536, 1792, 2048);
    var q = random(dtype, TOKENS, 6, 48);
    var k = random(dtype, TOKENS, 6, 48);
    var v = random(dtype, TOKENS, 6, 48);
    var o = random(dtype, TOKENS, 6, 48);
    var lse = random(DType.F32, TOKENS, 6);
    var one = region.carve(DType.I32, Shape.of(2)).set(0, 2048);
    double pairs = 8 * 256.0 * 257 / 2 * 6;
    double long1 = 2048.0 * 2049 / 2 * 6;
    add("Attention.Forward 8×256", new Attention.Forward(o, lse, q, k, v, starts, 0.144f, true), pairs, 4 * n * b,
        pairs * 4 * 48);
    add(
        "Attention.Backward 8×256",
        new Attention.Backward(Sink.write(x.reshape(TOKENS, 6, 48)), Sink.write(y.reshape(TOKENS, 6, 48)),
            Sink.write(dy.reshape(TOKENS, 6, 48)), v, o, lse, q, k, v, starts, 0.144f, true),
        pairs, 8 * n * b, pairs * 10 * 48);
    add("Attention.Forward 1×2048", new Attention.Forward(o, lse, q, k, v, one, 0.144f, true), long1, 4 * n * b, long1 * 4 * 48);
    var keys = random(dtype, 64, 16, 6, 48);
    var values = random(dtype, 64, 16, 6, 48);
    var blocks = integers(64, 1, 64);
    var single = random(dtype, 1, 6, 48);
    add(
        "Attention.Decode 1 of 1024",
        new Attention.Decode(random(dtype, 1, 6, 48), single, keys, values, blocks,
            region.carve(DType.I32, Shape.of(2)).set(0, 1), region.carve(DType.I32, Shape.of(1)).set(1024), 0.144f),
        1024 * 6, 2 * 1024 * C * b, 1024 * 6 * 4 * 48.0);
    int t = 256;
    double z = (double) t * V;
    var logits = random(dtype, t, V);
    var targets = integers(V, t);
    var loss = random(DType.F32, t);
    var lse1 = random(DType.F32, t);
    add("CrossEntropy.Forward", new CrossEntropy.Forward(loss, lse1, logits, targets), z, z * b, 0);
    add("CrossEntropy.Backward", new CrossEntropy.Backward(Sink.write(random(dtype, t, V)), loss, logits, lse1, targets), z,
        2 * z * b, 0);
    add("CrossEntropy.Fused", new CrossEntropy.Fused(loss, logits, logits, targets, 1), z, 2 * z * b, 0);
    add("Softmax.Forward", new Softmax.Forward(y, x, false), n, 2 * n * b, 0);
    add("Softmax.Backward", new Softmax.Backward(Sink.write(y), dy, x, false), n, 3 * n * b, 0);
    for (var f : Unary.Function.values()) add("Unary " + f, new Unary.Forward(y, x, f), n, 2 * n * b, 0);
    add("Binary ADD", new Binary.Forward(y, x, dy, Binary.Function.ADD), n, 3 * n * b, 0);
    add("Binary ADD row", new Binary.Forward(y, x, w, Binary.Function.ADD), n, 2 * n * b, 0);
    add("Binary MUL row backward", new Binary.Backward(Sink.write(y), Sink.write(gradW), dy, x, w, Binary.Function.MUL), n,
        3 * n * b, 0);
    add("Reduce SUM last", new Reduce.Forward(random(dtype, TOKENS, 1), x, 1, Reduce.Function.SUM), n, n * b, 0);
    add("Reduce SUM first", new Reduce.Forward(random(dtype, 1, C), x, 0, Reduce.Function.SUM), n, n * b, 0);
    add("Move.Fill", new Move.Fill(y, 1), n, n * b, 0);
    add("Move.Copy add", new Move.Copy(Sink.add(y), x), n, 3 * n * b, 0);
    add("Move.Permute", new Move.Permute(Sink.write(y.reshape(C, TOKENS)), x, 1, 0), n, 2 * n * b, 0);
    add("Move.Take", new Move.Take(Sink.write(random(dtype, TOKENS, 48)), x, 1, 96), n / 6, n / 3 * b, 0);
    double p = (double) V * C;
    var master = dtype == DType.F32 ? table : random(DType.F32, V, C);
    var m1 = random(DType.F32, V, C);
    var v1 = region.carve(DType.F32, Shape.of(V, C));
    var clip = region.carve(DType.F32, Shape.of(1)).set(1f);
    add("AdamW", new AdamW.Step(table, master, m1, v1, grad, clip, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.1f, 3), p, p * 28, 0);
    add("GradientNorm", new GradientNorm.SumOfSquares(loss, 0, grad), p, p * 4, 0);
  }

  public static void main(String[] args) {
    int workers = args.length > 0 ? Integer.parseInt(args[0]) : 1;
    var dtype = args.length > 1 ? DType.valueOf(args[1]) : DType.F32;
    String only = args.length > 2 ? args[2] : "";
    var timings = new RowTimings(dtype);
    var device = new CpuDevice(true, workers);
    System.out.printf("%s, %d workers, %s%n", Lanes.F, workers, dtype);
    timings.kernels.forEach(
        (name, kernel) -> {
          if (!name.contains(only)) return;
          double best = Double.MAX_VALUE;
          long end = System.nanoTime() + (Long.getLong("ms", 600) * 1_000_000);
          for (int i = 0; i < 5 || System.nanoTime() < end; i++) {
            long t = System.nanoTime();
            device.run(kernel);
            best = Math.min(best, System.nanoTime() - t);
          }
          double[] c = timings.costs.get(name);
          System.out.printf("%-28s %9.0f µs %7.2f ns/element %7.1f GB/s", name, best / 1e3, best / c[0], c[1] / best);
          System.out.println(c[2] > 0 ? "%7.1f GFLOP/s".formatted(c[2] / best) : "");
        });
  }
}
