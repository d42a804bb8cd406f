package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routines;
import org.llmcore.cpu.code.Vec;
import org.llmcore.op.Binary;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// The loops of `Rows` as machine code for AVX-512. Rows are f32 but for `convert`.
final class RowCode {
  private enum Loops {
    SCALE,
    DIVIDE,
    MAX,
    FILL,
    LARGEST,
    EXP,
    SIGMOID,
    SUM,
    SUM_INTO,
    DOT,
    DOT_INTO
  }

  private static final Routines LOOPS = new Routines(Loops.values().length, i -> write(Loops.values()[i]));
  private static final Routines CONVERT = new Routines(8, RowCode::convert);
  private static final Routines COMBINE = new Routines(32, RowCode::combine);

  private RowCode() {}

  /// Whether code reads and writes this dtype where it lies.
  static boolean reads(DType dtype) {
    return dtype == DType.F32 || dtype == DType.BF16;
  }

  static boolean reads(Tensor... tensors) {
    for (var t : tensors) if (!reads(t.dtype())) return false;
    return true;
  }

  /// The same of the sinks that anybody wants.
  static boolean reads(Sink... sinks) {
    for (var s : sinks) if (s.wanted() && !reads(s.tensor())) return false;
    return true;
  }

  /// Address of element i.
  static long at(Tensor t, long i) {
    return t.address() + t.dtype().bytes() * i;
  }

  static int bit(DType dtype) {
    return dtype == DType.BF16 ? 1 : 0;
  }

  static DType dtype(int bit) {
    return (bit & 1) == 1 ? DType.BF16 : DType.F32;
  }

  private static long bits(float x) {
    return Float.floatToRawIntBits(x);
  }

  static void scale(long y, long x, float a, int n) {
    LOOPS.get(Loops.SCALE.ordinal()).brief(y, x, n, bits(a));
  }

  static void divide(long y, float divisor, int n) {
    LOOPS.get(Loops.DIVIDE.ordinal()).brief(y, bits(divisor), n, 0);
  }

  static void max(long y, long x, int n) {
    LOOPS.get(Loops.MAX.ordinal()).brief(y, x, n, 0);
  }

  static void fill(long y, float value, long n) {
    LOOPS.get(Loops.FILL.ordinal()).brief(y, bits(value), n, 0);
  }

  static float max(long x, int n) {
    return Float.intBitsToFloat((int) LOOPS.get(Loops.LARGEST.ordinal()).brief(x, n, 0, 0));
  }

  static void exp(long y, long x, float factor, float shift, int n) {
    LOOPS.get(Loops.EXP.ordinal()).brief(y, x, n, bits(factor), bits(shift), 0);
  }

  static void sigmoid(long y, long x, int n) {
    LOOPS.get(Loops.SIGMOID.ordinal()).brief(y, x, n, 0);
  }

  static float sum(long x, int n) {
    return Float.intBitsToFloat((int) LOOPS.get(Loops.SUM.ordinal()).brief(x, n, 0, 0));
  }

  static void sumInto(long partials, long x, int n) {
    LOOPS.get(Loops.SUM_INTO.ordinal()).brief(x, n, partials, 0);
  }

  static float dot(long a, long b, int n) {
    return Float.intBitsToFloat((int) LOOPS.get(Loops.DOT.ordinal()).brief(a, b, n, 0));
  }

  static void dotInto(long partials, long a, long b, int n) {
    LOOPS.get(Loops.DOT_INTO.ordinal()).brief(a, b, n, partials);
  }

  /// y = x, or y += x, of any of the dtypes of `reads`.
  static void convert(long y, DType to, boolean add, long x, DType from, int n) {
    CONVERT.get(bit(to) | bit(from) << 1 | (add ? 4 : 0)).brief(y, x, n, 0);
  }

  /// y = f(a, b), of any of the dtypes of `reads`.
  static void combine(Binary.Function f, long y, DType dy, long a, DType da, long b, DType db, int n) {
    COMBINE.get(f.ordinal() << 3 | bit(db) << 2 | bit(da) << 1 | bit(dy)).brief(y, a, b, n);
  }

  private static Assembler convert(int variant) {
    var c = new Loop();
    var to = dtype(variant);
    var v = zmm(0);
    c.narrows(to);
    c.each(
        RDX,
        () -> {
          c.load(v, RSI, dtype(variant >> 1));
          c.store(RDI, to, variant > 3, v, zmm(1));
        });
    return c.end();
  }

  private static Assembler combine(int variant) {
    var c = new Loop();
    var a = zmm(0);
    var b = zmm(1);
    c.narrows(dtype(variant));
    c.each(
        RCX,
        () -> {
          c.load(a, RSI, dtype(variant >> 1));
          c.load(b, RDX, dtype(variant >> 2));
          switch (Binary.Function.values()[variant >> 3]) {
            case ADD -> c.a.vaddps(a, a, b);
            case SUB -> c.a.vsubps(a, a, b);
            case MUL -> c.a.vmulps(a, a, b);
            case DIV -> c.a.vdivps(a, a, b);
          }
          c.store(RDI, dtype(variant), false, a, b);
        });
    return c.end();
  }

