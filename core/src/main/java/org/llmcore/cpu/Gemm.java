package org.llmcore.cpu;

import java.util.Optional;

import org.llmcore.op.MatMul;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

/// A product as the loops see it: `batch` times y (M,N) (+)= alpha · op(a) · op(b), with k terms in every sum.
/// @param update what is then added in f32, before y is rounded: a product by rule 2 of the same y, one matrix
record Gemm(Sink y, Tensor a, Right b, boolean ta, boolean tb, int batch, int m, int n, int k, float alpha, Optional<Gemm> update) {
  Gemm(Sink y, Tensor a, Right b, boolean ta, boolean tb, int batch, int m, int n, int k, float alpha) {
    this(y, a, b, ta, tb, batch, m, n, k, alpha, Optional.empty());
  }

  static Gemm of(MatMul.Product p) {
    return new Gemm(p.y(), p.a(), new Right.Dense(p.b()), p.ta(), p.tb(), p.batch(), p.m(), p.n(), p.k(), p.alpha());
  }

  static Gemm of(MatMul.LowRank p) {
    return of(p.base()).updated(of(p.update()));
  }

  static Gemm of(QuantMatMul.Product p) {
    return new Gemm(p.y(), p.x(), Right.of(p.w()), false, p.transposed(), 1, p.x().rows(), p.y().tensor().columns(), p.x().columns(), 1);
  }

  static Gemm of(QuantMatMul.LowRank p) {
    return of(p.base()).updated(of(p.update()));
  }

  private Gemm updated(Gemm by) {
    return new Gemm(y, a, b, ta, tb, batch, m, n, k, alpha, Optional.of(by));
  }

  /// @param x in the place of k's own
  static Gemm of(QuantMatMul.Int8Product k, Tensor x) {
    return of(new QuantMatMul.Product(k.y(), x, k.w(), true));
  }

  /// Whether both operands are bf16, or b is in few bits and may be rounded to it.
  boolean bf16() {
    return a.dtype() == DType.BF16 && (!(b instanceof Right.Dense d) || d.t().dtype() == DType.BF16);
  }
}
