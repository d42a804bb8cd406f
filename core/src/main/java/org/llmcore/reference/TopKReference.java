package org.llmcore.reference;

import java.util.Comparator;
import java.util.stream.IntStream;

import org.llmcore.op.TopK;
import org.llmcore.tensor.Memory;

/// Sorts each row.
final class TopKReference {
  private TopKReference() {}

  static void run(Cells c, TopK.Forward k) {
    int n = k.n();
    long width = k.x().columns();
    for (int r = 0; r < k.x().rows(); r++) {
      int row = r;
      var falling = Comparator.comparingDouble((Integer i) -> c.get(k.x(), row * width + i) + 0.0).reversed();
      var order = IntStream.range(0, n).boxed().sorted(falling).mapToInt(Integer::intValue).toArray();
      double largest = c.get(k.x(), r * width + order[0]);
      double total = 0;
      for (int i = 0; i < n; i++) total += Math.exp((c.get(k.x(), r * width + i) - largest) * c.get(k.scale(), r));
      c.set(k.total(), r, total);
      for (int i = 0; i < k.k(); i++) {
        c.set(k.values(), (long) r * k.k() + i, c.get(k.x(), r * width + order[i]) + 0.0);
        Memory.i32(k.ids().address() + 4 * ((long) r * k.k() + i), order[i]);
      }
    }
  }
}
