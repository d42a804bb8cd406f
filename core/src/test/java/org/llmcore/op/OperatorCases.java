package org.llmcore.op;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.QuantMatrices;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.llmcore.tensor.DType.BF16;
import static org.llmcore.tensor.DType.F16;
import static org.llmcore.tensor.DType.F32;

/// Every operator at sizes that lie in the cracks of vectors and blocks.
final class OperatorCases {
  private static final int[] COLUMNS = {1, 3, 17, 63, 64, 65, 123, 128, 207};

  private final List<OperatorCase> all = new ArrayList<>();

  private OperatorCases() {}

  static List<OperatorCase> all() {
    var c = new OperatorCases();
    c.matMul();
    c.quantMatMul();
    c.rows();
    c.attention();
    c.algebra();
    c.moves();
    c.training();
    return c.all;
  }

  private void add(String name, Class<? extends Kernel> kernel, DType coarsest, long terms, long elements, OperatorCase.Body body) {
    all.add(new OperatorCase(name, kernel, coarsest, terms, elements <= 400 && coarsest == F32, body));
  }

  private static List<Tensor> one(Tensor y) {
    return List.of(y);
  }

  private void matMul() {
    int[][] sizes = {{1, 1, 1}, {1, 17, 3}, {5, 3, 17}, {3, 65, 63}, {9, 64, 128}, {65, 207, 123}, {1, 300, 257}, {130, 140, 300}};
    for (var s : sizes) {
      for (var dtype : List.of(F32, BF16)) {
        long n = (long) s[0] * s[2] + (long) s[1] * s[2];
        add("matmul a·bᵀ " + dtype + Arrays.toString(s), MatMul.class, dtype, Math.max(s[0], s[2]), n, (p, in) -> one(MatMul.apply(p, in.leaf(dtype, s[0], s[2]), in.leaf(dtype, s[1], s[2]), true)));
        add("matmul a·b " + dtype + Arrays.toString(s), MatMul.class, dtype, Math.max(s[0], s[2]), n, (p, in) -> one(MatMul.apply(p, in.leaf(dtype, s[0], s[2]), in.leaf(dtype, s[2], s[1]))));
      }
      add("matmul aᵀ·bᵀ scaled " + Arrays.toString(s), MatMul.class, F32, s[2], 1000, (p, in) -> {
        var y = in.empty(F32, s[0], s[1]);
        p.run(new MatMul.Product(Sink.add(y), in.leaf(F32, s[2], s[0]), in.leaf(F32, s[1], s[2]), true, true, 0.7f));
        return one(y);
      });
      add("matmul aᵀ·b scaled " + Arrays.toString(s), MatMul.class, F32, s[2], 1000, (p, in) -> {
        var y = in.empty(F32, s[0], s[1]);
        p.run(new MatMul.Product(Sink.add(y), in.leaf(F32, s[2], s[0]), in.leaf(F32, s[2], s[1]), true, false, -1.3f));
        return one(y);
      });
    }
    for (int[] s : new int[][] {{3, 5, 7, 2}, {72, 136, 72, 8}, {70, 80, 100, 24}}) { // T, N, K, R
      for (var dtype : List.of(F32, BF16)) {
        add("low rank " + dtype + Arrays.toString(s), MatMul.class, dtype, Math.max(s[0], s[1] + s[3]), s[0] * s[1], (p, in) -> one(MatMul.lowRank(p,
            in.leaf(dtype, s[0], s[2]), in.leaf(dtype, s[1], s[2]), in.leaf(F32, s[3], s[2]), in.leaf(F32, s[3], s[1]), 0.7f)));
      }
    }
    add("matmul batched a·b", MatMul.class, F32, 7, 200, (p, in) -> one(MatMul.apply(p, in.leaf(F32, 2, 3, 5, 7), in.leaf(F32, 2, 3, 7, 4))));
    add("matmul batched a·bᵀ", MatMul.class, F32, 7, 200, (p, in) -> one(MatMul.apply(p, in.leaf(F32, 3, 5, 7), in.leaf(F32, 3, 4, 7), true)));
    add("matmul (B,T,K)·(N,K)ᵀ", MatMul.class, F32, 15, 200, (p, in) -> one(MatMul.apply(p, in.leaf(F32, 3, 5, 7), in.leaf(F32, 4, 7), true)));
  }

