package org.llmcore.reference;

import org.llmcore.op.MatMul;

/// The three loops.
final class MatMulReference {
  private MatMulReference() {}

  static void run(Cells c, MatMul.Product p) {
    int m = p.m();
    int n = p.n();
    int k = p.k();
    for (long b = 0; b < p.batch(); b++) {
      for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
          double s = 0;
          for (int l = 0; l < k; l++) {
            double x = c.get(p.a(), b * m * k + (p.ta() ? (long) l * m + i : (long) i * k + l));
            double y = c.get(p.b(), b * k * n + (p.tb() ? (long) j * k + l : (long) l * n + j));
            s += x * y;
          }
          c.put(p.y(), (b * m + i) * n + j, p.alpha() * s);
        }
      }
    }
  }
}
