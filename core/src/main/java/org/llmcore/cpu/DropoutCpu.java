package org.llmcore.cpu;

import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

import org.llmcore.op.Dropout;
import org.llmcore.tensor.Memory;

/// `Dropout` on the CPU, split by elements. A vector of mixed counters, seen as lanes of 32 bits, is the draws of twice as many
/// elements in their order; a range that begins with the second of a pair takes that one alone.
final class DropoutCpu {
  private DropoutCpu() {}

  /// Loaded only where vectors of the Vector API run.
  private static final class Vectors {
    static final VectorSpecies<Long> COUNTERS = VectorSpecies.of(long.class, Lanes.F.vectorShape());
    static final LongVector STEPS = LongVector.zero(COUNTERS).addIndex(1).mul(Dropout.STEP);
  }

  static void run(Lanes lanes, Workers workers, Dropout kernel) {
    switch (kernel) {
      case Dropout.Mask k -> Rows.split(
          lanes, workers, k.x().elements(), 1,
          (from, to, s) -> mask(lanes, k, from, (int) (to - from), s));
    }
  }

  private static void mask(Lanes lanes, Dropout.Mask k, long from, int n, Scratch scratch) {
    int odd = (int) (k.first() + from & 1);
    if (odd == 1) second(k, from);
    if (n > odd) pairs(lanes, k, from + odd, n - odd, scratch);
  }

  /// Element i, the second of a pair whose first is another range's.
  private static void second(Dropout.Mask k, long i) {
    var y = k.y().tensor();
    boolean kept = Dropout.kept(k.key(), k.first() + i, k.threshold());
    float v = kept ? Memory.load(k.x().dtype(), k.x().address(), i) * factor(k) : 0;
    Memory.store(y.dtype(), y.address(), i, k.y().add() ? Memory.load(y.dtype(), y.address(), i) + v : v);
  }

  /// Elements from the first of a pair on.
  private static void pairs(Lanes lanes, Dropout.Mask k, long from, int n, Scratch scratch) {
    if (lanes.emitted() && RowCode.reads(k.x(), k.y().tensor())) {
      DropoutCode.mask(k, from, n);
      return;
    }
    long x = Rows.read(lanes, k.x(), from, n, scratch.floats(n));
    long y = Rows.target(k.y(), from, scratch.floats(n));
    float factor = factor(k);
    int threshold = k.threshold();
    long first = k.first() + from;
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) {
      var z = Vectors.STEPS.add(k.key() + ((first + i >> 1) + 1) * Dropout.STEP);
      z = z.lanewise(VectorOperators.XOR, z.lanewise(VectorOperators.LSHR, 30)).mul(0xBF58476D1CE4E5B9L);
      z = z.lanewise(VectorOperators.XOR, z.lanewise(VectorOperators.LSHR, 27)).mul(0x94D049BB133111EBL);
      z = z.lanewise(VectorOperators.XOR, z.lanewise(VectorOperators.LSHR, 31));
      var kept = z.reinterpretAsInts().compare(VectorOperators.UGE, threshold).cast(Lanes.F);
      Lanes.store(y + 4L * i, Lanes.all(0).blend(Lanes.load(x + 4L * i).mul(factor), kept));
    }
    long hash = 0;
    for (; i < n; i++, hash >>>= 32) {
      if ((i & 1) == 0) hash = Dropout.bits(k.key(), first + i >> 1); // also at once: vectors have taken an even number
      boolean kept = Integer.compareUnsigned((int) hash, threshold) >= 0;
      Memory.f32(y + 4L * i, kept ? Memory.f32(x + 4L * i) * factor : 0);
    }
    Rows.write(lanes, k.y(), from, n, y);
  }

  private static float factor(Dropout.Mask k) {
    return 1 / (1 - k.rate());
  }
}