  private void quantMatMul() {
    for (var form : QuantMatrices.forms()) {
      add("quantized x·Wᵀ, " + form, QuantMatMul.class, F32, 512, 200, (p, in) -> one(QuantMatMul.apply(p, in.leaf(F32, 3, form.fit(39)), form.make(in.region(), 5, form.fit(39), 1))));
      add("quantized (B,T,K), bf16, " + form, QuantMatMul.class, BF16, 512, 1000, (p, in) -> one(QuantMatMul.apply(p, in.leaf(BF16, 2, 35, form.fit(65)), form.make(in.region(), 67, form.fit(65), 2))));
      for (var dtype : List.of(F32, BF16)) {
        add("quantized low rank " + dtype + ", " + form, QuantMatMul.LowRank.class, dtype, 512, 1000, (p, in) -> one(QuantMatMul.lowRank(
            p, in.leaf(dtype, 35, form.fit(65)), form.make(in.region(), 67, form.fit(65), 2), in.leaf(F32, 8, form.fit(65)), in.leaf(F32, 8, 67), 0.7f)));
      }
      add("quantized, x in eight bits, " + form, QuantMatMul.Int8Product.class, F32, 1024, 1000, (p, in) -> {
        var y = in.empty(F32, 4, 9);
        p.run(new QuantMatMul.Int8Product(Sink.add(y), in.leaf(F32, 4, form.fit(96)), form.make(in.region(), 9, form.fit(96), 4)));
        return one(y);
      });
      add("dequantize, " + form, QuantMatMul.class, F32, 1, 1000, (p, in) -> {
        var y = in.empty(F32, 3, form.fit(50));
        p.run(new QuantMatMul.Dequantize(y, form.make(in.region(), 3, form.fit(50), 3)));
        return one(y);
      });
    }
  }

