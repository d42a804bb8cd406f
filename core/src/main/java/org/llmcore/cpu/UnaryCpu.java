package org.llmcore.cpu;

import org.llmcore.op.Unary;
import org.llmcore.op.Unary.Function;
import org.llmcore.tensor.Memory;

/// `Unary` on the CPU, split by elements. Logarithm, tanh and GELU have one scalar form for both tiers, through `StrictMath`,
/// whose bits are the same on every platform; the others are vectors with a scalar rest.
final class UnaryCpu {
  private UnaryCpu() {}

  static void run(Lanes lanes, Workers workers, Unary kernel) {
    switch (kernel) {
      case Unary.Forward k -> Rows.split(workers, k.x().elements(), 1, (from, to, s) -> forward(lanes, k, from, (int) (to - from), s));
      case Unary.Backward k -> {
        if (k.dx().wanted()) Rows.split(workers, k.x().elements(), 1, (from, to, s) -> backward(lanes, k, from, (int) (to - from), s));
      }
    }
  }

  private static void forward(Lanes lanes, Unary.Forward k, long from, int n, Scratch scratch) {
    long x = Rows.read(lanes, k.x(), from, n, scratch.floats(n));
    long y = Rows.target(k.y(), from, scratch.floats(n));
    for (int i = forward(k.f(), y, x, lanes.whole(n)); i < n; i++) Memory.f32(y + 4L * i, value(k.f(), Memory.f32(x + 4L * i)));
    Rows.write(lanes, k.y(), from, n, y);
  }

  private static int forward(Function f, long y, long x, int n) {
    int i = 0;
    switch (f) {
      case NEG -> {
        for (; i < n; i += Lanes.N) Lanes.store(y + 4L * i, Lanes.load(x + 4L * i).neg());
      }
      case EXP -> {
        for (; i < n; i += Lanes.N) Lanes.store(y + 4L * i, Exp.of(Lanes.load(x + 4L * i)));
      }
      case SQRT -> {
        for (; i < n; i += Lanes.N) Lanes.store(y + 4L * i, Lanes.load(x + 4L * i).sqrt());
      }
      case RSQRT -> {
        for (; i < n; i += Lanes.N) Lanes.store(y + 4L * i, Lanes.all(1).div(Lanes.load(x + 4L * i).sqrt()));
      }
      case SQUARE -> {
        for (; i < n; i += Lanes.N) Lanes.store(y + 4L * i, Lanes.load(x + 4L * i).mul(Lanes.load(x + 4L * i)));
      }
      case SIGMOID -> {
        for (; i < n; i += Lanes.N) Lanes.store(y + 4L * i, Exp.sigmoid(Lanes.load(x + 4L * i)));
      }
      case RELU -> {
        for (; i < n; i += Lanes.N) Lanes.store(y + 4L * i, Lanes.load(x + 4L * i).max(0));
      }
      case SILU -> {
        for (; i < n; i += Lanes.N) Lanes.store(y + 4L * i, Lanes.load(x + 4L * i).mul(Exp.sigmoid(Lanes.load(x + 4L * i))));
      }
      case LOG, TANH, GELU -> {}
    }
    return i;
  }

  private static float value(Function f, float x) {
    return switch (f) {
      case NEG -> -x;
      case EXP -> Exp.of(x);
      case LOG -> (float) StrictMath.log(x);
      case SQRT -> (float) Math.sqrt(x);
      case RSQRT -> 1 / (float) Math.sqrt(x);
      case SQUARE -> x * x;
      case TANH -> (float) StrictMath.tanh(x);
      case SIGMOID -> Exp.sigmoid(x);
      case RELU -> Math.max(x, 0);
      case SILU -> x * Exp.sigmoid(x);
      case GELU -> (float) (x * normal(x));
    };
  }

  private static void backward(Lanes lanes, Unary.Backward k, long from, int n, Scratch scratch) {
    long dy = Rows.read(lanes, k.dy(), from, n, scratch.floats(n));
    long x = Rows.read(lanes, k.x(), from, n, scratch.floats(n));
    long y = Rows.read(lanes, k.y(), from, n, scratch.floats(n));
    long dx = Rows.target(k.dx(), from, scratch.floats(n));
    for (int i = backward(k.f(), dx, dy, x, y, lanes.whole(n)); i < n; i++) {
      long at = 4L * i;
      Memory.f32(dx + at, Memory.f32(dy + at) * derivative(k.f(), Memory.f32(x + at), Memory.f32(y + at)));
    }
    Rows.write(lanes, k.dx(), from, n, dx);
  }

  private static int backward(Function f, long dx, long dy, long x, long y, int n) {
    int i = 0;
    var one = Lanes.all(1);
    switch (f) {
      case SQUARE -> {
        for (; i < n; i += Lanes.N) Lanes.store(dx + 4L * i, Lanes.load(dy + 4L * i).mul(Lanes.load(x + 4L * i).mul(2)));
      }
      case EXP -> {
        for (; i < n; i += Lanes.N) Lanes.store(dx + 4L * i, Lanes.load(dy + 4L * i).mul(Lanes.load(y + 4L * i)));
      }
      case TANH -> {
        for (; i < n; i += Lanes.N) {
          var v = Lanes.load(y + 4L * i);
          Lanes.store(dx + 4L * i, Lanes.load(dy + 4L * i).mul(v.neg().fma(v, one)));
        }
      }
      case SIGMOID -> {
        for (; i < n; i += Lanes.N) {
          var v = Lanes.load(y + 4L * i);
          Lanes.store(dx + 4L * i, Lanes.load(dy + 4L * i).mul(v.mul(one.sub(v))));
        }
      }
      case SILU -> {
        for (; i < n; i += Lanes.N) {
          var v = Lanes.load(x + 4L * i);
          var s = Exp.sigmoid(v);
          Lanes.store(dx + 4L * i, Lanes.load(dy + 4L * i).mul(s.mul(v.fma(one.sub(s), one))));
        }
      }
      case NEG, LOG, SQRT, RSQRT, RELU, GELU -> {}
    }
    return i;
  }

  private static float derivative(Function f, float x, float y) {
    return switch (f) {
      case NEG -> -1;
      case EXP -> y;
      case LOG -> 1 / x;
      case SQRT -> 1 / (2 * y);
      case RSQRT -> -y / (2 * x);
      case SQUARE -> x * 2;
      case TANH -> Math.fma(-y, y, 1);
      case SIGMOID -> y * (1 - y);
      case RELU -> x > 0 ? 1 : 0;
      case SILU -> {
        float s = Exp.sigmoid(x);
        yield s * Math.fma(x, 1 - s, 1);
      }
      case GELU -> (float) (normal(x) + x * StrictMath.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI));
    };
  }

  /// Φ, the distribution function of the standard normal, by the series of positive terms
  /// erf(z) = 2/√π · e^(−z²) · Σ_n z·(2z²)ⁿ/(2n+1)!! (Abramowitz & Stegun 7.1.6), absolute error below 1e-15.
  private static double normal(double x) {
    double z = x / Math.sqrt(2);
    if (Math.abs(z) > 6) return x > 0 ? 1 : 0;
    double term = z;
    double sum = z;
    for (int n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= 2 * z * z / (2 * n + 1);
      sum += term;
    }
    return 0.5 + StrictMath.exp(-z * z) * sum / Math.sqrt(Math.PI);
  }
}
