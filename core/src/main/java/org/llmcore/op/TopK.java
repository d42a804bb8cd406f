package org.llmcore.op;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// The k largest of each row, and the weight of the whole row beside the largest: what choosing a token needs of its logits, which
/// then neither leave the device nor are sorted.
///
///     values[r,i] = x[r, ids[r,i]]        falling; of equals the lowest id first; NaN counts as larger than +∞
///     total[r] = Σ_c exp((x[r,c] − max_c x[r,c]) · scale[r])
///
/// | tensor | shape | dtype        | role                                      |
/// |--------|-------|--------------|-------------------------------------------|
/// | values | (R,k) | f32          | written                                   |
/// | ids    | (R,k) | i32          | written                                   |
/// | total  | (R)   | f32          | written                                   |
/// | x      | (R,V) | f32 bf16 f16 | read                                      |
/// | scale  | (R)   | f32          | read: 1 / temperature, finite and above 0 |
///
/// R = rows of x, 1 ≤ k ≤ n ≤ V; c runs over the first n columns, the others are padding. −0 equals 0 and comes back as 0. The sum
/// over c by rule 3 of `Kernel`. No gradient. Cost 4Rn flops, Rn elements moved.
public sealed interface TopK extends Kernel {
  /// The largest k of every device.
  int MOST = 64;

  /// A number that is larger for a larger value, and of equal values for a lower id; NaN is largest, −0 is 0.
  static long key(float value, int id) {
    return (long) mirrored(Float.floatToIntBits(value + 0f)) << 32 | ~id & 0xffff_ffffL;
  }

  /// The value of a key.
  static float value(long key) {
    return Float.intBitsToFloat(mirrored((int) (key >> 32)));
  }

  /// The id of a key.
  static int id(long key) {
    return ~(int) key;
  }

  /// From the bits of a float to an integer of the same order, and back.
  private static int mirrored(int bits) {
    return bits ^ bits >> 31 & 0x7fff_ffff;
  }

  /// @param n columns to look at
  /// @throws IllegalArgumentException if n is not 1 … V, or k not 1 … n, or more than `MOST`
  record Forward(Tensor values, Tensor ids, Tensor total, Tensor x, Tensor scale, int n) implements TopK {
    public Forward {
      Check.floating("TopK argument", x);
      Check.that(values.shape().rank() == 2, "TopK values have shape %s, expected (R, k)", values.shape());
      int k = values.columns();
      Check.that(n >= 1 && n <= x.columns(), "TopK among %s columns, expected 1 … %s", n, x.columns());
      Check.that(k >= 1 && k <= Math.min(MOST, n), "TopK of %s among %s columns, expected 1 … %s", k, n, Math.min(MOST, n));
      Check.shape("TopK values", values, Shape.of(x.rows(), k));
      Check.dtype("TopK values", values, DType.F32);
      Check.shape("TopK ids", ids, values.shape());
      Check.dtype("TopK ids", ids, DType.I32);
      Check.shape("TopK total", total, Shape.of(x.rows()));
      Check.dtype("TopK total", total, DType.F32);
      Check.shape("TopK scale", scale, Shape.of(x.rows()));
      Check.dtype("TopK scale", scale, DType.F32);
    }

    public int k() {
      return values.columns();
    }
  }

  /// The k largest among the first n columns of each row of x (R,V), and what all n weigh at `scale` (R).
  static Forward apply(Pass p, Tensor x, Tensor scale, int n, int k) {
    var largest = new Forward(p.empty(DType.F32, x.rows(), k), p.empty(DType.I32, x.rows(), k), p.empty(DType.F32, x.rows()), x, scale, n);
    p.run(largest);
    return largest;
  }
}
