package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Vec;

/// `Exp` as machine code, the same bits. 2ⁿ is applied by one `vscalefps`, which rounds once: of the two factors of `Exp` only
/// the second can round, and only to a denormal.
final class ExpCode {
  private final Assembler a;
  private final Vec lowest;
  private final Vec highest;
  private final Vec log2e;
  private final Vec round;
  private final Vec minusHigh;
  private final Vec minusLow;
  private final Vec[] c;
  private final Vec one;
  private final Vec sign;

  /// Loads 14 constants.
  ExpCode(Loop loop) {
    a = loop.a;
    lowest = loop.all(Exp.LOWEST);
    highest = loop.all(Exp.HIGHEST);
    log2e = loop.all(Exp.LOG2_E);
    round = loop.all(Exp.ROUND);
    minusHigh = loop.all(-Exp.LN2_HIGH);
    minusLow = loop.all(-Exp.LN2_LOW);
    one = loop.all(1f);
    sign = loop.bits(0x8000_0000);
    c = new Vec[] {
      loop.all(Exp.C7), loop.all(Exp.C6), loop.all(Exp.C5), loop.all(Exp.C4), loop.all(Exp.C3), loop.all(0.5f), one, one
    };
  }

  /// p = exp(x); x and t are overwritten.
  void of(Vec p, Vec x, Vec t) {
    a.vmaxps(x, lowest, x); // NaN stays: the second operand wins
    a.vminps(x, highest, x);
    a.vmovaps(t, round);
    a.vfmadd231ps(t, x, log2e);
    a.vsubps(t, t, round); // n
    a.vfmadd231ps(x, t, minusHigh);
    a.vfmadd231ps(x, t, minusLow); // r
    a.vmovaps(p, c[0]);
    for (int i = 1; i < c.length; i++) a.vfmadd213ps(p, x, c[i]);
    a.vscalefps(p, p, t);
  }

  /// s = σ(x); x and t are overwritten.
  void sigmoid(Vec s, Vec x, Vec t) {
    a.vpxord(x, x, sign);
    of(s, x, t);
    a.vaddps(s, s, one);
    a.vdivps(s, one, s);
  }
}
