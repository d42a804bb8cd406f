package org.llmcore.reference;

import org.llmcore.op.Rope;

/// Pairs turned by the table's angles.
final class RopeReference {
  private RopeReference() {}

  static void run(Cells c, Rope.Rotate k) {
    int width = k.x().columns();
    int half = width / 2;
    int sign = k.inverse() ? -1 : 1;
    for (int t = 0; t < k.x().dim(0); t++) {
      long angles = (long) c.index(k.positions(), t, k.table().dim(0)) * width;
      for (int h = 0; h < k.x().dim(1); h++) {
        long at = ((long) t * k.x().dim(1) + h) * width;
        for (int i = 0; i < half; i++) {
          long u = at + (k.pairing() == Rope.Pairing.HALVES ? i : 2 * i);
          long v = k.pairing() == Rope.Pairing.HALVES ? u + half : u + 1;
          double cos = c.get(k.table(), angles + i);
          double sin = sign * c.get(k.table(), angles + half + i);
          double x = c.get(k.x(), u);
          double y = c.get(k.x(), v);
          c.put(k.y(), u, x * cos - y * sin);
          c.put(k.y(), v, x * sin + y * cos);
        }
      }
    }
  }
}
