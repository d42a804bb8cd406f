package org.llmcore.op;

import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Matrix product with transposition as a flag.
///
///     y (+)= alpha · op(a) · op(b)              op(x) = x or xᵀ over the last two dimensions
///     y = a·b      da = dy·bᵀ      db = aᵀ·dy
///     y = a·bᵀ     da = dy·b       db = dyᵀ·a       (a linear layer: x (T,K), w (N,K))
///     y = aᵀ·b     da = b·dyᵀ      db = a·dy
///     y = aᵀ·bᵀ    da = bᵀ·dyᵀ     db = dyᵀ·aᵀ
///
/// | tensor | shape                     | dtype         | role           |
/// |--------|---------------------------|---------------|----------------|
/// | y      | (…,M,N)                   | f32 bf16 f16  | written, added |
/// | a      | (…,M,K), (…,K,M) if ta    | f32 bf16 f16  | read, saved    |
/// | b      | (…,K,N), (…,N,K) if tb    | f32 bf16 f16  | read, saved    |
///
/// Where y has two dimensions, a and b are matrices of `rows()` by `columns()`, so batch dimensions of a gradient sum;
/// where b has two, y and a are. Otherwise leading dimensions must be equal and each is a product of its own.
///
/// Order of the sum over k in f32, part of the meaning:
/// - `a·bᵀ`: rule 3 of `Kernel`, 16 partial sums and a tree, from 0; then `y = alpha·s` or `fma(alpha, s, y)`.
/// - otherwise: rule 2, one chain `acc = fma(alpha·a, b, acc)` in ascending k that starts from y when adding, else from 0.
///
/// Two tiers of the CPU device sum products of two bf16 matrices in the processor's order, still the same bits for every number of
/// threads, every neighbour in the batch and every run:
/// - `AVX512BF16`: rule 2 over pairs of terms, the odd one of a pair first, and rule 3 with four partial sums of pairs (`GemmTiles`); the
///   rules as they stand where k does not divide so (`a·bᵀ` by 8, `a·b` by 2). A chain of `aᵀ·b`, which ends in the gradient of a parameter,
///   may be cut at even k.
/// - `AMX`: by tiles (`AmxTiles`), in which `aᵀ·b` is a chain of steps of 32 terms that may be cut at multiples of 32; `aᵀ·b` of at most 16
///   rows keeps rule 2.
///
/// 2MNK flops per product. Deterministic.
public sealed interface MatMul extends Kernel {
  /// Additions and multiplications of the call.
  double flops();

  /// @throws IllegalArgumentException if the shapes do not fit; names all three
  record Product(Sink y, Tensor a, Tensor b, boolean ta, boolean tb, float alpha) implements MatMul {
    public Product {
      Check.that(y.wanted(), "MatMul needs a destination");
      Check.floating("MatMul a or b", a, b);
      Check.floating("MatMul y", y);
      var s = y.tensor().shape();
      boolean flat = s.rank() == 2 || b.shape().rank() == 2 && !ta;
      boolean fits = a.shape().rank() >= 2 && b.shape().rank() >= 2 && s.rank() >= 2;
      if (fits && !flat) {
        fits = a.shape().rank() == s.rank() && b.shape().rank() == s.rank();
        for (int i = 0; fits && i < s.rank() - 2; i++) fits = a.dim(i) == s.dim(i) && b.dim(i) == s.dim(i);
      }
      if (fits) {
        int m = flat ? s.rows() : s.dim(-2);
        int ka = ta ? height(a, flat) : a.columns();
        int kb = tb ? b.columns() : height(b, flat);
        fits = (ta ? a.columns() : height(a, flat)) == m && (tb ? height(b, flat) : b.columns()) == s.columns() && ka == kb;
      }
      Check.that(fits, "MatMul y%s = a%s%s · b%s%s does not fit", s, a.shape(), ta ? "ᵀ" : "", b.shape(), tb ? "ᵀ" : "");
    }

    private static int height(Tensor t, boolean flat) {
      return flat ? t.rows() : t.dim(-2);
    }

    private boolean flat() {
      return y.tensor().shape().rank() == 2 || b.shape().rank() == 2 && !ta;
    }

    /// Independent products.
    public int batch() {
      return flat() ? 1 : y.tensor().shape().span(0, y.tensor().shape().rank() - 2);
    }

    /// Rows of y.
    public int m() {
      return y.tensor().rows() / batch();
    }

    /// Columns of y.
    public int n() {
      return y.tensor().columns();
    }

