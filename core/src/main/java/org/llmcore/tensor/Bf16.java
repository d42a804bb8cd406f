package org.llmcore.tensor;

/// bfloat16: the upper 16 bits of an f32. 8 exponent bits, 7 stored fraction bits, unit roundoff 2⁻⁸.
public final class Bf16 {
  private Bf16() {}

  /// The nearest bfloat16, ties to even; NaN stays NaN (quieted), overflow becomes infinity.
  public static short of(float value) {
    int bits = Float.floatToRawIntBits(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return (short) (bits >>> 16 | 0x0040);
    return (short) (bits + 0x7fff + (bits >>> 16 & 1) >>> 16);
  }

  /// Exact.
  public static float toFloat(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }
}
