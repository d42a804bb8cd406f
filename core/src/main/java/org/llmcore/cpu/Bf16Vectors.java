package org.llmcore.cpu;

import java.nio.ByteOrder;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.ShortVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

import org.llmcore.tensor.Memory;

/// Vectors of bfloat16 in memory. A class of its own, because loading the Vector API costs tens of milliseconds that a run on
/// machine code does not have to spend.
final class Bf16Vectors {
  private static final VectorSpecies<Integer> INTS = VectorSpecies.of(int.class, Lanes.F.vectorShape());
  private static final VectorSpecies<Short> SHORTS =
      VectorSpecies.of(short.class, VectorShape.forBitSize(Lanes.F.vectorBitSize() / 2));
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  private Bf16Vectors() {}

  static FloatVector widen(long from) {
    var bits = ShortVector.fromMemorySegment(SHORTS, Memory.ALL, from, ORDER).convertShape(VectorOperators.ZERO_EXTEND_S2I,
        INTS, 0);
    return ((IntVector) bits).lanewise(VectorOperators.LSHL, 16).reinterpretAsFloats();
  }

  static void narrow(FloatVector value, long to) {
    var bits = value.reinterpretAsInts();
    var high = bits.lanewise(VectorOperators.LSHR, 16);
    var rounded = bits.add(high.and(1)).add(0x7fff).lanewise(VectorOperators.LSHR, 16);
    var result = rounded.blend(high.or(0x40), value.test(VectorOperators.IS_NAN).cast(INTS));
    ((ShortVector) result.convertShape(VectorOperators.I2S, SHORTS, 0)).intoMemorySegment(Memory.ALL, to, ORDER);
  }
}