  private static Assembler write(Loops loop) {
    var c = new Loop();
    return switch (loop) {
      case SCALE -> {
        var factor = c.all(RCX);
        yield map(c, () -> c.a.vmulps(zmm(0), zmm(0), factor));
      }
      case DIVIDE -> {
        var divisor = c.all(RSI);
        c.a.mov(RSI, RDI); // in place
        yield map(c, () -> c.a.vdivps(zmm(0), zmm(0), divisor));
      }
      case FILL -> {
        var value = c.all(RSI);
        c.each(RDX, () -> c.store(RDI, DType.F32, false, value, value));
        yield c.end();
      }
      case EXP -> {
        var exp = new ExpCode(c);
        var factor = c.all(RCX);
        var shift = c.all(R8);
        yield map(
            c,
            () -> {
              c.a.vmovaps(zmm(1), shift);
              c.a.vfmadd231ps(zmm(1), zmm(0), factor);
              exp.of(zmm(0), zmm(1), zmm(2));
            });
      }
      case SIGMOID -> {
        var exp = new ExpCode(c);
        yield map(
            c,
            () -> {
              c.a.vmovaps(zmm(1), zmm(0));
              exp.sigmoid(zmm(0), zmm(1), zmm(2));
            });
      }
      case MAX -> {
        c.each(
            RDX,
            () -> {
              c.load(zmm(0), RDI, DType.F32);
              c.load(zmm(1), RSI, DType.F32);
              larger(c, zmm(0), zmm(1), zmm(2));
              c.store(RDI, DType.F32, false, zmm(0), zmm(1));
            });
        yield c.end();
      }
      case LARGEST -> largest(c);
      case SUM -> {
        c.a.vpxord(zmm(0), zmm(0), zmm(0));
        c.each(RSI, () -> sum(c));
        c.total(zmm(0), zmm(1));
        yield c.returns(zmm(0));
      }
      case SUM_INTO -> {
        c.a.vmovups(zmm(0), RDX.at(0));
        c.each(RSI, () -> sum(c));
        c.a.vmovups(RDX.at(0), zmm(0));
        yield c.end();
      }
      case DOT -> {
        c.a.vpxord(zmm(0), zmm(0), zmm(0));
        c.each(RDX, () -> dot(c));
        c.total(zmm(0), zmm(1));
        yield c.returns(zmm(0));
      }
      case DOT_INTO -> {
        c.a.vmovups(zmm(0), RCX.at(0));
        c.each(RDX, () -> dot(c));
        c.a.vmovups(RCX.at(0), zmm(0));
        yield c.end();
      }
    };
  }

  /// y (RDI) = body of x (RSI), n in RDX, in zmm0.
  private static Assembler map(Loop c, Runnable body) {
    c.each(
        RDX,
        () -> {
          c.load(zmm(0), RSI, DType.F32);
          body.run();
          c.store(RDI, DType.F32, false, zmm(0), zmm(1));
        });
    return c.end();
  }

  private static void sum(Loop c) {
    c.load(zmm(1), RDI, DType.F32);
    c.a.vaddps(c.kept(zmm(0)), zmm(0), zmm(1));
  }

  private static void dot(Loop c) {
    c.load(zmm(1), RDI, DType.F32);
    c.load(zmm(2), RSI, DType.F32);
    c.a.vfmadd231ps(c.kept(zmm(0)), zmm(1), zmm(2));
  }

  /// d = max(d, x) as `Math.max`: NaN wins, 0 is above −0; `spare` and mask k3 are overwritten.
  private static void larger(Loop c, Vec d, Vec x, Vec spare) {
    c.a.vpandd(spare, d, x); // the larger of two zeros, and of two equals
    c.a.vcmpps(3, d, x, 0);
    c.a.vmaxps(d, x, d); // d where either is NaN
    c.a.vmovaps(d.keep(3), spare);
    c.a.vcmpps(3, x, x, 3);
    c.a.vmovaps(d.keep(3), x);
  }

  private static Assembler largest(Loop c) {
    c.a.vmovaps(zmm(0), c.all(Float.NEGATIVE_INFINITY));
    c.each(
        RSI,
        () -> {
          c.a.vmovaps(zmm(1), zmm(0)); // a lane beyond the row is compared with itself
          c.a.vmovups(c.kept(zmm(1)), RDI.at(RAX, 4, 0));
          larger(c, zmm(0), zmm(1), zmm(2));
        });
    for (int lanes = 8; lanes > 0; lanes /= 2) {
      switch (lanes) {
        case 8 -> c.a.vshuff32x4(zmm(1), zmm(0), zmm(0), 0b11_10_11_10);
        case 4 -> c.a.vshuff32x4(zmm(1), zmm(0), zmm(0), 0b01_01_01_01);
        case 2 -> c.a.vshufps(zmm(1), zmm(0), zmm(0), 0b11_10_11_10);
        default -> c.a.vshufps(zmm(1), zmm(0), zmm(0), 0b01_01_01_01);
      }
      larger(c, zmm(0), zmm(1), zmm(2));
    }
    return c.returns(zmm(0));
  }
}
