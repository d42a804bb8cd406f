package org.llmcore.reference;

import org.llmcore.op.Reduce;
import org.llmcore.tensor.Tensor;

/// Along one axis.
final class ReduceReference {
  private ReduceReference() {}

  static void run(Cells c, Reduce kernel) {
    switch (kernel) {
      case Reduce.Forward k -> {
        for (long i = 0; i < k.y().elements(); i++) {
          double s = k.f() == Reduce.Function.MAX ? Double.NEGATIVE_INFINITY : 0;
          int n = k.x().dim(k.axis());
          for (int j = 0; j < n; j++) {
            double x = c.get(k.x(), at(k.x(), k.axis(), i, j));
            s = k.f() == Reduce.Function.MAX ? Math.max(s, x) : s + x;
          }
          c.set(k.y(), i, k.f() == Reduce.Function.MEAN ? s / n : s);
        }
      }
      case Reduce.Backward k -> {
        int n = k.x().dim(k.axis());
        for (long i = 0; i < k.dy().elements(); i++) {
          double dy = c.get(k.dy(), i);
          boolean found = false;
          for (int j = 0; j < n; j++) {
            long at = at(k.x(), k.axis(), i, j);
            boolean first = !found && c.get(k.x(), at) == c.get(k.y(), i);
            found |= first;
            c.put(
                k.dx(), at,
                switch (k.f()) {
                  case SUM -> dy;
                  case MEAN -> dy / n;
                  case MAX -> first ? dy : 0;
                });
          }
        }
      }
    }
  }

  private static long at(Tensor x, int axis, long i, int j) {
    long inner = x.shape().span(axis + 1, x.shape().rank());
    return (i / inner * x.dim(axis) + j) * inner + i % inner;
  }
}
