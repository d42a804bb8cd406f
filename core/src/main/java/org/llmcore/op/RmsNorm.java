package org.llmcore.op;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Root-mean-square normalisation (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4).
///
///     y[r,c] = x[r,c] · rstd[r] · w[c]        rstd[r] = (mean_c x² + eps)^-½
///     dx = rstd · (w∘dy − x · rstd² · mean_c(w∘dy∘x))        dw[c] = Σ_r dy · x · rstd
///
/// | tensor | shape | dtype        | role            |
/// |--------|-------|--------------|-----------------|
/// | y      | (…,C) | f32 bf16 f16 | written         |
/// | rstd   | (R)   | f32          | written, saved  |
/// | x      | (…,C) | f32 bf16 f16 | read, saved     |
/// | w      | (C)   | f32 bf16 f16 | read, saved     |
///
/// R = rows of x. Sums over c by rule 3, over r by rule 2. Cost 4RC flops, 2RC elements moved.
public sealed interface RmsNorm extends Kernel {
  /// @throws IllegalArgumentException if w does not have C elements or eps < 0
  record Forward(Tensor y, Tensor rstd, Tensor x, Tensor w, float eps) implements RmsNorm {
    public Forward {
      Check.floating("RmsNorm argument", y, x, w);
      Check.shape("RmsNorm y", y, x.shape());
      Check.shape("RmsNorm w", w, Shape.of(x.columns()));
      Check.shape("RmsNorm rstd", rstd, Shape.of(x.rows()));
      Check.dtype("RmsNorm rstd", rstd, DType.F32);
      Check.that(eps >= 0, "RmsNorm eps is %s, expected a number ≥ 0", eps);
    }
  }

  /// A residual connection and the norm of its sum in one pass: h = x + r, rounded to its dtype, then `Forward` of h.
  ///
  /// | tensor | shape | dtype        | role           |
  /// |--------|-------|--------------|----------------|
  /// | h      | (…,C) | f32 bf16 f16 | written, saved |
  /// | x, r   | (…,C) | f32 bf16 f16 | read           |
  ///
  /// @throws IllegalArgumentException as `Forward`, or if x or r have another shape than h
  record ForwardAdded(Tensor y, Tensor rstd, Tensor h, Tensor x, Tensor r, Tensor w, float eps) implements RmsNorm {
    public ForwardAdded {
      Check.floating("RmsNorm argument", x, r);
      Check.shape("RmsNorm x", x, h.shape());
      Check.shape("RmsNorm r", r, h.shape());
      var _ = new Forward(y, rstd, h, w, eps);
    }

    /// What is done once h is known.
    public Forward norm() {
      return new Forward(y, rstd, h, w, eps);
    }
  }

  record Backward(Sink dx, Sink dw, Tensor dy, Tensor x, Tensor w, Tensor rstd) implements RmsNorm {
    public Backward {
      Check.floating("RmsNorm gradient", dx, dw);
      Check.floating("RmsNorm argument", dy, x, w);
      Check.shape("RmsNorm dx", dx, x.shape());
      Check.shape("RmsNorm dw", dw, w.shape());
      Check.shape("RmsNorm dy", dy, x.shape());
      Check.shape("RmsNorm w", w, Shape.of(x.columns()));
      Check.shape("RmsNorm rstd", rstd, Shape.of(x.rows()));
      Check.dtype("RmsNorm rstd", rstd, DType.F32);
    }
  }

  static Tensor apply(Pass p, Tensor x, Tensor w, float eps) {
    var y = p.like(x, w);
    var rstd = p.empty(DType.F32, x.rows());
    p.run(new Forward(y, rstd, x, w, eps));
    p.onBackward(y, dy -> p.run(new Backward(p.sink(x), p.sink(w), dy, x, w, rstd)));
    return y;
  }

  /// @param sum x + r
  /// @param norm that, normalised
  record Residual(Tensor sum, Tensor norm) {}

  /// `h = x + r` and its norm; (…,C) all.
  static Residual added(Pass p, Tensor x, Tensor r, Tensor w, float eps) {
    var h = p.like(x, r);
    var y = p.like(h, w);
    var rstd = p.empty(DType.F32, x.rows());
    p.run(new ForwardAdded(y, rstd, h, x, r, w, eps));
    p.onBackward(h, dh -> p.run(new Binary.Backward(p.sink(x), p.sink(r), dh, x, r, Binary.Function.ADD)));
    p.onBackward(y, dy -> p.run(new Backward(p.sink(h), p.sink(w), dy, h, w, rstd)));
    return new Residual(h, y);
  }
}