  private void rows() {
    for (int c : COLUMNS) {
      for (int r : new int[] {1, 5}) {
        for (var dtype : List.of(F32, BF16)) {
          var size = dtype + "(" + r + ", " + c + ")";
          add("rms norm " + size, RmsNorm.class, dtype, Math.max(r, c), r * c, (p, in) -> one(RmsNorm.apply(p, in.leaf(dtype, r, c), in.between(0.5, 1.5, dtype, c), 0.1f)));
          add("rms norm of a residual " + size, RmsNorm.class, dtype, Math.max(r, c), r * c, (p, in) -> {
            var residual = RmsNorm.added(p, in.leaf(dtype, r, c), in.leaf(dtype, r, c), in.between(0.5, 1.5, dtype, c), 0.1f);
            return List.of(residual.norm(), residual.sum());
          });
          add("swiglu " + size, SwiGlu.class, dtype, 1, r * c, (p, in) -> one(SwiGlu.apply(p, in.between(-6, 6, dtype, r, c), in.leaf(dtype, r, c))));
          add("softmax " + size, Softmax.class, dtype, c, r * c, (p, in) -> one(Softmax.apply(p, in.between(-4, 4, dtype, r, c), false)));
          add("log softmax " + size, Softmax.class, dtype, c, r * c, (p, in) -> one(Softmax.apply(p, in.between(-4, 4, dtype, r, c), true)));
          add("dropout " + size, Dropout.class, dtype, 1, r * c, (p, in) -> one(Dropout.apply(p, in.leaf(dtype, r, c), 0.3f, 99, 0)));
          add("dropout from inside a pair " + size, Dropout.class, dtype, 1, r * c, (p, in) -> one(Dropout.apply(p, in.leaf(dtype, r, c), 0.3f, 99, 7)));
          add("embedding " + size, Embedding.class, dtype, 8, 7 * c, (p, in) -> one(Embedding.apply(p, in.ids(3 * r, 7), in.leaf(dtype, 7, c), dtype)));
        }
        add("cross entropy (" + r + ", " + c + ")", CrossEntropy.class, F32, c, r * c, (p, in) -> one(CrossEntropy.apply(p, in.between(-4, 4, F32, r, c), targets(in, r, c))));
        for (var dtype : List.of(F32, BF16)) {
          add("fused cross entropy, gradient " + dtype + " (" + r + ", " + c + ")", CrossEntropy.class, dtype, c, 1000, (p, in) -> {
            var z = in.constant(-4, 4, F32, r, c);
            var dz = dtype == F32 ? z : in.empty(dtype, r, c);
            var loss = in.empty(F32, r);
            p.run(new CrossEntropy.Fused(loss, dz, z, targets(in, r, c), 0.37f));
            return List.of(loss, dz, z);
          });
        }
      }
    }
    for (int c : new int[] {1, 3, 17, 64, 65, 207, 2055, 9001}) {
      for (int k : new int[] {1, 7, TopK.MOST}) {
        if (k > c) continue;
        for (var dtype : List.of(F32, BF16, F16)) {
          add("top " + k + " of " + dtype + "(3, " + c + ")", TopK.class, F32, c, 10_000, (p, in) -> {
            var top = TopK.apply(p, in.constant(-4, 4, dtype, 3, c), in.constant(0.5, 2, F32, 3), c, k);
            return List.of(top.values(), top.ids(), top.total());
          });
        }
      }
    }
    for (int n : new int[] {9, 120, 123, 127}) {
      add("top 9 of the first " + n + " of 128", TopK.class, F32, n, 10_000, (p, in) -> {
        var top = TopK.apply(p, in.constant(-4, 4, F32, 3, 128), in.constant(0.5, 2, F32, 3), n, 9);
        return List.of(top.values(), top.ids(), top.total());
      });
    }
    for (int c : new int[] {1032, 2055, 2064}) {
      add("rms norm wide " + c, RmsNorm.class, BF16, c, 3000, (p, in) -> one(RmsNorm.apply(p, in.leaf(BF16, 2, c), in.between(0.5, 1.5, BF16, c), 0.1f)));
      add("cross entropy wide " + c, CrossEntropy.class, BF16, c, 3000, (p, in) -> one(CrossEntropy.apply(p, in.between(-4, 4, BF16, 2, c), targets(in, 2, c))));
      add("embedding wide " + c, Embedding.class, F32, 8, 3000, (p, in) -> one(Embedding.apply(p, in.ids(7, 3), in.leaf(F32, 3, c), F32)));
    }
    for (int r : new int[] {127, 128, 129, 300}) {
      add("rms norm of " + r + " rows", RmsNorm.class, F32, r, 3000, (p, in) -> one(RmsNorm.apply(p, in.leaf(F32, r, 40), in.between(0.5, 1.5, F32, 40), 0.1f)));
      add("embedding of " + r + " tokens", Embedding.class, F32, r, 3000, (p, in) -> one(Embedding.apply(p, in.ids(r, 5), in.leaf(F32, 7, 24), F32)));
    }
    add("rms norm f16", RmsNorm.class, F16, 64, 3000, (p, in) -> one(RmsNorm.apply(p, in.leaf(F16, 3, 64), in.between(0.5, 1.5, F16, 64), 0.1f)));
    add("swiglu f16", SwiGlu.class, F16, 1, 3000, (p, in) -> one(SwiGlu.apply(p, in.between(-6, 6, F16, 3, 64), in.leaf(F16, 3, 64))));
    add("cross entropy, all ignored", CrossEntropy.class, F32, 9, 27, (p, in) -> one(CrossEntropy.apply(p, in.leaf(F32, 3, 9), in.ints(-100, -100, -100))));
    for (var pairing : Rope.Pairing.values()) {
      for (int d : new int[] {2, 6, 8, 34, 64, 128}) {
        add("rope " + pairing + " " + d, Rope.class, F32, 2, 3 * 2 * d, (p, in) -> {
          var table = in.empty(F32, 9, d);
          Rope.table(table, 10000, 1);
          var x = Binary.apply(p, in.leaf(F32, 3, 2, d), in.constant(1, 1, F32, 1), Binary.Function.MUL);
          return one(Rope.apply(p, x, in.ints(8, 0, 3), table, pairing));
        });
      }
    }
  }

