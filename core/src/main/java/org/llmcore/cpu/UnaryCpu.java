package org.llmcore.cpu;

import org.llmcore.op.Unary;
import org.llmcore.op.Unary.Function;
import org.llmcore.tensor.Memory;

/// `Unary` on the CPU, split by elements. tanh and GELU have one scalar form for all tiers, through `StrictMath`,
/// whose bits are the same on every platform, and the logarithm one beside machine code; the others are vectors with a scalar rest.
final class UnaryCpu {
  private UnaryCpu() {}

  static void run(Lanes lanes, Workers workers, Unary kernel) {
    switch (kernel) {
      case Unary.Forward k -> Rows.split(
          workers, k.x().elements(), 1,
          (from, to, s) -> forward(lanes, k, from, (int) (to - from), s));
      case Unary.Backward k -> {
        if (k.dx().wanted()) Rows.split(
            workers, k.x().elements(), 1,
            (from, to, s) -> backward(lanes, k, from, (int) (to - from), s));
      }
    }
  }

  private static void forward(Lanes lanes, Unary.Forward k, long from, int n, Scratch scratch) {
    long x = Rows.read(lanes, k.x(), from, n, scratch.floats(n));
    long y = Rows.target(k.y(), from, scratch.floats(n));
    switch (k.f()) {
      case NEG -> Rows.scale(lanes, y, x, -1, n);
      case EXP -> Rows.exp(lanes, y, x, 1, 0, n);
      case LOG -> Rows.log(lanes, y, x, n);
      case SQRT -> sqrt(lanes, y, x, n);
      case RSQRT -> rsqrt(lanes, y, x, n);
      case SQUARE -> Rows.multiply(lanes, y, x, x, n);
      case SIGMOID -> Rows.sigmoid(lanes, y, x, n);
      case RELU -> relu(lanes, y, x, n);
      case SILU -> {
        if (lanes.emitted()) {
          ElementCode.SILU.run(y, x, n);
        } else {
          long sigma = scratch.floats(n);
          Rows.sigmoid(lanes, sigma, x, n);
          Rows.multiply(lanes, y, x, sigma, n);
        }
      }
      case TANH -> {
        for (int i = 0; i < n; i++) Memory.f32(y + 4L * i, (float) StrictMath.tanh(Memory.f32(x + 4L * i)));
      }
      case GELU -> {
        for (int i = 0; i < n; i++) Memory.f32(y + 4L * i, (float) (Memory.f32(x + 4L * i) * normal(Memory.f32(x + 4L * i))));
      }
    }
    Rows.write(lanes, k.y(), from, n, y);
  }

