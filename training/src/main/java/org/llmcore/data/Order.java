package org.llmcore.data;

/// The order of an epoch: a permutation that is a pure function of (seed, epoch), so that resuming needs two numbers and no
/// generator's state.
///
/// Fisher and Yates's shuffle; draw i is SplitMix64's finalizer (Steele, Lea & Flood 2014) of a counter, scaled to its range by the
/// upper half of a 64×64-bit product (the bias is below n / 2⁶⁴).
public final class Order {
  private static final long GOLDEN = 0x9E3779B97F4A7C15L;

  private Order() {}

  /// A permutation of 0 … n−1.
  public static int[] of(int n, long seed, long epoch) {
    long key = mix(mix(seed + GOLDEN) + epoch * GOLDEN);
    var order = new int[n];
    for (int i = 0; i < n; i++) {
      int j = (int) Math.unsignedMultiplyHigh(mix(key + (i + 1) * GOLDEN), i + 1L);
      order[i] = order[j];
      order[j] = i;
    }
    return order;
  }

  private static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }
}
