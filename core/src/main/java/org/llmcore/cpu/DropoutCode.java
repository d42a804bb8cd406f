package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routines;
import org.llmcore.op.Dropout;

import static org.llmcore.cpu.RowCode.bit;
import static org.llmcore.cpu.RowCode.dtype;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// `Dropout` as machine code. A register of 8 mixed counters is 16 lanes of 32 bits in the order of the elements: one comparison
/// is the mask of 16.
final class DropoutCode {
  private static final Routines MASK = new Routines(8, DropoutCode::mask);

  private DropoutCode() {}

  /// @param from an element whose place in the mask is even
  static void mask(Dropout.Mask k, long from, long n) {
    var y = k.y().tensor();
    float factor = 1 / (1 - k.rate());
    long start = k.key() + ((k.first() + from >> 1) + 1) * Dropout.STEP;
    MASK.get(bit(y.dtype()) | bit(k.x().dtype()) << 1 | (k.y().add() ? 4 : 0))
        .brief(RowCode.at(y, from), RowCode.at(k.x(), from), n, start, k.threshold(), Float.floatToRawIntBits(factor));
  }

  private static Assembler mask(int variant) {
    var c = new Loop();
    var a = c.a;
    var counter = zmm(0);
    var z = zmm(1);
    var t = zmm(2);
    var factor = c.all(R9);
    var threshold = c.all(R8);
    var first = c.wide(0xBF58476D1CE4E5B9L);
    var second = c.wide(0x94D049BB133111EBL);
    var step = c.wide(Dropout.STEP);
    c.narrows(dtype(variant));
    a.vpbroadcastq(counter, RCX);
    for (int lane = 1; lane < 8; lane++) { // lane i starts i steps further
      a.mov(R11, 0xff << lane & 0xff);
      a.kmovw(1, R11);
      a.vpaddq(counter.keep(1), counter, step);
    }
    var eight = c.wide(Dropout.STEP << 3);
    c.begin(RDX);
    do {
      a.vpsrlq(t, counter, 30);
      a.vpxord(z, t, counter);
      a.vpmullq(z, z, first);
      a.vpsrlq(t, z, 27);
      a.vpxord(z, t, z);
      a.vpmullq(z, z, second);
      a.vpsrlq(t, z, 31);
      a.vpxord(z, t, z);
      a.vpcmpud(4, z, threshold, 5);
      c.load(zmm(4), RSI, dtype(variant >> 1));
      a.vmulps(zmm(4).zero(4), zmm(4), factor);
      c.store(RDI, dtype(variant), variant > 3, zmm(4), zmm(5));
      a.vpaddq(counter, counter, eight);
    } while (c.again());
    return c.end();
  }
}
