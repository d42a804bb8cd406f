package org.llmcore.reference;

import org.llmcore.op.Unary;

/// The table of `op.Unary`.
final class UnaryReference {
  private UnaryReference() {}

  static void run(Cells c, Unary kernel) {
    switch (kernel) {
      case Unary.Forward k -> {
        for (long i = 0; i < k.x().elements(); i++) c.set(k.y(), i, value(k.f(), c.get(k.x(), i)));
      }
      case Unary.Backward k -> {
        for (long i = 0; i < k.x().elements(); i++) c.put(k.dx(), i, c.get(k.dy(), i) * slope(k.f(), c.get(k.x(), i), c.get(k.y(), i)));
      }
    }
  }

  private static double value(Unary.Function f, double x) {
    return switch (f) {
      case NEG -> -x;
      case EXP -> Math.exp(x);
      case LOG -> Math.log(x);
      case SQRT -> Math.sqrt(x);
      case RSQRT -> 1 / Math.sqrt(x);
      case SQUARE -> x * x;
      case TANH -> Math.tanh(x);
      case SIGMOID -> SwiGluReference.sigmoid(x);
      case RELU -> Math.max(x, 0);
      case SILU -> x * SwiGluReference.sigmoid(x);
      case GELU -> x * normal(x);
    };
  }

  private static double slope(Unary.Function f, double x, double y) {
    return switch (f) {
      case NEG -> -1;
      case EXP -> y;
      case LOG -> 1 / x;
      case SQRT -> 1 / (2 * y);
      case RSQRT -> -y / (2 * x);
      case SQUARE -> 2 * x;
      case TANH -> 1 - y * y;
      case SIGMOID -> y * (1 - y);
      case RELU -> x > 0 ? 1 : 0;
      case SILU -> SwiGluReference.sigmoid(x) * (1 + x * (1 - SwiGluReference.sigmoid(x)));
      case GELU -> normal(x) + x * Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
    };
  }

  /// Φ(x), the normal distribution: for small |x| its Taylor series, which has only positive terms after the first factor
  /// (Abramowitz & Stegun 26.2.11), for large |x| the continued fraction of its tail (26.2.14).
  static double normal(double x) {
    double density = Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
    if (Math.abs(x) < 5) {
      double term = x;
      double s = x;
      for (int n = 3; Math.abs(term) > 1e-18 * Math.abs(s) && n < 300; n += 2) s += term *= x * x / n;
      return 0.5 + density * s;
    }
    double a = Math.abs(x);
    double fraction = a;
    for (int n = 60; n >= 1; n--) fraction = a + n / fraction;
    double tail = density / fraction;
    return x > 0 ? 1 - tail : tail;
  }
}