    /// Length of the sum.
    public int k() {
      return ta ? a.rows() / batch() : a.columns();
    }

    @Override
    public double flops() {
      return 2.0 * y.tensor().elements() * k();
    }
  }

  /// A product and a low-rank term in one call: what LoRA's linear layers do, forward and backward.
  ///
  ///     y (+)= a·op(b) + scale · u·v
  ///
  /// | tensor | shape                | dtype        | role           |
  /// |--------|----------------------|--------------|----------------|
  /// | y      | (M,N)                | f32 bf16 f16 | written, added |
  /// | a      | (M,K)                | f32 bf16 f16 | read           |
  /// | b      | (K,N), (N,K) if tb   | f32 bf16 f16 | read           |
  /// | u      | (M,R)                | f32 bf16 f16 | read           |
  /// | v      | (R,N)                | f32 bf16 f16 | read           |
  ///
  /// A device either runs `base` and then `update`, and so rounds y twice, or sums both before it rounds, as the CPU does: there the
  /// term is a chain by rule 2 in f32 that starts from what `base` gave, whatever the dtypes.
  ///
  /// @throws IllegalArgumentException if the shapes do not fit; names all three of a product
  record LowRank(Sink y, Tensor a, Tensor b, boolean tb, Tensor u, Tensor v, float scale) implements MatMul {
    public LowRank {
      Check.that(y.wanted() && y.tensor().shape().rank() == 2, "MatMul with a low-rank term needs a destination of two dimensions");
      new Product(y, a, b, false, tb, 1); // both check their shapes
      new Product(y, u, v, false, false, scale);
    }

    /// y (+)= a·op(b).
    public Product base() {
      return new Product(y, a, b, false, tb, 1);
    }

    /// y += scale · u·v.
    public Product update() {
      return new Product(Sink.add(y.tensor()), u, v, false, false, scale);
    }

    @Override
    public double flops() {
      return base().flops() + update().flops();
    }
  }

  /// y = op(a)·op(b), transposed as `ta` and `tb` say.
  static Tensor apply(Pass p, Tensor a, Tensor b, boolean ta, boolean tb) {
    Check.that(a.shape().rank() >= 2 && b.shape().rank() >= 2, "MatMul a%s · b%s does not fit: expected two dimensions or more", a.shape(), b.shape());
    var dims = a.shape().dims();
    dims[dims.length - 2] = a.dim(ta ? -1 : -2);
    dims[dims.length - 1] = b.dim(tb ? -2 : -1);
    var y = p.result(a.dtype(), Shape.of(dims), a, b); // (…,M,N)
    p.run(new Product(Sink.write(y), a, b, ta, tb, 1));
    p.onBackward(
        y,
        dy -> {
          var da = p.sink(a);
          if (da.wanted()) p.run(ta ? new Product(da, b, dy, tb, true, 1) : new Product(da, dy, b, false, !tb, 1));
          var db = p.sink(b);
          if (db.wanted()) p.run(tb ? new Product(db, dy, a, true, ta, 1) : new Product(db, a, dy, !ta, false, 1));
        });
    return y;
  }

  /// y = a·b, or a·bᵀ with `tb`.
  static Tensor apply(Pass p, Tensor a, Tensor b, boolean tb) {
    return apply(p, a, b, false, tb);
  }

  /// y = a·b.
  static Tensor apply(Pass p, Tensor a, Tensor b) {
    return apply(p, a, b, false, false);
  }

  /// A linear layer with a low-rank update: y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ (Hu et al. 2021, arXiv:2106.09685, eq. 3).
  ///
  /// @param x (T,K)
  /// @param w W (N,K)
  /// @param a A (R,K)
  /// @param bt Bᵀ (R,N)
  static Tensor lowRank(Pass p, Tensor x, Tensor w, Tensor a, Tensor bt, float scale) {
    return LowRankTape.run(p, x, w.dim(0), a, bt, scale, new LowRankTape.Base() {
      @Override
      public Kernel forward(Sink y, Tensor u, Tensor v) {
        return new LowRank(y, x, w, true, u, v, scale);
      }

      @Override
      public Kernel backward(Sink dx, Tensor dy, Tensor du, Tensor v) {
        return new LowRank(dx, dy, w, false, du, v, 1);
      }

      @Override
      public void weights(Pass p, Tensor dy) {
        var dw = p.sink(w);
        if (dw.wanted()) p.run(new Product(dw, dy, x, true, false, 1));
      }
    }, w);
  }
}
