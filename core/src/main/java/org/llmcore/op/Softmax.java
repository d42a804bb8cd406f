package org.llmcore.op;

import org.llmcore.tensor.Tensor;

/// Softmax or log-softmax over the last dimension.
///
///     y = exp(x − lse)      dx = y∘(dy − Σ_c y∘dy)
///     y = x − lse           dx = dy − exp(y)·Σ_c dy          (log)
///
/// x and y have one shape (…,C), f32 bf16 f16; y is saved. Sums over c by rule 3. 4 passes over a row in cache.
public sealed interface Softmax extends Kernel {
  record Forward(Tensor y, Tensor x, boolean log) implements Softmax {
    public Forward {
      Check.floating("Softmax argument", y, x);
      Check.shape("Softmax y", y, x.shape());
    }
  }

  record Backward(Sink dx, Tensor dy, Tensor y, boolean log) implements Softmax {
    public Backward {
      Check.floating("Softmax gradient", dx);
      Check.floating("Softmax argument", dy, y);
      Check.shape("Softmax dx", dx, y.shape());
      Check.shape("Softmax dy", dy, y.shape());
    }
  }

  static Tensor apply(Pass p, Tensor x, boolean log) {
    var y = p.like(x);
    p.run(new Forward(y, x, log));
    p.onBackward(
        y,
        dy -> {
          var dx = p.sink(x);
          if (dx.wanted()) p.run(new Backward(dx, dy, y, log));
        });
    return y;
  }
}
