package org.llmcore.cpu;

import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorSpecies;

import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Nf4;

import static jdk.incubator.vector.VectorOperators.ROR;

/// Rows of `Nf4` matrices as f32: nibbles are spread over lanes by two rotations, levels looked up by a permutation of one
/// register (two where a register holds 8 lanes).
final class Nf4Decoding {
  private static final boolean VECTORS = Lanes.N >= 8;
  private static final VectorSpecies<Long> LONGS = VectorSpecies.of(long.class, Lanes.F.vectorShape());

  /// Lane i of longs holds elements 2i and 2i+1: the high nibble of byte i goes to bit 0, the low one to bit 32.
  private static final LongVector HIGH = LongVector.zero(LONGS).addIndex(8).add(4);

  private static final LongVector LOW = LongVector.zero(LONGS).addIndex(8).add(32);
  private static final float[] LEVELS = Nf4.levels();
  private static final IntVector FIRST = levels(0);
  private static final IntVector SECOND = levels(Lanes.N % 16);

  private Nf4Decoding() {}

  private static IntVector levels(int from) {
    var bits = new int[Lanes.N];
    for (int i = 0; i < bits.length; i++) bits[i] = Float.floatToRawIntBits(LEVELS[from + i]);
    return IntVector.fromArray(Codes.INTS, bits, 0);
  }

  /// Columns `[from, from+n)` of a row.
  static void decode(Lanes lanes, Nf4 w, int row, int from, int n, long to) {
    long e = (long) row * w.inputs() + from;
    long codes = w.codes().address();
    int i = 0;
    boolean vectors = lanes.vector() && VECTORS && e % Lanes.N == 0;
    while (i < n) {
      int block = (int) ((e + i) / Nf4.BLOCK);
      int stop = (int) Math.min(n, (block + 1L) * Nf4.BLOCK - e);
      float absmax = w.absmax(block);
      int whole = vectors ? i + (stop - i & -Lanes.N) : i;
      for (; i < whole; i += Lanes.N) {
        var value = level(codes + (e + i) / 2).reinterpretAsFloats();
        Lanes.store(to + 4L * i, value.mul(absmax));
      }
      for (; i < stop; i++) Memory.f32(to + 4L * i, LEVELS[w.code(e + i)] * absmax);
    }
  }

  /// The levels of N elements whose codes begin at an address.
  private static IntVector level(long at) {
    var nibbles = LongVector.broadcast(LONGS, Lanes.N == 16 ? Memory.i64(at) : Integer.toUnsignedLong(Memory.i32(at)));
    var codes = nibbles.lanewise(ROR, HIGH).and(15).or(nibbles.lanewise(ROR, LOW).and(15L << 32)).reinterpretAsInts();
    return (IntVector) (Lanes.N == 16 ? codes.selectFrom(FIRST) : codes.selectFrom(FIRST, SECOND));
  }
}
