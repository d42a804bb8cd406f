package org.llmcore.reference;

import org.llmcore.op.RmsNorm;

/// The formulas of `op.RmsNorm`, row by row.
final class RmsNormReference {
  private RmsNormReference() {}

  static void run(Cells c, RmsNorm kernel) {
    switch (kernel) {
      case RmsNorm.ForwardAdded k -> {
        for (long i = 0; i < k.h().elements(); i++) c.set(k.h(), i, c.get(k.x(), i) + c.get(k.r(), i));
        run(c, k.norm());
      }
      case RmsNorm.Forward k -> {
        int n = k.x().columns();
        for (int r = 0; r < k.x().rows(); r++) {
          double s = 0;
          for (int i = 0; i < n; i++) s += c.get(k.x(), (long) r * n + i) * c.get(k.x(), (long) r * n + i);
          double rstd = 1 / Math.sqrt(s / n + k.eps());
          c.set(k.rstd(), r, rstd);
          for (int i = 0; i < n; i++) c.set(k.y(), (long) r * n + i, c.get(k.x(), (long) r * n + i) * rstd * c.get(k.w(), i));
        }
      }
      case RmsNorm.Backward k -> {
        int n = k.x().columns();
        var dw = new double[n];
        for (int r = 0; r < k.x().rows(); r++) {
          double rstd = c.get(k.rstd(), r);
          double mean = 0;
          for (int i = 0; i < n; i++) mean += c.get(k.w(), i) * c.get(k.dy(), (long) r * n + i) * c.get(k.x(), (long) r * n + i) / n;
          for (int i = 0; i < n; i++) {
            double x = c.get(k.x(), (long) r * n + i);
            double dy = c.get(k.dy(), (long) r * n + i);
            dw[i] += dy * x * rstd;
            c.put(k.dx(), (long) r * n + i, rstd * (c.get(k.w(), i) * dy - x * rstd * rstd * mean));
          }
        }
        for (int i = 0; i < n; i++) c.put(k.dw(), i, dw[i]);
      }
    }
  }
}
