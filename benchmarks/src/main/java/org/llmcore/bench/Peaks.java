package org.llmcore.bench;

import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

import org.llmcore.cpu.Tier;
import org.llmcore.cpu.code.AmxTiles;
import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Routine;

import static org.llmcore.cpu.code.Vec.zmm;

/// What this machine can do at most, measured here and now by all threads at once: multiply-adds whose operands are in registers or tiles, and
/// reading of memory.
///
/// @param f32 operations per nanosecond, `vfmadd231ps`; infinite where this machine has no AVX-512, for there we cannot measure it
/// @param bf16 the same for products of two bf16 matrices as this tier computes them: `tdpbf16ps`, `vdpbf16ps`, or f32's where it converts
/// @param bandwidth bytes per nanosecond
record Peaks(double f32, double bf16, double bandwidth) {
  /// Instructions whose rate is a limit.
  private enum Loop {
    FLOATS(1_000_000, 24, 32), // 24 sums hide a latency of 12 halves of a cycle
    PAIRS(1_000_000, 24, 64),
    TILES(100_000, 4, 2 * 16 * 16 * 32); // a latency of 52 cycles behind products of 16

    final long rounds;
    final int chains;
    final int flops;

    Loop(long rounds, int chains, int flops) {
      this.rounds = rounds;
      this.chains = chains;
      this.flops = flops;
    }
  }

  static Peaks measure(int threads) {
    if (!Tier.AVX512.available()) return new Peaks(Double.POSITIVE_INFINITY, Double.POSITIVE_INFINITY, Bandwidth.median(threads));
    double f32 = rate(threads, Loop.FLOATS);
    double bf16 = switch (Tier.open()) {
      case AMX -> rate(threads, Loop.TILES);
      case AVX512BF16 -> rate(threads, Loop.PAIRS);
      default -> f32;
    };
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

  private static double rate(int threads, Loop loop) {
    var routine = new Routine(code(loop));
    double flops = (double) threads * loop.rounds * loop.chains * loop.flops;
    var rates = new double[9];
    try (var arena = Arena.ofShared()) {
      long configuration = arena.allocateFrom(ValueLayout.JAVA_BYTE, AmxTiles.configuration()).address();
      for (int i = 0; i < rates.length; i++) {
        var team = new Thread[threads - 1];
        long begun = System.nanoTime();
        for (int t = 0; t < team.length; t++) team[t] = Thread.ofPlatform().start(() -> routine.run(loop.rounds, configuration));
        routine.run(loop.rounds, configuration);
        for (var t : team) join(t);
        rates[i] = flops / (System.nanoTime() - begun);
      }
    }
    Arrays.sort(rates);
    return rates[rates.length / 2];
  }

  /// RDI rounds; RSI is the address of the tiles' configuration.
  private static Assembler code(Loop loop) {
    var a = new Assembler();
    for (int i = 0; i < 32; i++) a.vpxord(zmm(i), zmm(i), zmm(i));
    if (loop == Loop.TILES) {
      a.ldtilecfg(Gpr.RSI.at(0));
      for (int i = 0; i < 8; i++) a.tilezero(i);
    }
    var again = a.here();
    for (int i = 0; i < loop.chains; i++) {
      switch (loop) {
        case FLOATS -> a.vfmadd231ps(zmm(i), zmm(30), zmm(31));
        case PAIRS -> a.vdpbf16ps(zmm(i), zmm(30), zmm(31));
        case TILES -> a.tdpbf16ps(i, 4 + i / 2, 6 + i % 2);
      }
    }
    a.dec(Gpr.RDI);
    a.j(Condition.NOT_EQUAL, again);
    if (loop == Loop.TILES) a.tilerelease();
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
