package org.llmcore.reference;

import org.llmcore.op.MatMul;

/// The three loops.
final class MatMulReference {
  private MatMulReference() {}

  static void run(Cells c, MatMul.Product p) {
    for (int b = 0; b < p.batch(); b++) {
      for (int i = 0; i < p.m(); i++) {
        for (int j = 0; j < p.n(); j++) c.put(p.y(), ((long) b * p.m() + i) * p.n() + j, sum(c, p, b, i, j));
      }
    }
  }

  static void run(Cells c, MatMul.LowRank p) {
    var base = p.base();
    var update = p.update();
    for (int i = 0; i < base.m(); i++) {
      for (int j = 0; j < base.n(); j++) c.put(p.y(), (long) i * base.n() + j, sum(c, base, 0, i, j) + sum(c, update, 0, i, j));
    }
  }

  /// alpha times the sum over k for row i and column j of product b of the batch.
  static double sum(Cells c, MatMul.Product p, long b, int i, int j) {
    int m = p.m();
    int n = p.n();
    int k = p.k();
    double s = 0;
    for (int l = 0; l < k; l++) {
      double x = c.get(p.a(), b * m * k + (p.ta() ? (long) l * m + i : (long) i * k + l));
      double y = c.get(p.b(), b * k * n + (p.tb() ? (long) j * k + l : (long) l * n + j));
      s += x * y;
    }
    return p.alpha() * s;
  }
}
