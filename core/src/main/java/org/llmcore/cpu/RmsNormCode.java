package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Loads;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Mem;
import org.llmcore.cpu.code.Routine;
import org.llmcore.cpu.code.Routines;
import org.llmcore.op.RmsNorm;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.RowCode.bit;
import static org.llmcore.cpu.RowCode.dtype;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.xmm;
import static org.llmcore.cpu.code.Vec.zmm;

/// `RmsNorm` as machine code: a stretch of rows in one call, each row read once for its sum and once more, from the first-level
/// cache, for its result.
final class RmsNormCode {
  private static final Routines FORWARD = new Routines(16, RmsNormCode::forward);
  private static final Routines DX = new Routines(32, RmsNormCode::dx);
  private static final Routines DW = new Routines(4, RmsNormCode::dw);

  private static final int ADDED = 8; // variants that sum first

  private RmsNormCode() {}

  static boolean takes(RmsNorm.Forward k) {
    return RowCode.reads(k.y(), k.x(), k.w());
  }

  static boolean takes(RmsNorm.ForwardAdded k) {
    return takes(k.norm()) && k.x().dtype() == k.h().dtype() && k.r().dtype() == k.h().dtype();
  }

  static boolean takes(RmsNorm.Backward k) {
    return RowCode.reads(k.dy(), k.x(), k.w()) && RowCode.reads(k.dx());
  }

  static void forward(RmsNorm.Forward k, long from, long to) {
    forward(k, from, to, 0, 0);
  }

  static void forward(RmsNorm.ForwardAdded k, long from, long to) {
    long n = k.h().columns();
    forward(k.norm(), from, to, RowCode.at(k.x(), from * n), RowCode.at(k.r(), from * n));
  }

  /// @param a where the first row's summands lie, or 0
  private static void forward(RmsNorm.Forward k, long from, long to, long a, long b) {
    int n = k.x().columns();
    FORWARD.get(bit(k.y().dtype()) | bit(k.x().dtype()) << 1 | bit(k.w().dtype()) << 2 | (a == 0 ? 0 : ADDED)).run(
        RowCode.at(k.y(), from * n), RowCode.at(k.x(), from * n), k.w().address(), RowCode.at(k.rstd(), from), to - from, n,
        Float.floatToRawIntBits(k.eps()), Float.floatToRawIntBits(n), a, b);
  }

  static void dx(RmsNorm.Backward k, long from, long to) {
    int n = k.x().columns();
    var dx = k.dx().tensor();
    int variant =
        bit(dx.dtype()) | bit(k.x().dtype()) << 1 | bit(k.dy().dtype()) << 2 | bit(k.w().dtype()) << 3 | (k.dx().add() ? 16 : 0);
    DX.get(variant).run(
        RowCode.at(dx, from * n), RowCode.at(k.x(), from * n), RowCode.at(k.dy(), from * n), k.w().address(),
        RowCode.at(k.rstd(), from), to - from, n, Float.floatToRawIntBits(n));
  }

  /// sums += Σ_r dy∘x·rstd for n ≤ 64 columns.
  static void dw(RmsNorm.Backward k, long sums, int column, int n) {
    DW.get(bit(k.x().dtype()) | bit(k.dy().dtype()) << 1).run(
        sums, RowCode.at(k.x(), column), RowCode.at(k.dy(), column), k.rstd().address(), k.x().rows(), n, k.x().columns());
  }

  private static Assembler forward(int variant) {
    var c = new Loop();
    var a = c.a;
    var dy = dtype(variant);
    var dx = dtype(variant >> 1);
    boolean added = (variant & ADDED) != 0;
    a.push(RBX, RBP);
    var eps = c.all(Routine.argument(6, 2));
    var count = c.all(Routine.argument(7, 2));
    if (added) {
      a.mov(RBX, Routine.argument(8, 2));
      a.mov(RBP, Routine.argument(9, 2));
      c.narrows(dx);
    }
    var one = c.wide(Double.doubleToLongBits(1));
    var sum = zmm(0);
    var rstd = zmm(15);
    c.narrows(dy);
    var row = a.here();
    a.vpxord(sum, sum, sum);
    c.begin(R9);
    do {
      if (added) {
        c.load(zmm(1), RBX, dx);
        c.load(zmm(2), RBP, dx);
        a.vaddps(zmm(1), zmm(1), zmm(2));
        c.store(RSI, dx, false, zmm(1), zmm(2));
      }
      if (!added || dx != DType.F32) c.load(zmm(1), RSI, dx); // as it was rounded
      a.vfmadd231ps(c.kept(sum), zmm(1), zmm(1));
    } while (c.again());
    c.total(sum, zmm(1));
    a.vdivps(xmm(0), xmm(0), xmm(count.index()));
    a.vaddps(xmm(0), xmm(0), xmm(eps.index()));
    a.vcvtps2pd(xmm(0), xmm(0)); // the root in double precision
    a.vsqrtpd(xmm(0), xmm(0));
    a.vdivpd(xmm(0), xmm(one.index()), xmm(0));
    a.vcvtpd2ps(xmm(0), xmm(0));
    a.vmovss(RCX.at(0), xmm(0));
    a.vbroadcastss(rstd, xmm(0));
    c.begin(R9);
    do {
      c.load(zmm(1), RSI, dx);
      c.load(zmm(2), RDX, dtype(variant >> 2));
      a.vmulps(zmm(1), zmm(1), rstd);
      a.vmulps(zmm(1), zmm(1), zmm(2));
      c.store(RDI, dy, false, zmm(1), zmm(2));
    } while (c.again());
    if (added) {
      a.lea(RBX, RBX.at(R9, dx.bytes(), 0));
      a.lea(RBP, RBP.at(R9, dx.bytes(), 0));
    }
    a.lea(RSI, RSI.at(R9, dx.bytes(), 0));
    a.lea(RDI, RDI.at(R9, dy.bytes(), 0));
    a.add(RCX, 4);
    a.dec(R8);
    a.j(Condition.NOT_EQUAL, row);
    a.pop(RBX, RBP);
    return c.end();
  }

