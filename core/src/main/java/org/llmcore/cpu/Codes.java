package org.llmcore.cpu;

import java.nio.ByteOrder;

import jdk.incubator.vector.ByteVector;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorShape;
import jdk.incubator.vector.VectorSpecies;

import org.llmcore.tensor.Memory;

/// Bytes of codes as vectors of integers, one code per lane.
final class Codes {
  static final VectorSpecies<Integer> INTS = VectorSpecies.of(int.class, Lanes.F.vectorShape());

  private static final boolean NARROW = Lanes.N < 8; // there is no vector of 4 bytes
  private static final VectorSpecies<Byte> BYTES =
      NARROW ? ByteVector.SPECIES_64 : VectorSpecies.of(byte.class, VectorShape.forBitSize(8 * Lanes.N));
  private static final IntVector SHIFTS = IntVector.zero(INTS).addIndex(8);
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  private Codes() {}

  /// N bytes, unsigned.
  static IntVector unsigned(long at) {
    if (NARROW) return IntVector.broadcast(INTS, Memory.i32(at)).lanewise(VectorOperators.LSHR, SHIFTS).and(255);
    return (IntVector) ByteVector.fromMemorySegment(BYTES, Memory.ALL, at, ORDER).convertShape(VectorOperators.ZERO_EXTEND_B2I, INTS, 0);
  }

  /// N bytes, signed.
  static IntVector signed(long at) {
    if (NARROW) return unsigned(at).lanewise(VectorOperators.LSHL, 24).lanewise(VectorOperators.ASHR, 24);
    return (IntVector) ByteVector.fromMemorySegment(BYTES, Memory.ALL, at, ORDER).convertShape(VectorOperators.B2I, INTS, 0);
  }

  /// `bits` bits of N bytes, from bit `shift` on.
  static IntVector field(long at, int shift, int mask) {
    return unsigned(at).lanewise(VectorOperators.LSHR, shift).and(mask);
  }

  /// Whether a register holds a value for each of 16 codes, so that decoding is a permutation of it.
  static final boolean TABLES = Lanes.N == 16;

  /// 0 … N−1.
  static final IntVector INDEX = IntVector.zero(INTS).addIndex(1);

  /// The elements of a table of 16 that codes below 16 name.
  static FloatVector lookup(IntVector q, IntVector table) {
    return ((IntVector) q.selectFrom(table)).reinterpretAsFloats();
  }

  static FloatVector floats(IntVector q) {
    return (FloatVector) q.convert(VectorOperators.I2F, 0);
  }
}
