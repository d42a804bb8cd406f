package org.llmcore.cpu;

import java.nio.ByteOrder;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

import org.llmcore.flags.Flags;
import org.llmcore.tensor.Memory;

/// Which loops run: vectors with a scalar tail, or the scalar twin alone. The vector width is chosen once per process, so
/// that compiled code sees a constant; results do not depend on it.
///
/// @param tier the loops to run
record Lanes(Tier tier) {
  /// The widest vectors of this CPU, at most 16 lanes, or what LLM_CPU_TIER asks for.
  static final VectorSpecies<Float> F = species();

  /// Lanes of a vector.
  static final int N = F.length();

  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  private static VectorSpecies<Float> species() {
    return switch (Flags.cpuTier()) {
      case VECTOR128 -> FloatVector.SPECIES_128;
      case VECTOR256 -> FloatVector.SPECIES_256;
      case VECTOR512 -> FloatVector.SPECIES_512;
      case AUTO, SCALAR, VECTOR, AVX512 -> FloatVector.SPECIES_PREFERRED.length() > 16 ? FloatVector.SPECIES_512 : FloatVector.SPECIES_PREFERRED;
    };
  }

  /// False to run the scalar twin everywhere.
  boolean vector() {
    return tier != Tier.SCALAR;
  }

  /// Whether to call machine code of our own where there is some.
  boolean emitted() {
    return tier == Tier.AVX512;
  }

  /// How many of n elements the vector loop takes; the scalar twin takes the rest.
  int whole(int n) {
    return vector() ? n & -N : 0;
  }

  static FloatVector load(long address) {
    return FloatVector.fromMemorySegment(F, Memory.ALL, address, ORDER);
  }

  static void store(long address, FloatVector v) {
    v.intoMemorySegment(Memory.ALL, address, ORDER);
  }

  static FloatVector all(float x) {
    return FloatVector.broadcast(F, x);
  }
}
