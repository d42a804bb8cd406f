package org.llmcore.op;

import org.llmcore.tensor.Tensor;

/// Functions of two elements with NumPy broadcasting: y = f(a, b).
///
/// | f   | da       | db            |
/// |-----|----------|---------------|
/// | ADD | dy       | dy            |
/// | SUB | dy       | −dy           |
/// | MUL | dy·b     | dy·a          |
/// | DIV | dy/b     | −dy·a/b²      |
///
/// y has the broadcast shape of a and b (rank ≤ 6). A gradient of a stretched operand is the sum over the stretched
/// positions, in ascending order of y's elements. a and b are saved; dtypes f32 bf16 f16.
public sealed interface Binary extends Kernel {
  /// The functions.
  enum Function {
    ADD,
    SUB,
    MUL,
    DIV
  }

  record Forward(Tensor y, Tensor a, Tensor b, Function f) implements Binary {
    public Forward {
      check(y, a, b);
    }
  }

  record Backward(Sink da, Sink db, Tensor dy, Tensor a, Tensor b, Function f) implements Binary {
    public Backward {
      check(dy, a, b);
      Check.floating("Binary gradient", da, db);
      Check.shape("Binary da", da, a.shape());
      Check.shape("Binary db", db, b.shape());
    }
  }

  private static void check(Tensor y, Tensor a, Tensor b) {
    Check.floating("Binary argument", y, a, b);
    Check.shape("Binary y", y, a.shape().broadcast(b.shape()));
    Check.that(y.shape().rank() <= 6, "Binary y has shape %s, expected at most 6 dimensions", y.shape());
  }

  static Tensor apply(Pass p, Tensor a, Tensor b, Function f) {
    var y = p.result(a.dtype(), a.shape().broadcast(b.shape()), a, b);
    p.run(new Forward(y, a, b, f));
    p.onBackward(y, dy -> p.run(new Backward(p.sink(a), p.sink(b), dy, a, b, f)));
    return y;
  }
}
