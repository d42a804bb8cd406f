package org.llmcore.reference;

import org.llmcore.op.Int8;
import org.llmcore.op.QuantMatMul;

/// Elements as `QuantMatrix.get` defines them, then the three loops.
final class QuantMatMulReference {
  private QuantMatMulReference() {}

  static void run(Cells c, QuantMatMul kernel) {
    switch (kernel) {
      case QuantMatMul.Product k -> product(c, k, (r, l) -> c.get(k.x(), (long) r * k.x().columns() + l), (_, _) -> 0);
      case QuantMatMul.LowRank k -> product(
          c, k.base(), (r, l) -> c.get(k.x(), (long) r * k.x().columns() + l), (i, j) -> MatMulReference.sum(c, k.update(), 0, i, j));
      case QuantMatMul.Int8Product k -> {
        var rounded = new float[k.x().rows()][];
        for (int r = 0; r < rounded.length; r++) {
          rounded[r] = new float[k.x().columns()];
          for (int l = 0; l < rounded[r].length; l++) rounded[r][l] = (float) c.get(k.x(), (long) r * rounded[r].length + l);
          Int8.round(rounded[r]);
        }
        product(c, new QuantMatMul.Product(k.y(), k.x(), k.w(), true), (r, l) -> rounded[r][l], (_, _) -> 0);
      }
      case QuantMatMul.Dequantize k -> {
        for (int o = 0; o < k.w().outputs(); o++) {
          for (int i = 0; i < k.w().inputs(); i++) c.set(k.y(), (long) o * k.w().inputs() + i, k.w().get(o, i));
        }
      }
    }
  }

  /// A matrix by row and column.
  private interface Matrix {
    double get(int row, int column);
  }

  /// y (+)= x·Wᵀ + z, or x·W + z
  private static void product(Cells c, QuantMatMul.Product p, Matrix x, Matrix z) {
    int k = p.x().columns();
    int n = p.y().tensor().columns();
    for (int r = 0; r < p.x().rows(); r++) {
      for (int j = 0; j < n; j++) {
        double s = 0;
        for (int l = 0; l < k; l++) s += x.get(r, l) * (p.transposed() ? p.w().get(j, l) : p.w().get(l, j));
        c.put(p.y(), (long) r * n + j, s + z.get(r, j));
      }
    }
  }
}
