package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routine;
import org.llmcore.cpu.code.Routines;
import org.llmcore.op.Rope;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.RowCode.bit;
import static org.llmcore.cpu.RowCode.dtype;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// `Rope` of halves as machine code: all heads of a stretch of tokens in one call.
final class RopeCode {
  private static final Routines HALVES = new Routines(8, RopeCode::halves);
  private static final Gpr[] SAVED = {RBX, RBP, R12, R13, R14, R15};

  private RopeCode() {}

  static boolean takes(Rope.Rotate k) {
    return k.pairing() == Rope.Pairing.HALVES && RowCode.reads(k.x(), k.y().tensor());
  }

  static void rotate(Rope.Rotate k, long from, long to) {
    var y = k.y().tensor();
    long row = (long) k.x().dim(1) * k.x().columns();
    HALVES.get(bit(y.dtype()) | bit(k.x().dtype()) << 1 | (k.y().add() ? 4 : 0)).run(
        RowCode.at(y, from * row), RowCode.at(k.x(), from * row), k.positions().address() + 4 * from, k.table().address(),
        to - from, k.x().dim(1), k.x().columns() / 2, Float.floatToRawIntBits(k.inverse() ? -1f : 1f));
  }

  private static Assembler halves(int variant) {
    var c = new Loop();
    var a = c.a;
    var to = dtype(variant);
    var from = dtype(variant >> 1);
    var half = RBX;
    var cos = RBP; // row of the table: cosines, then sines
    var sin = R12;
    var head = R13;
    var upperY = R14;
    var upperX = R15;
    a.push(SAVED);
    a.mov(half, Routine.argument(6, SAVED.length));
    var sign = c.all(Routine.argument(7, SAVED.length));
    var negative = c.bits(0x8000_0000);
    c.narrows(to);
    var token = a.here();
    a.mov32(cos, RDX.at(0));
    a.imul(cos, half);
    a.lea(cos, RCX.at(cos, 8, 0));
    a.lea(sin, cos.at(half, 4, 0));
    a.mov(head, R9);
    var heads = a.here();
    a.lea(upperX, RSI.at(half, from.bytes(), 0));
    a.lea(upperY, RDI.at(half, to.bytes(), 0));
    c.begin(half);
    do {
      c.load(zmm(0), RSI, from); // u
      c.load(zmm(1), upperX, from); // v
      c.load(zmm(2), cos, DType.F32);
      c.load(zmm(3), sin, DType.F32);
      a.vmulps(zmm(3), zmm(3), sign);
      a.vpxord(zmm(4), zmm(3), negative);
      a.vmulps(zmm(4), zmm(4), zmm(1)); // −v·s
      a.vmulps(zmm(1), zmm(1), zmm(2)); // v·c
      a.vfmadd231ps(zmm(4), zmm(0), zmm(2));
      a.vfmadd231ps(zmm(1), zmm(0), zmm(3));
      c.store(RDI, to, variant > 3, zmm(4), zmm(5));
      c.store(upperY, to, variant > 3, zmm(1), zmm(5));
    } while (c.again());
    a.lea(RSI, upperX.at(half, from.bytes(), 0));
    a.lea(RDI, upperY.at(half, to.bytes(), 0));
    a.dec(head);
    a.j(Condition.NOT_EQUAL, heads);
    a.add(RDX, 4);
    a.dec(R8);
    a.j(Condition.NOT_EQUAL, token);
    a.pop(SAVED);
    return c.end();
  }
}
