package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routine;
import org.llmcore.cpu.code.Routines;
import org.llmcore.op.AdamW;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// `AdamW` as machine code: master, moments and, if it is another tensor of bf16, the parameter in one pass.
final class AdamWCode {
  private static final Routines STEP = new Routines(2, AdamWCode::step);

  private AdamWCode() {}

  static boolean takes(AdamW.Step k) {
    return k.w().address() == k.master().address() || k.w().dtype() == DType.BF16;
  }

  static void step(AdamW.Step k, AdamWCpu.Factors f, float clip, long from, long n) {
    boolean rounded = k.w().address() != k.master().address();
    STEP.get(rounded ? 1 : 0).run(
        RowCode.at(k.w(), from), RowCode.at(k.master(), from), RowCode.at(k.m(), from), RowCode.at(k.v(), from),
        RowCode.at(k.grad(), from), n, bits(clip), bits(f.rest1()), bits(f.beta1()), bits(f.rest2()), bits(f.beta2()),
        bits(-f.rate()), bits(f.root()), bits(f.eps()), bits(f.keep()));
  }

  private static long bits(float x) {
    return Float.floatToRawIntBits(x);
  }

  private static Assembler step(int variant) {
    var c = new Loop();
    var a = c.a;
    var clip = c.all(Routine.argument(6, 0));
    var rest1 = c.all(Routine.argument(7, 0));
    var beta1 = c.all(Routine.argument(8, 0));
    var rest2 = c.all(Routine.argument(9, 0));
    var beta2 = c.all(Routine.argument(10, 0));
    var minusRate = c.all(Routine.argument(11, 0));
    var root = c.all(Routine.argument(12, 0));
    var eps = c.all(Routine.argument(13, 0));
    var keep = c.all(Routine.argument(14, 0));
    var g = zmm(0);
    var m = zmm(1);
    var v = zmm(2);
    var w = zmm(3);
    var move = zmm(4);
    if (variant == 1) c.narrows(DType.BF16);
    c.begin(R9);
    do {
      c.load(g, R8, DType.F32);
      c.load(m, RDX, DType.F32);
      c.load(v, RCX, DType.F32);
      c.load(w, RSI, DType.F32);
      a.vmulps(g, g, clip);
      a.vmulps(m, m, beta1);
      a.vfmadd231ps(m, g, rest1);
      a.vmulps(g, g, g);
      a.vmulps(v, v, beta2);
      a.vfmadd231ps(v, g, rest2);
      c.store(RDX, DType.F32, false, m, g);
      c.store(RCX, DType.F32, false, v, g);
      a.vmulps(move, m, minusRate);
      a.vsqrtps(v, v);
      a.vfmadd213ps(v, root, eps); // √v · root + eps
      a.vdivps(move, move, v);
      a.vfmadd231ps(move, w, keep);
      c.store(RSI, DType.F32, false, move, g);
      if (variant == 1) c.store(RDI, DType.BF16, false, move, g);
    } while (c.again());
    return c.end();
  }
}
