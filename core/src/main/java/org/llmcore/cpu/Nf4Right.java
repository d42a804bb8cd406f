package org.llmcore.cpu;

import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.LongVector;
import jdk.incubator.vector.VectorSpecies;

import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Nf4;

import static jdk.incubator.vector.VectorOperators.ROR;

/// `Nf4` matrices: nibbles are spread over lanes by two rotations, levels looked up by a permutation of one register (two where a
/// register holds 8 lanes).
record Nf4Right(Nf4 w, long codes, long absmax, boolean nested, long scale, float offset) implements Right {
  private static final boolean VECTORS = Lanes.N >= 8;
  private static final VectorSpecies<Long> LONGS = VectorSpecies.of(long.class, Lanes.F.vectorShape());

  /// Lane i of longs holds elements 2i and 2i+1: the high nibble of byte i goes to bit 0, the low one to bit 32.
  private static final LongVector HIGH = LongVector.zero(LONGS).addIndex(8).add(4);

  private static final LongVector LOW = LongVector.zero(LONGS).addIndex(8).add(32);
  private static final float[] MAP = Nf4.map();
  private static final float[] LEVELS = Nf4.levels();
  private static final IntVector FIRST = levels(0);
  private static final IntVector SECOND = levels(Lanes.N % 16);

  static Nf4Right of(Nf4 w) {
    long scale = w.nested().map(n -> n.scale().address()).orElse(0L);
    float offset = w.nested().map(n -> Memory.f32(n.offset().address())).orElse(0f);
    return new Nf4Right(w, w.codes().address(), w.absmax().address(), w.nested().isPresent(), scale, offset);
  }

  private static IntVector levels(int from) {
    var bits = new int[Lanes.N];
    for (int i = 0; i < bits.length; i++) bits[i] = Float.floatToRawIntBits(LEVELS[from + i]);
    return IntVector.fromArray(Codes.INTS, bits, 0);
  }

  @Override
  public long read(Lanes lanes, long e, int n, long to) {
    boolean vectors = lanes.vector() && VECTORS && e % Lanes.N == 0;
    long end = e + n;
    long at = to;
    while (e < end) {
      long stop = Math.min(end, (e / Nf4.BLOCK + 1) * Nf4.BLOCK);
      float factor = absmax(e / Nf4.BLOCK);
      long whole = vectors ? e + (stop - e & -Lanes.N) : e;
      for (; e < whole; e += Lanes.N, at += 4L * Lanes.N) Lanes.store(at, level(codes + (e >> 1)).reinterpretAsFloats().mul(factor));
      for (; e < stop; e++, at += 4) Memory.f32(at, LEVELS[w.code(e)] * factor);
    }
    return to;
  }

  private float absmax(long block) {
    if (!nested) return Memory.f32(absmax + 4 * block);
    float scaled = MAP[Memory.u8(absmax + block)] * Memory.f32(scale + 4 * (block / Nf4.NESTED_BLOCK));
    return scaled + offset;
  }

  /// The levels of N elements whose codes begin at an address.
  private static IntVector level(long at) {
    var nibbles = LongVector.broadcast(LONGS, Lanes.N == 16 ? Memory.i64(at) : Integer.toUnsignedLong(Memory.i32(at)));
    var codes = nibbles.lanewise(ROR, HIGH).and(15).or(nibbles.lanewise(ROR, LOW).and(15L << 32)).reinterpretAsInts();
    return (IntVector) (Lanes.N == 16 ? codes.selectFrom(FIRST) : codes.selectFrom(FIRST, SECOND));
  }
}