  /// Targets with an ignored row among them.
  private static Tensor targets(Inputs in, int rows, int classes) {
    var t = in.ids(rows, classes).toInts();
    if (rows > 2) t[2] = CrossEntropy.IGNORE;
    return in.ints(t);
  }

  private void attention() {
    record Case(int heads, int groups, int width, int... starts) {}
    var cases =
        List.of(
            new Case(1, 1, 1, 0, 1), new Case(1, 1, 4, 0, 3), new Case(2, 2, 8, 0, 5), new Case(4, 1, 8, 0, 1, 4, 9), new Case(4, 4, 16, 0, 7, 8),
            new Case(4, 2, 24, 0, 17), new Case(8, 2, 64, 0, 33), new Case(2, 1, 48, 0, 64, 65, 70), new Case(1, 1, 128, 0, 40));
    for (var a : cases) {
      int t = a.starts[a.starts.length - 1];
      for (var dtype : List.of(F32, BF16)) {
        for (boolean causal : new boolean[] {true, false}) {
          add("attention " + dtype + (causal ? " causal" : " full") + " H" + a.heads + " G" + a.groups + " D" + a.width + Arrays.toString(a.starts), Attention.class, dtype, Math.max(t, a.width),
              (long) t * a.heads * a.width, (p, in) -> one(Attention.apply(p, in.leaf(dtype, t, a.heads, a.width), in.leaf(dtype, t, a.groups, a.width), in.leaf(dtype, t, a.groups, a.width), in.ints(a.starts), 0.4f, causal)));
        }
      }
    }
    tiles();
    decode();
    add("attention store", Attention.class, F32, 1, 1000, (p, in) -> {
      var pages = in.empty(F32, 3, 4, 2, 8);
      p.run(new Attention.Store(pages, in.leaf(F32, 3, 2, 8), in.ints(5, 0, 11)));
      return one(pages);
    });
  }

  /// Sizes round the tiles of tensor-core kernels (16, 32, 64, 128 rows), sequences that begin inside one, groups of 1, 2 and 4 heads.
  private void tiles() {
    record Case(DType dtype, int heads, int groups, int width, int... starts) {}
    var singles = java.util.stream.IntStream.rangeClosed(0, 40).toArray();
    var cases =
        List.of(
            new Case(BF16, 1, 1, 64, 0, 1), new Case(F16, 4, 1, 8, 0, 31), new Case(BF16, 4, 1, 64, 0, 63), new Case(F16, 1, 1, 64, 0, 64), new Case(BF16, 4, 4, 32, 0, 65),
            new Case(F16, 2, 1, 128, 0, 33), new Case(BF16, 1, 1, 128, 0, 127), new Case(BF16, 1, 1, 72, 0, 128), new Case(BF16, 4, 1, 128, 0, 129),
            new Case(BF16, 2, 1, 80, 0, 1, 66, 66, 130, 197), new Case(BF16, 2, 1, 128, 0, 3, 67, 195), new Case(BF16, 4, 2, 64, 0, 257, 258), new Case(BF16, 1, 1, 64, 0, 520),
            new Case(F16, 2, 2, 16, singles));
    for (var a : cases) {
      int t = a.starts[a.starts.length - 1];
      for (boolean causal : t > 128 ? new boolean[] {true} : new boolean[] {true, false}) {
        add("attention tiles " + a.dtype + (causal ? " causal" : " full") + " H" + a.heads + " G" + a.groups + " D" + a.width + Arrays.toString(a.starts), Attention.class, a.dtype, Math.max(t, a.width), 1000,
            (p, in) -> one(Attention.apply(p, in.leaf(a.dtype, t, a.heads, a.width), in.leaf(a.dtype, t, a.groups, a.width), in.leaf(a.dtype, t, a.groups, a.width), in.ints(a.starts), 0.4f, causal)));
      }
    }
  }

