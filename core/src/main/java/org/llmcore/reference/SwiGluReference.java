package org.llmcore.reference;

import org.llmcore.op.SwiGlu;

/// The formulas of `op.SwiGlu`, element by element.
final class SwiGluReference {
  private SwiGluReference() {}

  static void run(Cells c, SwiGlu kernel) {
    switch (kernel) {
      case SwiGlu.Forward k -> {
        for (long i = 0; i < k.h().elements(); i++) c.set(k.h(), i, c.get(k.gate(), i) * sigmoid(c.get(k.gate(), i)) * c.get(k.up(), i));
      }
      case SwiGlu.Backward k -> {
        for (long i = 0; i < k.dh().elements(); i++) {
          double g = c.get(k.gate(), i);
          double s = sigmoid(g);
          double dh = c.get(k.dh(), i);
          double up = c.get(k.up(), i);
          c.put(k.dup(), i, dh * g * s);
          c.put(k.dgate(), i, dh * up * s * (1 + g * (1 - s)));
        }
      }
    }
  }

  static double sigmoid(double x) {
    return 1 / (1 + Math.exp(-x));
  }
}
