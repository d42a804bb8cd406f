package org.llmcore.op;

import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// The tape of a linear layer with a low-rank update, whatever holds its weights (Hu et al. 2021, arXiv:2106.09685, eq. 3).
///
///     y = x·Wᵀ + s·u·Bᵀ      u = x·Aᵀ
///     du = s·dy·B    dBᵀ = s·uᵀ·dy    dx = dy·W + du·A    dA = duᵀ·x
final class LowRankTape {
  private LowRankTape() {}

  /// The kernels in which W takes part.
  interface Base {
    /// y = x·Wᵀ + s·u·v
    Kernel forward(Sink y, Tensor u, Tensor v);

    /// dx (+)= dy·W + du·v
    Kernel backward(Sink dx, Tensor dy, Tensor du, Tensor v);

    /// Runs what the gradient of W takes, if it has one.
    default void weights(Pass p, Tensor dy) {}
  }

  /// @param x (T,K)
  /// @param outputs N
  /// @param a A (R,K)
  /// @param bt Bᵀ (R,N)
  /// @param weights W where it is a tensor
  /// @return y (T,N)
  static Tensor run(Pass p, Tensor x, int outputs, Tensor a, Tensor bt, float scale, Base base, Tensor... weights) {
    var u = p.result(x.dtype(), Shape.of(x.rows(), a.dim(0)), x, a);
    p.run(new MatMul.Product(Sink.write(u), x, a, false, true, 1));
    var parents = new Tensor[weights.length + 3];
    System.arraycopy(weights, 0, parents, 0, weights.length);
    parents[weights.length] = x;
    parents[weights.length + 1] = a;
    parents[weights.length + 2] = bt;
    var y = p.result(x.dtype(), Shape.of(x.rows(), outputs), parents);
    p.run(base.forward(Sink.write(y), u, bt));
    p.onBackward(
        y,
        dy -> {
          var dbt = p.sink(bt);
          if (dbt.wanted()) p.run(new MatMul.Product(dbt, u, dy, true, false, scale));
          base.weights(p, dy);
          var du = p.sink(u);
          if (!du.wanted()) return;
          p.run(new MatMul.Product(du, dy, bt, false, true, scale));
          var da = p.sink(a);
          if (da.wanted()) p.run(new MatMul.Product(da, du.tensor(), x, true, false, 1));
          var dx = p.sink(x);
          if (dx.wanted()) p.run(base.backward(dx, dy, du.tensor(), a));
        });
    return y;
  }
}