  private static void sqrt(Lanes lanes, long y, long x, int n) {
    if (lanes.emitted()) {
      ElementCode.SQRT.run(y, x, n);
      return;
    }
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) Lanes.store(y + 4L * i, Lanes.load(x + 4L * i).sqrt());
    for (; i < n; i++) Memory.f32(y + 4L * i, (float) Math.sqrt(Memory.f32(x + 4L * i)));
  }

  private static void rsqrt(Lanes lanes, long y, long x, int n) {
    if (lanes.emitted()) {
      ElementCode.RSQRT.run(y, x, n);
      return;
    }
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) Lanes.store(y + 4L * i, Lanes.all(1).div(Lanes.load(x + 4L * i).sqrt()));
    for (; i < n; i++) Memory.f32(y + 4L * i, 1 / (float) Math.sqrt(Memory.f32(x + 4L * i)));
  }

  private static void relu(Lanes lanes, long y, long x, int n) {
    if (lanes.emitted()) {
      ElementCode.RELU.run(y, x, n);
      return;
    }
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) Lanes.store(y + 4L * i, Lanes.load(x + 4L * i).max(0));
    for (; i < n; i++) Memory.f32(y + 4L * i, Math.max(Memory.f32(x + 4L * i), 0));
  }

  private static void backward(Lanes lanes, Unary.Backward k, long from, int n, Scratch scratch) {
    long dy = Rows.read(lanes, k.dy(), from, n, scratch.floats(n));
    long x = Rows.read(lanes, k.x(), from, n, scratch.floats(n));
    long y = Rows.read(lanes, k.y(), from, n, scratch.floats(n));
    long dx = Rows.target(k.dx(), from, scratch.floats(n));
    switch (k.f()) {
      case EXP -> Rows.multiply(lanes, dx, dy, y, n);
      case TANH -> tanh(lanes, dx, dy, y, n);
      case SIGMOID -> sigmoid(lanes, dx, dy, y, n);
      case SILU -> {
        if (lanes.emitted()) {
          ElementCode.SILU_SLOPE.run(dx, dy, x, n);
        } else {
          long sigma = scratch.floats(n);
          Rows.sigmoid(lanes, sigma, x, n);
          silu(lanes, dx, dy, x, sigma, n);
        }
      }
      case NEG, LOG, SQRT, RSQRT, SQUARE, RELU, GELU -> {
        for (int i = 0; i < n; i++) {
          Memory.f32(dx + 4L * i, Memory.f32(dy + 4L * i) * derivative(k.f(), Memory.f32(x + 4L * i), Memory.f32(y + 4L * i)));
        }
      }
    }
    Rows.write(lanes, k.dx(), from, n, dx);
  }

  private static void tanh(Lanes lanes, long dx, long dy, long y, int n) {
    if (lanes.emitted()) {
      ElementCode.TANH_SLOPE.run(dx, dy, y, n);
      return;
    }
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) {
      var v = Lanes.load(y + 4L * i);
      Lanes.store(dx + 4L * i, Lanes.load(dy + 4L * i).mul(v.neg().fma(v, Lanes.all(1))));
    }
    for (; i < n; i++) Memory.f32(dx + 4L * i,
        Memory.f32(dy + 4L * i) * Math.fma(-Memory.f32(y + 4L * i), Memory.f32(y + 4L * i), 1));
  }

  private static void sigmoid(Lanes lanes, long dx, long dy, long y, int n) {
    if (lanes.emitted()) {
      ElementCode.SIGMOID_SLOPE.run(dx, dy, y, n);
      return;
    }
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) {
      var v = Lanes.load(y + 4L * i);
      Lanes.store(dx + 4L * i, Lanes.load(dy + 4L * i).mul(v.mul(Lanes.all(1).sub(v))));
    }
    for (; i < n; i++) Memory.f32(dx + 4L * i, Memory.f32(dy + 4L * i) * (Memory.f32(y + 4L * i) * (1 - Memory.f32(y + 4L * i))));
  }

  private static void silu(Lanes lanes, long dx, long dy, long x, long sigma, int n) {
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) {
      var s = Lanes.load(sigma + 4L * i);
      var slope = s.mul(Lanes.load(x + 4L * i).fma(Lanes.all(1).sub(s), Lanes.all(1)));
      Lanes.store(dx + 4L * i, Lanes.load(dy + 4L * i).mul(slope));
    }
    for (; i < n; i++) {
      float s = Memory.f32(sigma + 4L * i);
      Memory.f32(dx + 4L * i, Memory.f32(dy + 4L * i) * (s * Math.fma(Memory.f32(x + 4L * i), 1 - s, 1)));
    }
  }

  /// The derivatives that are one cheap expression, or double precision anyway; one scalar form for both tiers.
  private static float derivative(Function f, float x, float y) {
    return switch (f) {
      case NEG -> -1;
      case LOG -> 1 / x;
      case SQRT -> 1 / (2 * y);
      case RSQRT -> -y / (2 * x);
      case SQUARE -> 2 * x;
      case RELU -> x > 0 ? 1 : 0;
      case GELU -> (float) (normal(x) + x * StrictMath.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI));
      case EXP, TANH, SIGMOID, SILU -> throw new IllegalArgumentException(f + " has a vector form");
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
