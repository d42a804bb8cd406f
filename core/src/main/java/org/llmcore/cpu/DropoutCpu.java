package org.llmcore.cpu;

import java.nio.ByteOrder;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

import org.llmcore.op.Dropout;
import org.llmcore.tensor.Memory;

/// `Dropout` on the CPU, split by elements. Counters are 64-bit lanes beside float lanes of half the width; the mask is an
/// integer comparison, `uniform ≥ rate` being `bits >>> 40 ≥ ⌈rate·2²⁴⌉`.
final class DropoutCpu {
  private DropoutCpu() {}

  /// Loaded only where vectors of the Vector API run.
  private static final class Vectors {
    static final VectorSpecies<Long> COUNTERS = VectorSpecies.of(long.class, Lanes.F.vectorShape());
    static final VectorSpecies<Float> HALF =
        VectorSpecies.of(float.class, VectorShape.forBitSize(Lanes.F.vectorBitSize() / 2));
    static final LongVector STEPS = LongVector.zero(COUNTERS).addIndex(1).mul(0x9E3779B97F4A7C15L);
  }

  static void run(Lanes lanes, Workers workers, Dropout kernel) {
    switch (kernel) {
      case Dropout.Mask k -> Rows.split(
          lanes, workers, k.x().elements(), 1,
          (from, to, s) -> mask(lanes, k, from, (int) (to - from), s));
    }
  }

  private static void mask(Lanes lanes, Dropout.Mask k, long from, int n, Scratch scratch) {
    if (lanes.emitted() && RowCode.reads(k.x(), k.y().tensor())) {
      DropoutCode.mask(k, from, n);
      return;
    }
    long x = Rows.read(lanes, k.x(), from, n, scratch.floats(n));
    long y = Rows.target(k.y(), from, scratch.floats(n));
    float factor = 1 / (1 - k.rate());
    long threshold = (long) Math.ceil((double) k.rate() * 0x1p24);
    int i = 0;
    var order = ByteOrder.nativeOrder();
    for (; i < lanes.whole(n); i += Vectors.COUNTERS.length()) {
      var z = Vectors.STEPS.add(k.key() + (from + i + 1) * 0x9E3779B97F4A7C15L);
      z = z.lanewise(VectorOperators.XOR, z.lanewise(VectorOperators.LSHR, 30)).mul(0xBF58476D1CE4E5B9L);
      z = z.lanewise(VectorOperators.XOR, z.lanewise(VectorOperators.LSHR, 27)).mul(0x94D049BB133111EBL);
      z = z.lanewise(VectorOperators.XOR, z.lanewise(VectorOperators.LSHR, 31)).lanewise(VectorOperators.LSHR, 40);
      var kept = z.compare(VectorOperators.GE, threshold).cast(Vectors.HALF);
      var v = FloatVector.fromMemorySegment(Vectors.HALF, Memory.ALL, x + 4L * i, order).mul(factor);
      FloatVector.zero(Vectors.HALF).blend(v, kept).intoMemorySegment(Memory.ALL, y + 4L * i, order);
    }
    for (; i < n; i++) {
      boolean kept = Dropout.bits(k.key(), from + i) >>> 40 >= threshold;
      Memory.f32(y + 4L * i, kept ? Memory.f32(x + 4L * i) * factor : 0);
    }
    Rows.write(lanes, k.y(), from, n, y);
  }
}
