package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routines;
import org.llmcore.op.Sink;
import org.llmcore.op.SwiGlu;

import static org.llmcore.cpu.RowCode.bit;
import static org.llmcore.cpu.RowCode.dtype;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// `SwiGlu` as machine code: one loop from the operands to the results, each of f32 or bf16.
final class SwiGluCode {
  private static final Routines FORWARD = new Routines(8, SwiGluCode::forward);
  private static final Routines BACKWARD = new Routines(512, SwiGluCode::backward);

  private SwiGluCode() {}

  static boolean takes(SwiGlu.Forward k) {
    return RowCode.reads(k.h(), k.gate(), k.up());
  }

  static boolean takes(SwiGlu.Backward k) {
    return RowCode.reads(k.dh(), k.gate(), k.up()) && RowCode.reads(k.dgate(), k.dup());
  }

  static void forward(SwiGlu.Forward k, long from, long n) {
    FORWARD.get(bit(k.h().dtype()) | bit(k.gate().dtype()) << 1 | bit(k.up().dtype()) << 2)
        .brief(RowCode.at(k.h(), from), RowCode.at(k.gate(), from), RowCode.at(k.up(), from), n);
  }

  static void backward(SwiGlu.Backward k, long from, long n) {
    int variant =
        sink(k.dgate()) | sink(k.dup()) << 3 | bit(k.dh().dtype()) << 6 | bit(k.gate().dtype()) << 7 | bit(k.up().dtype()) << 8;
    BACKWARD.get(variant).brief(at(k.dgate(), from), at(k.dup(), from), RowCode.at(k.dh(), from), RowCode.at(k.gate(), from),
        RowCode.at(k.up(), from), n);
  }

  /// A sink in three bits: dtype, whether it adds, whether anybody wants it.
  private static int sink(Sink s) {
    return s.wanted() ? bit(s.tensor().dtype()) | (s.add() ? 2 : 0) | 4 : 0;
  }

  private static long at(Sink s, long from) {
    return s.wanted() ? RowCode.at(s.tensor(), from) : 0;
  }

  private static Assembler forward(int variant) {
    var c = new Loop();
    var exp = new ExpCode(c);
    var gate = zmm(0);
    var up = zmm(1);
    var sigma = zmm(2);
    c.narrows(dtype(variant));
    c.begin(RCX);
    do {
      c.load(gate, RSI, dtype(variant >> 1));
      c.load(up, RDX, dtype(variant >> 2));
      c.a.vmovaps(zmm(3), gate);
      exp.sigmoid(sigma, zmm(3), zmm(4));
      c.a.vmulps(gate, gate, sigma);
      c.a.vmulps(gate, gate, up);
      c.store(RDI, dtype(variant), false, gate, up);
    } while (c.again());
    return c.end();
  }

  private static Assembler backward(int variant) {
    var c = new Loop();
    var exp = new ExpCode(c);
    var one = c.all(1f);
    var gate = zmm(0);
    var up = zmm(1);
    var dh = zmm(2);
    var sigma = zmm(3);
    var slope = zmm(4);
    c.narrows(dtype(variant), dtype(variant >> 3));
    c.begin(R9);
    do {
      c.load(dh, RDX, dtype(variant >> 6));
      c.load(gate, RCX, dtype(variant >> 7));
      c.load(up, R8, dtype(variant >> 8));
      c.a.vmovaps(zmm(5), gate);
      exp.sigmoid(sigma, zmm(5), zmm(6));
      c.a.vsubps(slope, one, sigma);
      c.a.vfmadd213ps(slope, gate, one); // g·(1 − s) + 1
      c.a.vmulps(up, dh, up);
      c.a.vmulps(up, up, sigma);
      c.a.vmulps(up, up, slope); // dgate
      c.a.vmulps(gate, gate, sigma);
      c.a.vmulps(dh, dh, gate); // dup
      if ((variant & 4) != 0) c.store(RDI, dtype(variant), (variant & 2) != 0, up, zmm(5));
      if ((variant & 32) != 0) c.store(RSI, dtype(variant >> 3), (variant & 16) != 0, dh, zmm(5));
    } while (c.again());
    return c.end();
  }
}
