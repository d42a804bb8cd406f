package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routines;
import org.llmcore.op.Binary;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// The loops of `Rows` that move or add up, as machine code for AVX-512. Rows are f32 but for `convert` and `combine`.
final class RowCode {
  private enum Loops {
    FILL,
    LARGEST,
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

  static void fill(long y, float value, long n) {
    var code = LOOPS.get(Loops.FILL.ordinal());
    if (n <= Rows.WIDE) code.brief(y, bits(value), n, 0);
    else code.run(y, bits(value), n);
  }

  static float max(long x, int n) {
    return Float.intBitsToFloat((int) LOOPS.get(Loops.LARGEST.ordinal()).brief(x, n, 0, 0));
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
    convert(y, 0, to, add, x, 0, from, 1, n);
  }

  /// The same of so many rows, at least one, that lie so many bytes apart.
  static void convert(long y, long yPitch, DType to, boolean add, long x, long xPitch, DType from, int rows, int n) {
    CONVERT.get(bit(to) | bit(from) << 1 | (add ? 4 : 0)).brief(y, x, n, rows, yPitch, xPitch);
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
    var row = c.a.here();
    c.begin(RDX);
    do {
      c.load(v, RSI, dtype(variant >> 1));
      c.store(RDI, to, variant > 3, v, zmm(1));
    } while (c.again());
    c.a.add(RDI, R8);
    c.a.add(RSI, R9);
    c.a.dec(RCX);
    c.a.j(Condition.NOT_EQUAL, row);
    return c.end();
  }

  private static Assembler combine(int variant) {
    var c = new Loop();
    var a = zmm(0);
    var b = zmm(1);
    c.narrows(dtype(variant));
    c.begin(RCX);
    do {
      c.load(a, RSI, dtype(variant >> 1));
      c.load(b, RDX, dtype(variant >> 2));
      switch (Binary.Function.values()[variant >> 3]) {
        case ADD -> c.a.vaddps(a, a, b);
        case SUB -> c.a.vsubps(a, a, b);
        case MUL -> c.a.vmulps(a, a, b);
        case DIV -> c.a.vdivps(a, a, b);
      }
      c.store(RDI, dtype(variant), false, a, b);
    } while (c.again());
    return c.end();
  }

  private static Assembler write(Loops loop) {
    var c = new Loop();
    return switch (loop) {
      case FILL -> {
        var value = c.all(RSI);
        c.begin(RDX);
        do {
          c.store(RDI, DType.F32, false, value, value);
        } while (c.again());
        yield c.end();
      }
      case LARGEST -> largest(c);
      case SUM -> {
        c.a.vpxord(zmm(0), zmm(0), zmm(0));
        c.begin(RSI);
        do {
          sum(c);
        } while (c.again());
        c.total(zmm(0), zmm(1));
        yield c.returns(zmm(0));
      }
      case SUM_INTO -> {
        c.a.vmovups(zmm(0), RDX.at(0));
        c.begin(RSI);
        do {
          sum(c);
        } while (c.again());
        c.a.vmovups(RDX.at(0), zmm(0));
        yield c.end();
      }
      case DOT -> {
        c.a.vpxord(zmm(0), zmm(0), zmm(0));
        c.begin(RDX);
        do {
          dot(c);
        } while (c.again());
        c.total(zmm(0), zmm(1));
        yield c.returns(zmm(0));
      }
      case DOT_INTO -> {
        c.a.vmovups(zmm(0), RCX.at(0));
        c.begin(RDX);
        do {
          dot(c);
        } while (c.again());
        c.a.vmovups(RCX.at(0), zmm(0));
        yield c.end();
      }
    };
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

  private static Assembler largest(Loop c) {
    c.a.vmovaps(zmm(0), c.all(Float.NEGATIVE_INFINITY));
    c.begin(RSI);
    do {
      c.a.vmovaps(zmm(1), zmm(0)); // a lane beyond the row is compared with itself
      c.a.vmovups(c.kept(zmm(1)), RDI.at(RAX, 4, 0));
      ElementCode.larger(c, zmm(0), zmm(1), zmm(2));
    } while (c.again());
    for (int lanes = 8; lanes > 0; lanes /= 2) {
      switch (lanes) {
        case 8 -> c.a.vshuff32x4(zmm(1), zmm(0), zmm(0), 0b11_10_11_10);
        case 4 -> c.a.vshuff32x4(zmm(1), zmm(0), zmm(0), 0b01_01_01_01);
        case 2 -> c.a.vshufps(zmm(1), zmm(0), zmm(0), 0b11_10_11_10);
        default -> c.a.vshufps(zmm(1), zmm(0), zmm(0), 0b01_01_01_01);
      }
      ElementCode.larger(c, zmm(0), zmm(1), zmm(2));
    }
    return c.returns(zmm(0));
  }
}
