package org.llmcore.op;

import org.llmcore.tensor.Tensor;

/// Dropout with counter-based randomness (Srivastava et al. 2014; inverted scaling).
///
///     y[i] (+)= kept(key, i) ? x[i] / (1 − rate) : 0        kept(key, i) ⇔ uniform(key, i) ≥ rate
///     backward is the same kernel on dy: the mask is a function of (key, i), nothing is saved
///
/// The same mask on every device, for every thread count, and again when a block is recomputed or a run resumed.
public sealed interface Dropout extends Kernel {
  record Mask(Sink y, Tensor x, float rate, long key) implements Dropout {
    public Mask {
      Check.that(y.wanted(), "Dropout needs a destination");
      Check.floating("Dropout y", y);
      Check.floating("Dropout x", x);
      Check.shape("Dropout y", y, x.shape());
      Check.that(rate >= 0 && rate < 1, "Dropout rate is %s, expected [0, 1)", rate);
    }
  }

  /// Uniform in [0, 1), a multiple of 2⁻²⁴: the finaliser of SplitMix64 (Steele, Lea & Flood 2014) over key and counter.
  static float uniform(long key, long i) {
    return (bits(key, i) >>> 40) * 0x1p-24f;
  }

  /// 64 well-mixed bits of (key, i).
  static long bits(long key, long i) {
    long z = key + (i + 1) * 0x9E3779B97F4A7C15L;
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

  static Tensor apply(Pass p, Tensor x, float rate, long key) {
    if (!applies(p, rate)) return x;
    var y = p.like(x);
    p.run(new Mask(Sink.write(y), x, rate, key));
    p.onBackward(
        y,
        dy -> {
          var dx = p.sink(x);
          if (dx.wanted()) p.run(new Mask(dx, dy, rate, key));
        });
    return y;
  }
}