  private static Assembler dx(int variant) {
    var c = new Loop();
    var a = c.a;
    var dx = dtype(variant);
    var x = dtype(variant >> 1);
    var dy = dtype(variant >> 2);
    var w = dtype(variant >> 3);
    a.push(RBX);
    a.mov(RBX, Routine.argument(6, 1)); // columns
    var count = c.all(Routine.argument(7, 1));
    var negative = c.bits(0x8000_0000);
    var sum = zmm(0);
    var pull = zmm(15);
    var rstd = zmm(12);
    c.narrows(dx);
    var row = a.here();
    a.vbroadcastss(rstd, R8.at(0));
    a.vpxord(sum, sum, sum);
    c.begin(RBX);
    do {
      c.load(zmm(1), RDX, dy);
      c.load(zmm(2), RCX, w);
      c.load(zmm(3), RSI, x);
      a.vmulps(zmm(1), zmm(2), zmm(1));
      a.vfmadd231ps(c.kept(sum), zmm(1), zmm(3));
    } while (c.again());
    c.total(sum, zmm(1));
    a.vpxord(sum, sum, negative);
    a.vdivps(xmm(0), xmm(0), xmm(count.index()));
    a.vbroadcastss(pull, xmm(0));
    a.vmulps(pull, pull, rstd);
    a.vmulps(pull, pull, rstd);
    c.begin(RBX);
    do {
      c.load(zmm(1), RDX, dy);
      c.load(zmm(2), RCX, w);
      c.load(zmm(3), RSI, x);
      a.vmulps(zmm(1), zmm(2), zmm(1));
      a.vfmadd231ps(zmm(1), zmm(3), pull);
      a.vmulps(zmm(1), zmm(1), rstd);
      c.store(RDI, dx, variant > 15, zmm(1), zmm(2));
    } while (c.again());
    a.lea(RDI, RDI.at(RBX, dx.bytes(), 0));
    a.lea(RSI, RSI.at(RBX, x.bytes(), 0));
    a.lea(RDX, RDX.at(RBX, dy.bytes(), 0));
    a.add(R8, 4);
    a.dec(R9);
    a.j(Condition.NOT_EQUAL, row);
    a.pop(RBX);
    return c.end();
  }

  /// Four registers hold the chains of 64 columns over all rows; masks k1 … k4 say which columns exist.
  private static Assembler dw(int variant) {
    var c = new Loop();
    var a = c.a;
    var x = dtype(variant);
    var dy = dtype(variant >> 1);
    a.push(RBX);
    a.mov(RBX, Routine.argument(6, 1)); // columns of a row
    a.mov(R10, -1L);
    a.bzhi(R10, R10, R9);
    for (int i = 0; i < 4; i++) {
      a.kmovw(i + 1, R10);
      a.shr(R10, 16);
      a.vmovups(zmm(i).zero(i + 1), RDI.at(64 * i));
    }
    var row = a.here();
    a.vbroadcastss(zmm(15), RCX.at(0)); // rstd
    for (int i = 0; i < 4; i++) {
      load(a, 4, i, RDX.at(16 * i * dy.bytes()), dy);
      load(a, 5, i, RSI.at(16 * i * x.bytes()), x);
      a.vmulps(zmm(4), zmm(4), zmm(5));
      a.vfmadd231ps(zmm(i), zmm(4), zmm(15));
    }
    a.lea(RSI, RSI.at(RBX, x.bytes(), 0));
    a.lea(RDX, RDX.at(RBX, dy.bytes(), 0));
    a.add(RCX, 4);
    a.dec(R8);
    a.j(Condition.NOT_EQUAL, row);
    for (int i = 0; i < 4; i++) a.vmovups(RDI.at(64 * i), zmm(i).keep(i + 1));
    a.pop(RBX);
    return c.end();
  }

  private static void load(Assembler a, int to, int part, Mem from, DType dtype) {
    Loads.load(a, zmm(to).zero(part + 1), from, dtype);
  }
}