  /// Sequence i brings the last `rows[i]` of its `lengths[i]` keys as queries; its pages are anywhere.
  private void decode() {
    record Case(DType dtype, int heads, int groups, int width, int page, int[] rows, int[] lengths) {}
    var cases =
        List.of(
            new Case(F32, 4, 2, 16, 4, new int[] {3, 1}, new int[] {7, 5}), new Case(BF16, 4, 2, 16, 4, new int[] {3, 1}, new int[] {7, 5}),
            new Case(BF16, 1, 1, 64, 16, new int[] {1, 1, 1}, new int[] {1, 64, 65}), new Case(F16, 8, 2, 128, 16, new int[] {1, 1}, new int[] {63, 257}),
            new Case(BF16, 4, 1, 128, 7, new int[] {1, 5}, new int[] {256, 300}), new Case(F16, 6, 2, 24, 5, new int[] {17, 1}, new int[] {17, 255}),
            new Case(BF16, 2, 1, 80, 64, new int[] {40, 30}, new int[] {300, 30}), new Case(BF16, 3, 1, 4, 3, new int[] {2}, new int[] {9}));
    for (var a : cases) {
      int sequences = a.rows.length;
      int most = Arrays.stream(a.lengths).max().orElseThrow();
      int each = (most + a.page - 1) / a.page;
      var starts = new int[sequences + 1];
      for (int s = 0; s < sequences; s++) starts[s + 1] = starts[s] + a.rows[s];
      var blocks = new int[sequences * each];
      for (int i = 0; i < blocks.length; i++) blocks[i] = blocks.length - 1 - i;
      add("attention decode " + a.dtype + " H" + a.heads + " G" + a.groups + " D" + a.width + Arrays.toString(a.rows) + " of " + Arrays.toString(a.lengths), Attention.class, a.dtype, Math.max(most, a.width), 1000, (p, in) -> {
        var o = in.empty(a.dtype, starts[sequences], a.heads, a.width);
        var keys = in.leaf(a.dtype, blocks.length, a.page, a.groups, a.width);
        p.run(new Attention.Decode(o, in.leaf(a.dtype, starts[sequences], a.heads, a.width), keys, in.leaf(a.dtype, blocks.length, a.page, a.groups, a.width), in.ints(blocks).reshape(sequences, each), in.ints(starts), in.ints(a.lengths), 0.3f));
        return one(o);
      });
    }
  }

  private void algebra() {
    for (var f : Unary.Function.values()) {
      boolean positive = f == Unary.Function.LOG || f == Unary.Function.SQRT || f == Unary.Function.RSQRT;
      for (int n : new int[] {1, 17, 64, 207}) {
        add("unary " + f + " " + n, Unary.class, F32, 1, n, (p, in) -> one(Unary.apply(p, in.between(positive ? 0.3 : -3, 3, F32, 1, n), f)));
      }
      add("unary " + f + " bf16", Unary.class, BF16, 1, 1000, (p, in) -> one(Unary.apply(p, in.between(positive ? 0.3 : -3, 3, BF16, 5, 65), f)));
    }
    int[][][] shapes = {{{5, 7}, {5, 7}}, {{5, 65}, {65}}, {{3, 1, 4}, {2, 1}}, {{1}, {4, 3}}, {{2, 3, 17}, {3, 1}}, {{207}, {207}}};
    for (var f : Binary.Function.values()) {
      for (var s : shapes) {
        add("binary " + f + " " + Shape.of(s[0]) + Shape.of(s[1]), Binary.class, F32, 64, 300, (p, in) -> one(Binary.apply(p, in.leaf(F32, s[0]), in.between(0.5, 2, F32, s[1]), f)));
      }
      add("binary " + f + " f16", Binary.class, F16, 8, 1000, (p, in) -> one(Binary.apply(p, in.leaf(F16, 5, 33), in.between(0.5, 2, F16, 5, 33), f)));
    }
    for (var f : Reduce.Function.values()) {
      for (int axis = 0; axis < 3; axis++) {
        int a = axis;
        add("reduce " + f + " axis " + a, Reduce.class, F32, 65, 3 * 4 * 17, (p, in) -> one(Reduce.apply(p, in.leaf(F32, 3, 4, 17), a, f)));
        add("reduce " + f + " wide, axis " + a, Reduce.class, F32, 207, 1000, (p, in) -> one(Reduce.apply(p, in.leaf(F32, 5, 3, 207), a, f)));
      }
    }
  }

