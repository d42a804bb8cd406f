package org.llmcore.op;

import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Products with a frozen weight matrix in few bits.
///
///     y = x·Wᵀ      dx = dy·W        W (N,K) is never trained
///
/// | tensor | shape                           | dtype        | role           |
/// |--------|---------------------------------|--------------|----------------|
/// | y      | (…,N), (…,K) unless transposed  | f32 bf16 f16 | written, added |
/// | x      | (…,K), (…,N) unless transposed  | f32 bf16 f16 | read           |
/// | w      | (N,K) = (outputs, inputs)       | few bits     | read           |
///
/// The meaning is `Dequantize` to f32 followed by `MatMul.Product` with alpha 1, bit for bit, order of the sum included; devices
/// differ in when they decode. Where x is bf16 and the device would multiply it with a bf16 matrix of that shape in an order of its own
/// (tiers `AVX512BF16` and `AMX`, see `MatMul`), it is `Dequantize` to bf16 instead, for every number of rows: QLoRA's bf16 compute
/// (arXiv:2305.14314, eq. 5). 2·rows·N·K flops; the codes move once per block of rows.
///
/// `Int8Product` rounds x as well (`Int8`), for inference: a processor that multiplies bytes then needs a fraction of the instructions.
/// Where it does (AVX-512 VNNI), sums of 32 products are exact integers and the order of the rest is the device's; it depends neither
/// on the number of rows nor on threads. Elsewhere it is `Product` of the rounded x, bit for bit.
///
/// `LowRank` adds a low-rank term to `Product`, as `MatMul.LowRank` does to a dense one: QLoRA's linear layers, forward and backward.
public sealed interface QuantMatMul extends Kernel {
  /// Additions and multiplications of the call.
  double flops();

  /// y (+)= x·Wᵀ, or x·W unless `transposed`.
  /// @throws IllegalArgumentException if the shapes do not fit; names all three
  record Product(Sink y, Tensor x, QuantMatrix w, boolean transposed) implements QuantMatMul {
    public Product {
      Check.that(y.wanted(), "QuantMatMul needs a destination");
      Check.floating("QuantMatMul x", x);
      Check.floating("QuantMatMul y", y);
      int k = transposed ? w.inputs() : w.outputs();
      int n = transposed ? w.outputs() : w.inputs();
      var s = y.tensor().shape();
      boolean fits = x.shape().rank() >= 1 && s.rank() >= 1 && x.columns() == k && s.columns() == n && x.rows() == s.rows();
      Check.that(fits, "QuantMatMul y%s = x%s · w(%s, %s)%s does not fit", s, x.shape(), w.outputs(), w.inputs(), transposed ? "ᵀ" : "");
    }

    @Override
    public double flops() {
      return 2.0 * y.tensor().elements() * x.columns();
    }
  }

  /// y (+)= x·Wᵀ + scale·u·v, or x·W + scale·u·v unless `transposed`, with y and x of two dimensions, u (M,R) and v (R,N) in f32, bf16 or f16.
  /// @throws IllegalArgumentException if the shapes do not fit; names all three of a product
  record LowRank(Sink y, Tensor x, QuantMatrix w, boolean transposed, Tensor u, Tensor v, float scale) implements QuantMatMul {
    public LowRank {
      Check.that(y.wanted() && y.tensor().shape().rank() == 2, "QuantMatMul with a low-rank term needs a destination of two dimensions");
      new Product(y, x, w, transposed); // both check their shapes
      new MatMul.Product(y, u, v, false, false, scale);
    }

    /// y (+)= x·Wᵀ or x·W.
    public Product base() {
      return new Product(y, x, w, transposed);
    }

    /// y += scale · u·v.
    public MatMul.Product update() {
      return new MatMul.Product(Sink.add(y.tensor()), u, v, false, false, scale);
    }

    @Override
    public double flops() {
      return base().flops() + update().flops();
    }
  }

  /// y (+)= x̂·Wᵀ where x̂ is x in eight bits.
  /// @throws IllegalArgumentException if the shapes do not fit; names all three
  record Int8Product(Sink y, Tensor x, QuantMatrix w) implements QuantMatMul {
    public Int8Product {
      new Product(y, x, w, true); // refuses what does not fit
    }

    @Override
    public double flops() {
      return new Product(y, x, w, true).flops();
    }
  }

  /// y = W in y's dtype, rounded once.
  record Dequantize(Tensor y, QuantMatrix w) implements QuantMatMul {
    public Dequantize {
      Check.floating("Dequantize y", y);
      Check.shape("Dequantize y", y, Shape.of(w.outputs(), w.inputs()));
    }

    @Override
    public double flops() {
      return 0;
    }
  }

  /// y (+)= x·Wᵀ, of x in eight bits if `int8`; leaves nothing on the tape.
  /// @throws IllegalStateException if it is to be of eight bits in a pass that trains
  static void product(Pass p, Sink y, Tensor x, QuantMatrix w, boolean int8) {
    if (int8 && p.training()) throw new IllegalStateException("activations in eight bits have no gradient: train with exact ones");
    p.run(int8 ? new Int8Product(y, x, w) : new Product(y, x, w, true));
  }

  /// y = x·Wᵀ; the gradient reaches x only.
  static Tensor apply(Pass p, Tensor x, QuantMatrix w) {
    var y = p.result(x.dtype(), x.shape().with(-1, w.outputs()), x); // (…,N)
    p.run(new Product(Sink.write(y), x, w, true));
    p.onBackward(
        y,
        dy -> {
          var dx = p.sink(x);
          if (dx.wanted()) p.run(new Product(dx, dy, w, false));
        });
    return y;
  }

  /// A linear layer with a low-rank update: y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ; gradients reach x, A and B.
  ///
  /// @param x (T,K)
  /// @param a A (R,K)
  /// @param bt Bᵀ (R,N)
  static Tensor lowRank(Pass p, Tensor x, QuantMatrix w, Tensor a, Tensor bt, float scale) {
    return LowRankTape.run(p, x, w.outputs(), a, bt, scale, new LowRankTape.Base() {
      @Override
      public Kernel forward(Sink y, Tensor u, Tensor v) {
        return new LowRank(y, x, w, true, u, v, scale);
      }

      @Override
      public Kernel backward(Sink dx, Tensor dy, Tensor du, Tensor v) {
        return new LowRank(dx, dy, w, false, du, v, 1);
      }
    });
  }

  /// y = x̂·Wᵀ where x̂ is x in eight bits; without a gradient.
  /// @throws IllegalStateException in a pass that trains
  static Tensor int8(Pass p, Tensor x, QuantMatrix w) {
    var y = p.empty(x.dtype(), x.shape().with(-1, w.outputs())); // (…,N)
    product(p, Sink.write(y), x, w, true);
    return y;
  }
}
