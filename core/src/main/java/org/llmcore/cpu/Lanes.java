package org.llmcore.cpu;

import java.nio.ByteOrder;

import jdk.incubator.vector.FloatVector;

import org.llmcore.cpu.code.CpuFeatures;
import org.llmcore.tensor.Memory;

/// Which loops run: vectors with a scalar tail, or the scalar twin alone. The vector width is chosen once per process, so
/// that compiled code sees a constant; results do not depend on it.
///
/// @param tier the loops to run
record Lanes(Tier tier) implements Width {
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  /// False to run the scalar twin everywhere.
  boolean vector() {
    return tier != Tier.SCALAR;
  }

  /// Whether to call machine code of our own where there is some.
  boolean emitted() {
    return tier.compareTo(Tier.AVX512) >= 0;
  }

  /// Whether to multiply bf16 matrices by pairs of terms.
  boolean pairs() {
    return tier == Tier.AVX512BF16;
  }

  /// Whether to multiply bytes (AVX-512 VNNI).
  boolean bytes() {
    return emitted() && CpuFeatures.here().vnni();
  }

  /// Whether to multiply bf16 matrices on AMX tiles.
  boolean tiles() {
    return tier == Tier.AMX;
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
