package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Label;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routine;
import org.llmcore.cpu.code.Routines;
import org.llmcore.cpu.code.Vec;
import org.llmcore.op.CrossEntropy;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.RowCode.dtype;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// The rows of `CrossEntropy` as machine code. The largest logit, the sum of exponentials and the target's logit of every row
/// go to scratch; the logarithm, which is `StrictMath`'s, is Java's business.
final class CrossEntropyCode {
  private static final Routines SUMS = new Routines(2, CrossEntropyCode::sums);
  private static final Routines FUSED = new Routines(1, _ -> fused());

  private CrossEntropyCode() {}

  /// max and Σ exp(z − max) of each row of logits of a dtype of `RowCode.reads`.
  static void sums(long z, DType dtype, long rows, int n, long max, long sum) {
    SUMS.get(RowCode.bit(dtype)).run(z, rows, n, max, sum);
  }

  /// The same of f32 rows, which become scale · (softmax − target), or 0 where the target is ignored; `logit` is the target's.
  static void fused(long z, long rows, int n, long targets, float scale, long max, long sum, long logit) {
    FUSED.get(0).run(z, rows, n, max, sum, targets, logit, Float.floatToRawIntBits(scale));
  }

  private static Assembler sums(int variant) {
    var c = new Loop();
    var a = c.a;
    var exp = new ExpCode(c);
    var least = c.all(Float.NEGATIVE_INFINITY);
    var sum = zmm(1);
    var row = a.here();
    largest(c, least, RDI, dtype(variant), RDX, RCX);
    a.vpxord(sum, sum, sum);
    c.begin(RDX);
    do {
      c.load(zmm(2), RDI, dtype(variant));
      a.vsubps(zmm(2), zmm(2), zmm(0));
      exp.of(zmm(3), zmm(2), zmm(4));
      a.vaddps(c.kept(sum), sum, zmm(3));
    } while (c.again());
    c.total(sum, zmm(2));
    a.vmovss(R8.at(0), Vec.xmm(1));
    a.lea(RDI, RDI.at(RDX, dtype(variant).bytes(), 0));
    a.add(RCX, 4);
    a.add(R8, 4);
    a.dec(RSI);
    a.j(Condition.NOT_EQUAL, row);
    return c.end();
  }

  /// The largest of a row into zmm0, all lanes, and to `max`; a NaN is passed over and comes back by the sum.
  private static void largest(Loop c, Vec least, Gpr row, DType dtype, Gpr n, Gpr max) {
    c.a.vmovaps(zmm(0), least);
    c.begin(n);
    do {
      c.load(zmm(2), row, dtype);
      c.a.vmaxps(c.kept(zmm(0)), zmm(2), zmm(0));
    } while (c.again());
    c.largest(zmm(0), zmm(2));
    c.a.vmovss(max.at(0), Vec.xmm(0));
    c.a.vbroadcastss(zmm(0), Vec.xmm(0));
  }

  private static Assembler fused() {
    var c = new Loop();
    var a = c.a;
    a.push(RBX, R12);
    a.mov(RBX, Routine.argument(6, 2)); // logits of targets
    var scale = c.all(Routine.argument(7, 2));
    var least = c.all(Float.NEGATIVE_INFINITY);
    var exp = new ExpCode(c);
    var sum = zmm(1);
    var ignored = new Label();
    var next = new Label();
    var row = a.here();
    a.mov32(R12, R9.at(0)); // target
    a.shl(R12, 32);
    a.sar(R12, 32);
    a.cmp(R12, CrossEntropy.IGNORE);
    a.j(Condition.EQUAL, ignored);
    a.vmovss(Vec.xmm(2), RDI.at(R12, 4, 0));
    a.vmovss(RBX.at(0), Vec.xmm(2));
    largest(c, least, RDI, DType.F32, RDX, RCX);
    a.vpxord(sum, sum, sum);
    c.begin(RDX);
    do {
      c.load(zmm(2), RDI, DType.F32);
      a.vsubps(zmm(2), zmm(2), zmm(0));
      exp.of(zmm(3), zmm(2), zmm(4));
      c.store(RDI, DType.F32, false, zmm(3), zmm(4));
      a.vaddps(c.kept(sum), sum, zmm(3));
    } while (c.again());
    c.total(sum, zmm(2));
    a.vmovss(R8.at(0), Vec.xmm(1));
    a.vbroadcastss(sum, Vec.xmm(1));
    a.vdivps(sum, scale, sum);
    c.begin(RDX);
    do {
      c.load(zmm(2), RDI, DType.F32);
      a.vmulps(zmm(2), zmm(2), sum);
      c.store(RDI, DType.F32, false, zmm(2), zmm(3));
    } while (c.again());
    a.vmovss(Vec.xmm(2), RDI.at(R12, 4, 0));
    a.vsubps(Vec.xmm(2), Vec.xmm(2), Vec.xmm(scale.index()));
    a.vmovss(RDI.at(R12, 4, 0), Vec.xmm(2));
    a.jmp(next);
    a.bind(ignored);
    a.vpxord(zmm(2), zmm(2), zmm(2));
    c.begin(RDX);
    do {
      c.store(RDI, DType.F32, false, zmm(2), zmm(3));
    } while (c.again());
    a.bind(next);
    a.lea(RDI, RDI.at(RDX, 4, 0));
    for (var each : new Gpr[] {RCX, R8, R9, RBX}) a.add(each, 4);
    a.dec(RSI);
    a.j(Condition.NOT_EQUAL, row);
    a.pop(RBX, R12);
    return c.end();
  }
}
