package org.llmcore.cpu;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

import org.llmcore.tensor.Memory;

/// The arguments of a function of `cpu.code`: fields of 64 bits at fixed offsets. They are set in an array and copied to memory at
/// once, because before the compiler has seen it a store to memory costs a hundred times as much as one to an array.
record Job(long[] fields) {
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED;

  /// All fields 0.
  static Job ofBytes(int bytes) {
    return new Job(new long[bytes / 8]);
  }

  Job copy() {
    return new Job(fields.clone());
  }

  /// @param offset of the field in bytes
  void set(int offset, long value) {
    fields[offset / 8] = value;
  }

  long get(int offset) {
    return fields[offset / 8];
  }

  /// Copies the fields to an address, and returns it.
  long at(long address) {
    MemorySegment.copy(fields, 0, Memory.ALL, LONG, address, fields.length);
    return address;
  }
}
