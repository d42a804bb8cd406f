package org.llmcore.bench;

import java.util.Arrays;

import org.llmcore.cpu.Tier;
import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Routine;

import static org.llmcore.cpu.code.Vec.zmm;

/// What this machine can do at most, measured here and now by all threads at once: multiply-adds whose operands are in registers, and
/// reading of memory.
///
/// @param f32 operations per nanosecond, `vfmadd231ps`; infinite where this machine has no AVX-512, for there we cannot measure it
/// @param bf16 the same for products of two bf16 matrices as this tier computes them: `vdpbf16ps`, or f32's where it converts; AMX is not
/// measured
/// @param bandwidth bytes per nanosecond
record Peaks(double f32, double bf16, double bandwidth) {
  private static final long ROUNDS = 1_000_000;
  private static final int CHAINS = 24; // hide a latency of 12 halves of a cycle

  static Peaks measure(int threads) {
    boolean code = Tier.AVX512.available();
    double f32 = code ? rate(threads, false) : Double.POSITIVE_INFINITY;
    double bf16 = Tier.open() == Tier.AVX512BF16 ? rate(threads, true) : Tier.open() == Tier.AMX ? Double.POSITIVE_INFINITY : f32;
    return new Peaks(f32, bf16, Bandwidth.median(threads));
  }

  /// The least nanoseconds that a cost takes here.
  double nanos(Cost c) {
    return Math.max(c.flops() / (c.pairs() ? bf16 : f32), c.bytes() / bandwidth);
  }

  /// Whether memory is what limits it.
  boolean memory(Cost c) {
    return c.flops() / (c.pairs() ? bf16 : f32) < c.bytes() / bandwidth;
  }

  private static double rate(int threads, boolean pairs) {
    var routine = new Routine(loop(pairs));
    double flops = (double) threads * ROUNDS * CHAINS * (pairs ? 64 : 32);
    var rates = new double[9];
    for (int i = 0; i < rates.length; i++) {
      var team = new Thread[threads - 1];
      long begun = System.nanoTime();
      for (int t = 0; t < team.length; t++) team[t] = Thread.ofPlatform().start(() -> routine.run(ROUNDS));
      routine.run(ROUNDS);
      for (var t : team) join(t);
      rates[i] = flops / (System.nanoTime() - begun);
    }
    Arrays.sort(rates);
    return rates[rates.length / 2];
  }

  private static Assembler loop(boolean pairs) {
    var a = new Assembler();
    for (int i = 0; i < 32; i++) a.vpxord(zmm(i), zmm(i), zmm(i));
    var again = a.here();
    for (int i = 0; i < CHAINS; i++) {
      if (pairs) a.vdpbf16ps(zmm(i), zmm(30), zmm(31));
      else a.vfmadd231ps(zmm(i), zmm(30), zmm(31));
    }
    a.dec(Gpr.RDI);
    a.j(Condition.NOT_EQUAL, again);
    a.vzeroupper();
    a.ret();
    return a;
  }

  private static void join(Thread t) {
    try {
      t.join();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
