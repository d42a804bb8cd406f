package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routines;
import org.llmcore.cpu.code.Vec;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// Functions of the elements of one or two f32 rows and up to two scalars, as machine code: y = f(a, b; s, t).
enum ElementCode {
  /// a·s
  SCALE,
  /// a/s
  DIVIDE,
  /// a − s
  MINUS,
  /// exp(a·s + t)
  EXP,
  LOG,
  SIGMOID,
  /// a·σ(a)
  SILU,
  SQRT,
  RSQRT,
  RELU,
  /// max(a, b) as `Math.max`
  MAX(true),
  /// a·(1 − b²)
  TANH_SLOPE(true),
  /// a·b·(1 − b)
  SIGMOID_SLOPE(true),
  /// a·σ(b)·(1 + b·(1 − σ(b)))
  SILU_SLOPE(true),
  /// (a − s)·b
  SOFTMAX_SLOPE(true),
  /// a + s·exp(b)
  LOG_SOFTMAX_SLOPE(true);

  private static final Routines ROUTINES = new Routines(values().length, i -> values()[i].write());

  private final boolean two;

  ElementCode() {
    this(false);
  }

  ElementCode(boolean two) {
    this.two = two;
  }

  void run(long y, long a, int n) {
    run(y, a, 0, n, 0, 0);
  }

  void run(long y, long a, long b, int n) {
    run(y, a, b, n, 0, 0);
  }

  void run(long y, long a, long b, int n, float s, float t) {
    ROUTINES.get(ordinal()).brief(y, a, b, n, Float.floatToRawIntBits(s), Float.floatToRawIntBits(t));
  }

  private Assembler write() {
    var c = new Loop();
    var code = c.a;
    var a = zmm(0);
    var b = zmm(1);
    var exp =
        switch (this) {
          case EXP, SIGMOID, SILU, SILU_SLOPE, LOG_SOFTMAX_SLOPE -> new ExpCode(c);
          default -> null;
        };
    var log = this == LOG ? new LogCode(c) : null;
    var s = c.all(R8);
    var t = c.all(R9);
    var one = c.all(1f);
    var zero = c.all(0f);
    var x = zmm(2);
    var spare = zmm(3);
    c.begin(RCX);
    do {
      c.load(a, RSI, DType.F32);
      if (two) c.load(b, RDX, DType.F32);
      switch (this) {
        case SCALE -> code.vmulps(a, a, s);
        case DIVIDE -> code.vdivps(a, a, s);
        case MINUS -> code.vsubps(a, a, s);
        case EXP -> {
          code.vmovaps(x, t);
          code.vfmadd231ps(x, a, s);
          exp.of(a, x, spare);
        }
        case LOG -> log.of(a, a);
        case SIGMOID -> {
          code.vmovaps(x, a);
          exp.sigmoid(a, x, spare);
        }
        case SILU -> {
          code.vmovaps(x, a);
          exp.sigmoid(b, x, spare);
          code.vmulps(a, a, b);
        }
        case SQRT -> code.vsqrtps(a, a);
        case RSQRT -> {
          code.vsqrtps(a, a);
          code.vdivps(a, one, a);
        }
        case RELU -> larger(c, a, zero, spare);
        case MAX -> larger(c, a, b, spare);
        case TANH_SLOPE -> {
          code.vmovaps(x, one);
          code.vfnmadd231ps(x, b, b);
          code.vmulps(a, a, x);
        }
        case SIGMOID_SLOPE -> {
          code.vsubps(x, one, b);
          code.vmulps(x, b, x);
          code.vmulps(a, a, x);
        }
        case SILU_SLOPE -> {
          code.vmovaps(x, b);
          exp.sigmoid(zmm(4), x, spare);
          code.vsubps(x, one, zmm(4));
          code.vfmadd213ps(x, b, one);
          code.vmulps(x, zmm(4), x);
          code.vmulps(a, a, x);
        }
        case SOFTMAX_SLOPE -> {
          code.vsubps(a, a, s);
          code.vmulps(a, a, b);
        }
        case LOG_SOFTMAX_SLOPE -> {
          exp.of(x, b, spare);
          code.vfmadd231ps(a, x, s);
        }
      }
      c.store(RDI, DType.F32, false, a, spare);
    } while (c.again());
    return c.end();
  }

  /// d = max(d, x) as `Math.max`: NaN wins, 0 is above −0; `spare` and mask k3 are overwritten.
  static void larger(Loop c, Vec d, Vec x, Vec spare) {
    c.a.vpandd(spare, d, x); // the larger of two zeros, and of two equals
    c.a.vcmpps(3, d, x, 0);
    c.a.vmaxps(d, x, d); // d where either is NaN
    c.a.vmovaps(d.keep(3), spare);
    c.a.vcmpps(3, x, x, 3);
    c.a.vmovaps(d.keep(3), x);
  }
}
