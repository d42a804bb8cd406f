package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routines;
import org.llmcore.cpu.code.Vec;
import org.llmcore.op.Dropout;

import static org.llmcore.cpu.RowCode.bit;
import static org.llmcore.cpu.RowCode.dtype;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// `Dropout` as machine code. The counters of 16 elements are two registers of 64-bit lanes; the upper 24 bits of the mixed
/// counter are compared where they lie: `bits >>> 40 ≥ t` is `bits ≥ t·2⁴⁰` without sign.
final class DropoutCode {
  private static final Routines MASK = new Routines(8, DropoutCode::mask);
  private static final long STEP = 0x9E3779B97F4A7C15L;

  private DropoutCode() {}

  static void mask(Dropout.Mask k, long from, long n) {
    var y = k.y().tensor();
    float factor = 1 / (1 - k.rate());
    long threshold = (long) Math.ceil((double) k.rate() * 0x1p24);
    MASK.get(bit(y.dtype()) | bit(k.x().dtype()) << 1 | (k.y().add() ? 4 : 0))
        .brief(RowCode.at(y, from), RowCode.at(k.x(), from), n, k.key() + (from + 1) * STEP, threshold << 40,
            Float.floatToRawIntBits(factor));
  }

  private static Assembler mask(int variant) {
    var c = new Loop();
    var a = c.a;
    var low = zmm(0); // counters of lanes 0 … 7
    var high = zmm(1);
    var factor = c.all(R9);
    var threshold = c.wide(R8);
    var first = c.wide(0xBF58476D1CE4E5B9L);
    var second = c.wide(0x94D049BB133111EBL);
    var step = c.wide(STEP);
    c.narrows(dtype(variant));
    a.vpbroadcastq(low, RCX);
    for (int lane = 1; lane < 8; lane++) { // lane i starts i steps further
      a.mov(R11, 0xff << lane & 0xff);
      a.kmovw(1, R11);
      a.vpaddq(low.keep(1), low, step);
    }
    var eight = c.wide(STEP << 3);
    a.vpaddq(high, low, eight);
    c.begin(RDX);
    do {
      mix(a, 4, low, first, second, threshold);
      mix(a, 5, high, first, second, threshold);
      a.kunpckbw(6, 5, 4);
      c.load(zmm(4), RSI, dtype(variant >> 1));
      a.vmulps(zmm(4).zero(6), zmm(4), factor);
      c.store(RDI, dtype(variant), variant > 3, zmm(4), zmm(5));
      a.vpaddq(low, high, eight);
      a.vpaddq(high, low, eight);
    } while (c.again());
    return c.end();
  }

  /// Mask k = lanes whose mixed counter reaches the threshold.
  private static void mix(Assembler a, int k, Vec counter, Vec first, Vec second, Vec threshold) {
    var z = zmm(2);
    var t = zmm(3);
    a.vpsrlq(t, counter, 30);
    a.vpxord(z, t, counter);
    a.vpmullq(z, z, first);
    a.vpsrlq(t, z, 27);
    a.vpxord(z, t, z);
    a.vpmullq(z, z, second);
    a.vpsrlq(t, z, 31);
    a.vpxord(z, t, z);
    a.vpcmpuq(k, z, threshold, 5);
  }
}
