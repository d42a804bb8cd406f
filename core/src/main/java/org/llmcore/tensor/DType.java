package org.llmcore.tensor;

/// How the elements of a tensor lie in memory. A dtype describes bytes only: every kernel computes in f32 (or f64 on the
/// reference device) and converts where it loads and stores.
///
/// | dtype | bytes | meaning                                                   |
/// |-------|-------|-----------------------------------------------------------|
/// | F32   | 4     | IEEE 754 binary32                                         |
/// | BF16  | 2     | the upper half of an f32, rounded to nearest even         |
/// | F16   | 2     | IEEE 754 binary16                                         |
/// | I32   | 4     | signed integer: token ids, positions, sequence starts     |
/// | U8    | 1     | raw bytes                                                 |
public enum DType {
  F32(4),
  BF16(2),
  F16(2),
  I32(4),
  U8(1);

  private final int bytes;

  DType(int bytes) {
    this.bytes = bytes;
  }

  /// Bytes of one element.
  public int bytes() {
    return bytes;
  }

  /// True for the dtypes that hold real numbers: F32, BF16, F16.
  public boolean floating() {
    return this == F32 || this == BF16 || this == F16;
  }
}
