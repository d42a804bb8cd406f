package org.llmcore.op;

import org.llmcore.tensor.Tensor;

/// Functions of one element: y = f(x), dx = dy · f'(x).
///
/// | f       | f(x)                       | f'(x)                      |
/// |---------|----------------------------|----------------------------|
/// | NEG     | −x                         | −1                         |
/// | EXP     | eˣ                         | y                          |
/// | LOG     | ln x                       | 1/x                        |
/// | SQRT    | √x                         | 1/(2y)                     |
/// | RSQRT   | 1/√x                       | −y/(2x)                    |
/// | SQUARE  | x²                         | 2x                         |
/// | TANH    | tanh x                     | 1 − y²                     |
/// | SIGMOID | σ(x) = 1/(1+e⁻ˣ)           | y(1−y)                     |
/// | RELU    | max(x, 0)                  | [x > 0]                    |
/// | SILU    | x·σ(x)                     | σ(x)(1 + x(1−σ(x)))        |
/// | GELU    | x·Φ(x), Φ = ½(1+erf(x/√2)) | Φ(x) + x·e^(−x²/2)/√(2π)   |
///
/// GELU is the exact form of Hendrycks & Gimpel 2016 (arXiv:1606.08415). x and y are saved; dtypes f32 bf16 f16.
public sealed interface Unary extends Kernel {
  /// The functions.
  enum Function {
    NEG,
    EXP,
    LOG,
    SQRT,
    RSQRT,
    SQUARE,
    TANH,
    SIGMOID,
    RELU,
    SILU,
    GELU
  }

  record Forward(Tensor y, Tensor x, Function f) implements Unary {
    public Forward {
      Check.floating("Unary argument", y, x);
      Check.shape("Unary y", y, x.shape());
    }
  }

  record Backward(Sink dx, Tensor dy, Tensor x, Tensor y, Function f) implements Unary {
    public Backward {
      Check.floating("Unary gradient", dx);
      Check.floating("Unary argument", dy, x, y);
      Check.shape("Unary dx", dx, x.shape());
      Check.shape("Unary dy", dy, x.shape());
      Check.shape("Unary y", y, x.shape());
    }
  }

  static Tensor apply(Pass p, Tensor x, Function f) {
    var y = p.like(x);
    p.run(new Forward(y, x, f));
    p.onBackward(
        y,
        dy -> {
          var dx = p.sink(x);
          if (dx.wanted()) p.run(new Backward(dx, dy, x, y, f));
        });
    return y;
  }
}
