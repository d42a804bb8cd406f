package org.llmcore.cpu;

import org.llmcore.op.TopK;
import org.llmcore.tensor.Memory;

/// `TopK` on the CPU, split by rows. Only pieces of a row that hold something larger than the least of those found so far are looked at
/// element by element.
final class TopKCpu {
  /// Elements whose maximum is asked for before they are looked at.
  private static final int LOOK = 128;

  /// Elements whose exponentials are summed at a time; a multiple of the 16 partial sums.
  private static final int PIECE = 2048;

  private TopKCpu() {}

  static void run(Lanes lanes, Workers workers, TopK.Forward k) {
    Rows.split(lanes, workers, k.x().rows(), k.n(), (from, to, s) -> rows(lanes, k, from, to, s));
  }

  private static void rows(Lanes lanes, TopK.Forward k, long from, long to, Scratch scratch) {
    int n = k.n();
    long staged = scratch.floats(n);
    long found = scratch.floats(2L * k.k());
    long partials = scratch.floats(Rows.PARTIALS);
    long powers = scratch.floats(PIECE);
    for (long r = from; r < to; r++) {
      long x = Rows.read(lanes, k.x(), r * k.x().columns(), n, staged);
      largest(lanes, x, n, found, k.k());
      for (int i = 0; i < k.k(); i++) {
        long key = Memory.i64(found + 8L * i);
        Memory.f32(k.values().address() + 4 * (r * k.k() + i), TopK.value(key));
        Memory.i32(k.ids().address() + 4 * (r * k.k() + i), TopK.id(key));
      }
      float max = TopK.value(Memory.i64(found));
      float scale = Memory.f32(k.scale().address() + 4 * r);
      Rows.clear(partials);
      for (int c = 0; c < n; c += PIECE) {
        int m = Math.min(PIECE, n - c);
        Rows.minus(lanes, powers, x + 4L * c, max, m);
        Rows.exp(lanes, powers, powers, scale, 0, m);
        Rows.sumInto(lanes, partials, powers, m);
      }
      Memory.f32(k.total().address() + 4 * r, Rows.total(partials));
    }
  }

  /// The k largest of n floats as keys, falling.
  private static void largest(Lanes lanes, long x, int n, long keys, int k) {
    int count = 0;
    float least = Float.NEGATIVE_INFINITY; // of k that have been found
    for (int c = 0; c < n; c += LOOK) {
      int m = Math.min(LOOK, n - c);
      if (count == k && Rows.max(lanes, x + 4L * c, m) <= least) continue; // of equals the earlier stays
      for (int i = c; i < c + m; i++) {
        float v = Memory.f32(x + 4L * i);
        if (count == k && v <= least) continue;
        long key = TopK.key(v, i);
        if (count == k && key <= Memory.i64(keys + 8L * (k - 1))) continue; // NaN after k of them
        int at = count < k ? count++ : k - 1;
        for (; at > 0 && Memory.i64(keys + 8L * (at - 1)) < key; at--) Memory.i64(keys + 8L * at, Memory.i64(keys + 8L * (at - 1)));
        Memory.i64(keys + 8L * at, key);
        least = TopK.value(Memory.i64(keys + 8L * (count - 1)));
      }
    }
  }
}