  private void moves() {
    add("cast f32 to bf16", Move.class, BF16, 1, 1000, (p, in) -> one(Move.cast(p, in.leaf(F32, 5, 65), BF16)));
    add("cast bf16 to f32", Move.class, BF16, 1, 1000, (p, in) -> one(Move.cast(p, in.leaf(BF16, 5, 65), F32)));
    add("permute", Move.class, F32, 1, 120, (p, in) -> one(Move.permute(p, in.leaf(F32, 2, 3, 4, 5), 2, 0, 3, 1)));
    add("transpose", Move.class, F32, 1, 85, (p, in) -> one(Move.permute(p, in.leaf(F32, 17, 5), 1, 0)));
    for (int axis = 0; axis < 3; axis++) {
      int a = axis;
      add("take axis " + a, Move.class, F32, 1, 140, (p, in) -> one(Move.take(p, in.leaf(F32, 4, 5, 7), a, 1, 3)));
      add("concat axis " + a, Move.class, F32, 1, 140, (p, in) -> {
        int[] other = {2, 3, 5};
        other[a] = 4;
        return one(Move.concat(p, a, in.leaf(F32, 2, 3, 5), in.leaf(F32, other)));
      });
    }
    add("fill", Move.class, F32, 1, 1000, (p, in) -> {
      var y = in.empty(F32, 5, 13);
      p.run(new Move.Fill(y, 2.5f));
      return one(y);
    });
  }

  private void training() {
    for (int n : new int[] {1, 17, 65, 207}) {
      add("adamw f32 " + n, AdamW.class, F32, 4, 1000, (p, in) -> {
        var w = in.constant(-1, 1, F32, n);
        var m = in.constant(-0.1, 0.1, F32, n);
        var v = in.constant(0, 0.1, F32, n);
        p.run(new AdamW.Step(w, w, m, v, in.leaf(F32, n), in.constant(0.5, 0.5, F32, 1), 1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, 3));
        return List.of(w, m, v);
      });
      add("adamw bf16 " + n, AdamW.class, BF16, 4, 1000, (p, in) -> {
        var w = in.empty(BF16, n);
        var master = in.constant(-1, 1, F32, n);
        var m = in.constant(-0.1, 0.1, F32, n);
        var v = in.constant(0, 0.1, F32, n);
        p.run(new AdamW.Step(w, master, m, v, in.leaf(F32, n), in.constant(1, 1, F32, 1), 1e-2f, 0.9f, 0.95f, 1e-8f, 0, 1));
        return List.of(w, master, m, v);
      });
    }
    for (int n : new int[] {1, 17, 4096, 9001, 70_001}) {
      add("gradient norm " + n, GradientNorm.class, F32, 64, 10_000, (p, in) -> {
        var sums = in.constant(0, 0, F32, 2);
        p.run(new GradientNorm.SumOfSquares(sums, 1, in.leaf(F32, n)));
        var norm = in.empty(F32, 1);
        var factor = in.empty(F32, 1);
        p.run(new GradientNorm.Clip(norm, factor, sums, 2, 0.5f));
        return List.of(sums, norm, factor);
      });
    }
  }
}
