package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Label;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routines;
import org.llmcore.cpu.code.Vec;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.xmm;
import static org.llmcore.cpu.code.Vec.ymm;
import static org.llmcore.cpu.code.Vec.zmm;

/// `Log` as machine code, the same bits: eight lanes of f64 at a time. The processor takes numbers apart, so that 0 and ∞ need no case of their own. Overwrites zmm4 … zmm9 and
/// k3.
final class LogCode {
  private static final int THREE_QUARTERS_WITHOUT_SIGN = 0b111; // the form of significands
  private static final Routines LSE = new Routines(1, _ -> lse());

  private final Assembler a;
  private final Vec[] series = new Vec[Log.SERIES.length];
  private final Vec one;
  private final Vec ln2;
  private final Vec zero;
  private final Vec nan;

  /// Loads 14 constants.
  LogCode(Loop loop) {
    a = loop.a;
    for (int i = 0; i < series.length; i++) series[i] = loop.wide(Double.doubleToRawLongBits(Log.SERIES[i]));
    one = series[series.length - 1];
    ln2 = loop.wide(Double.doubleToRawLongBits(Log.LN2));
    zero = loop.all(0f);
    nan = loop.all(Float.NaN);
  }

  /// y = log(x).
  void of(Vec y, Vec x) {
    a.vcmpps(3, x, zero, 1);
    a.vextractf64x4(ymm(9), x, 1);
    half(ymm(y.index()), ymm(x.index()));
    half(ymm(8), ymm(9));
    a.vinsertf64x4(y, y, ymm(8), 1);
    a.vmovaps(y.keep(3), nan);
  }

  private void half(Vec y, Vec x) {
    var m = zmm(4);
    var k = zmm(5);
    var s = zmm(6);
    var p = zmm(7);
    a.vcvtps2pd(m, x);
    a.vgetexppd(k, m);
    a.vgetmantpd(m, m, THREE_QUARTERS_WITHOUT_SIGN);
    a.vgetexppd(s, m); // −1 below 1
    a.vsubpd(k, k, s);
    a.vsubpd(s, m, one);
    a.vaddpd(m, m, one);
    a.vdivpd(s, s, m);
    a.vmulpd(m, s, s);
    a.vmovaps(p, series[0]);
    for (int i = 1; i < series.length; i++) a.vfmadd213pd(p, m, series[i]);
    a.vaddpd(s, s, s);
    a.vmulpd(p, p, s);
    a.vfmadd231pd(p, k, ln2);
    a.vcvtpd2ps(y, p);
  }

  /// max + log Σ of n > 0 rows at `to`, `pitch` bytes apart.
  /// @param stats of every row four floats, of which the first is max and the second Σ; aligned to a cache line, which is read to its end
  static void lse(long to, long pitch, long stats, int n) {
    LSE.get(0).brief(to, pitch, stats, n);
  }

  private static Assembler lse() {
    var c = new Loop();
    var a = c.a;
    var log = new LogCode(c);
    var done = new Label();
    var four = a.here();
    a.vmovups(zmm(0), RDX.at(0));
    log.of(zmm(1), zmm(0));
    a.vshufps(zmm(1), zmm(1), zmm(1), 0b01_01_01_01);
    a.vaddps(zmm(1), zmm(0), zmm(1));
    for (int r = 0; r < 4; r++) {
      a.vextractf32x4(xmm(2), zmm(1), r);
      a.vmovss(RDI.at(0), xmm(2));
      a.add(RDI, RSI);
      a.dec(RCX);
      a.j(Condition.EQUAL, done);
    }
    a.add(RDX, 64);
    a.jmp(four);
    a.bind(done);
    return c.end();
  }
}
