package org.llmcore.reference;

import org.llmcore.op.QuantMatMul;

/// Elements as `QuantMatrix.get` defines them, then the three loops.
final class QuantMatMulReference {
  private QuantMatMulReference() {}

  static void run(Cells c, QuantMatMul kernel) {
    switch (kernel) {
      case QuantMatMul.Product k -> product(c, k);
      case QuantMatMul.Dequantize k -> {
        for (int o = 0; o < k.w().outputs(); o++) {
          for (int i = 0; i < k.w().inputs(); i++) c.set(k.y(), (long) o * k.w().inputs() + i, k.w().get(o, i));
        }
      }
    }
  }

  private static void product(Cells c, QuantMatMul.Product p) {
    int k = p.x().columns();
    int n = p.y().tensor().columns();
    for (int r = 0; r < p.x().rows(); r++) {
      for (int j = 0; j < n; j++) {
        double s = 0;
        for (int l = 0; l < k; l++) s += c.get(p.x(), (long) r * k + l) * (p.transposed() ? p.w().get(j, l) : p.w().get(l, j));
        c.put(p.y(), (long) r * n + j, s);
      }
    }
  }
}
