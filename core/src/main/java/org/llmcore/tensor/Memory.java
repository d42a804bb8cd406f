package org.llmcore.tensor;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// All of the process's memory as one segment, addressed by `long`. Kernels load and store through it: there is one kind of
/// off-heap access in the process, so the compiled code stays monomorphic and free of liveness checks. Whether an address
/// may be used at all was decided before, by `Tensor.address()` and the constructor of the kernel's record.
public final class Memory {
  /// Every address; `Memory.ALL.asSlice(address, bytes)` is a view of a tensor.
  public static final MemorySegment ALL = MemorySegment.NULL.reinterpret(Long.MAX_VALUE);

  private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
  private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;

  private Memory() {}

  /// The f32 at an address.
  public static float f32(long address) {
    return ALL.get(FLOAT, address);
  }

  /// Stores an f32.
  public static void f32(long address, float value) {
    ALL.set(FLOAT, address, value);
  }

  /// The i32 at an address.
  public static int i32(long address) {
    return ALL.get(INT, address);
  }

  /// Stores an i32.
  public static void i32(long address, int value) {
    ALL.set(INT, address, value);
  }

  /// The 16 bits at an address.
  public static short u16(long address) {
    return ALL.get(SHORT, address);
  }

  /// Stores 16 bits.
  public static void u16(long address, short value) {
    ALL.set(SHORT, address, value);
  }

  /// The i64 at an address.
  public static long i64(long address) {
    return ALL.get(ValueLayout.JAVA_LONG_UNALIGNED, address);
  }

  /// The byte at an address, unsigned.
  public static int u8(long address) {
    return ALL.get(ValueLayout.JAVA_BYTE, address) & 0xff;
  }

  /// Element `index` of an array of `dtype` at `address`, as f32 (exact for every dtype but large I32).
  public static float load(DType dtype, long address, long index) {
    return switch (dtype) {
      case F32 -> f32(address + 4 * index);
      case BF16 -> Bf16.toFloat(u16(address + 2 * index));
      case F16 -> Float.float16ToFloat(u16(address + 2 * index));
      case I32 -> i32(address + 4 * index);
      case U8 -> u8(address + index);
    };
  }

  /// Stores `value` as element `index` of an array of `dtype` at `address`, rounded to nearest even.
  public static void store(DType dtype, long address, long index, float value) {
    switch (dtype) {
      case F32 -> f32(address + 4 * index, value);
      case BF16 -> u16(address + 2 * index, Bf16.of(value));
      case F16 -> u16(address + 2 * index, Float.floatToFloat16(value));
      case I32 -> i32(address + 4 * index, (int) value);
      case U8 -> ALL.set(ValueLayout.JAVA_BYTE, address + index, (byte) (int) value);
    }
  }
}
