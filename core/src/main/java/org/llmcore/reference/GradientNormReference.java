package org.llmcore.reference;

import org.llmcore.op.GradientNorm;

/// Sums of squares, and the factor that clips their root.
final class GradientNormReference {
  private GradientNormReference() {}

  static void run(Cells c, GradientNorm kernel) {
    switch (kernel) {
      case GradientNorm.SumOfSquares k -> {
        double s = 0;
        for (long i = 0; i < k.x().elements(); i++) s += c.get(k.x(), i) * c.get(k.x(), i);
        c.set(k.sums(), k.slot(), s);
      }
      case GradientNorm.Clip k -> {
        double s = 0;
        for (int i = 0; i < k.slots(); i++) s += c.get(k.sums(), i);
        double norm = Math.sqrt(s);
        c.set(k.norm(), 0, norm);
        c.set(k.factor(), 0, k.max() <= 0 ? 1 : Math.min(1, k.max() / (norm + 1e-6)));
      }
    }
  }
}
