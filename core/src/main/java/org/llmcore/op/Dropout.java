package org.llmcore.op;

import org.llmcore.tensor.Tensor;

/// Dropout with counter-based randomness (Srivastava et al. 2014; inverted scaling).
///
///     y[i] (+)= kept(key, first + i) ? x[i] / (1 − rate) : 0        kept(key, j) ⇔ draw(key, j)·2⁻³² ≥ rate
///     backward is the same kernel on dy: the mask is a function of (key, first + i), nothing is saved
///
/// One hash of 64 bits decides two neighbours, because on a GPU the integers of a hash, not the bytes, set the time. `first` is
/// where x begins in the mask: rows of a larger x, taken alone, have the mask they have in it, be `first` even or odd. The same
/// mask on every device, for every thread count, and again when a block is recomputed or a run resumed.
public sealed interface Dropout extends Kernel {
  record Mask(Sink y, Tensor x, float rate, long key, long first) implements Dropout {
    public Mask {
      Check.that(y.wanted(), "Dropout needs a destination");
      Check.floating("Dropout y", y);
      Check.floating("Dropout x", x);
      Check.shape("Dropout y", y, x.shape());
      Check.that(rate >= 0 && rate < 1, "Dropout rate is %s, expected [0, 1)", rate);
      Check.that(first >= 0, "Dropout begins at element %s of its mask, expected 0 or more", first);
    }

    /// The least draw that keeps an element, ⌈rate·2³²⌉ without sign. The product is exact, and below 2³² because the largest
    /// rate is 1 − 2⁻²⁴.
    public int threshold() {
      return (int) (long) Math.ceil((double) rate * 0x1p32);
    }
  }

  /// From a counter of `bits` to the next.
  long STEP = 0x9E3779B97F4A7C15L;

  /// Uniform in [0, 1), a multiple of 2⁻²⁴: the finaliser of SplitMix64 (Steele, Lea & Flood 2014) over key and counter.
  static float uniform(long key, long i) {
    return (bits(key, i) >>> 40) * 0x1p-24f;
  }

  /// What decides element i of a mask, 32 bits without sign: the lower half of the hash of its pair where i is even, else the
  /// upper.
  static int draw(long key, long i) {
    return (int) (bits(key, i >> 1) >>> 32 * (i & 1));
  }

  /// Whether element i of a mask survives.
  /// @param threshold of `Mask.threshold`
  static boolean kept(long key, long i, int threshold) {
    return Integer.compareUnsigned(draw(key, i), threshold) >= 0;
  }

  /// 64 well-mixed bits of (key, i).
  static long bits(long key, long i) {
    long z = key + (i + 1) * STEP;
    z = (z ^ z >>> 30) * 0xBF58476D1CE4E5B9L;
    z = (z ^ z >>> 27) * 0x94D049BB133111EBL;
    return z ^ z >>> 31;
  }

  /// One key from the coordinates of a random decision: seed, step, layer and so on.
  static long key(long... coordinates) {
    long k = 0;
    for (long c : coordinates) k = bits(k ^ bits(c, 0), 0);
    return k;
  }

  /// Whether elements are dropped in this pass.
  static boolean applies(Pass p, float rate) {
    return rate != 0 && p.training();
  }

  /// @param first the element of the mask that x begins with
  static Tensor apply(Pass p, Tensor x, float rate, long key, long first) {
    if (!applies(p, rate)) return x;
    var y = p.like(x);
    p.run(new Mask(Sink.write(y), x, rate, key, first));
    p.onBackward(
        y,
        dy -> {
          var dx = p.sink(x);
          if (dx.wanted()) p.run(new Mask(dx, dy, rate, key, first));
        });
    return y;
  }
}
