package org.llmcore.reference;

import org.llmcore.op.Dropout;

/// Dropout by the definition of its mask.
final class DropoutReference {
  private DropoutReference() {}

  static void run(Cells c, Dropout.Mask k) {
    for (long i = 0; i < k.x().elements(); i++) {
      boolean kept = Integer.toUnsignedLong(Dropout.draw(k.key(), k.first() + i)) * 0x1p-32 >= k.rate();
      c.put(k.y(), i, kept ? c.get(k.x(), i) / (1 - (double) k.rate()) : 0);
    }
  }
}
