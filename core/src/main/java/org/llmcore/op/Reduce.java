package org.llmcore.op;

import org.llmcore.tensor.Tensor;

/// Sum, mean or maximum along one axis; the axis stays with size 1.
///
/// | f    | y                | dx                                                  |
/// |------|------------------|-----------------------------------------------------|
/// | SUM  | Σ x              | dy                                                  |
/// | MEAN | Σ x / n          | dy / n                                              |
/// | MAX  | max x            | dy at the first element equal to y, 0 elsewhere     |
///
/// Along the last axis sums follow rule 3 of `Kernel`, along others one chain in ascending order. x and y are saved.
public sealed interface Reduce extends Kernel {
  /// The functions.
  enum Function {
    SUM,
    MEAN,
    MAX
  }

  record Forward(Tensor y, Tensor x, int axis, Function f) implements Reduce {
    public Forward {
      Check.floating("Reduce argument", y, x);
      axis = x.shape().axis(axis);
      Check.that(x.dim(axis) > 0, "Reduce over an empty axis %s of %s", axis, x.shape());
      Check.shape("Reduce y", y, x.shape().with(axis, 1));
    }
  }

  record Backward(Sink dx, Tensor dy, Tensor x, Tensor y, int axis, Function f) implements Reduce {
    public Backward {
      Check.floating("Reduce gradient", dx);
      Check.floating("Reduce argument", dy, x, y);
      axis = x.shape().axis(axis);
      Check.shape("Reduce dx", dx, x.shape());
      Check.shape("Reduce dy", dy, x.shape().with(axis, 1));
      Check.shape("Reduce y", y, x.shape().with(axis, 1));
    }
  }

  static Tensor apply(Pass p, Tensor x, int axis, Function f) {
    var y = p.result(x.dtype(), x.shape().with(axis, 1), x);
    p.run(new Forward(y, x, axis, f));
    p.onBackward(
        y,
        dy -> {
          var dx = p.sink(x);
          if (dx.wanted()) p.run(new Backward(dx, dy, x, y, axis, f));
        });
    return y;
  }
}
