package org.llmcore.cpu;

import java.nio.ByteOrder;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

import org.llmcore.tensor.Memory;

/// provisional
record Lanes(boolean vector) {
  static final VectorSpecies<Float> F =
      FloatVector.SPECIES_PREFERRED.length() > 16 ? FloatVector.SPECIES_512 : FloatVector.SPECIES_PREFERRED;
  static final int N = F.length();
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  int whole(int n) {
    return vector ? n & -N : 0;
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
