package org.llmcore.reference;

import org.llmcore.op.Softmax;

/// Softmax and its logarithm, row by row.
final class SoftmaxReference {
  private SoftmaxReference() {}

  /// log Σ exp, by the largest element.
  static double logSumExp(double[] x) {
    double max = Double.NEGATIVE_INFINITY;
    for (double v : x) max = Math.max(max, v);
    double s = 0;
    for (double v : x) s += Math.exp(v - max);
    return max + Math.log(s);
  }

  static void run(Cells c, Softmax kernel) {
    switch (kernel) {
      case Softmax.Forward k -> {
        int n = k.x().columns();
        for (int r = 0; r < k.x().rows(); r++) {
          var x = new double[n];
          for (int i = 0; i < n; i++) x[i] = c.get(k.x(), (long) r * n + i);
          double lse = logSumExp(x);
          for (int i = 0; i < n; i++) c.set(k.y(), (long) r * n + i, k.log() ? x[i] - lse : Math.exp(x[i] - lse));
        }
      }
      case Softmax.Backward k -> {
        int n = k.y().columns();
        for (int r = 0; r < k.y().rows(); r++) {
          double s = 0;
          for (int i = 0; i < n; i++) s += c.get(k.dy(), (long) r * n + i) * (k.log() ? 1 : c.get(k.y(), (long) r * n + i));
          for (int i = 0; i < n; i++) {
            double y = c.get(k.y(), (long) r * n + i);
            double dy = c.get(k.dy(), (long) r * n + i);
            c.put(k.dx(), (long) r * n + i, k.log() ? dy - Math.exp(y) * s : y * (dy - s));
          }
        }
      }
    }
  }
}
