package org.llmcore.op;

/// Activations in eight bits: 32 neighbours of a row share a scale, as in GGML's `Q8_0` but for its f16. Symmetric, nearest codes.
///
///     scale = largest / 127        code = nearest integer to x · min(127 / largest, the largest float), ties to even
///
/// all in f32, where `largest` is the largest magnitude of the 32. A block that holds an infinity or no number is no number throughout.
/// The error of x is at most half a scale: 1/254 of its block's largest magnitude.
public final class Int8 {
  /// Neighbours that share a scale; a shorter block ends a row whose length is no multiple of it.
  public static final int BLOCK = 32;

  /// The largest code.
  public static final int LEVELS = 127;

  private Int8() {}

  /// The scale of a block.
  public static float scale(float largest) {
    return largest < Float.POSITIVE_INFINITY ? largest / LEVELS : Float.NaN;
  }

  /// What x is multiplied with before it is rounded to a code.
  public static float inverse(float largest) {
    return Math.min(LEVELS / largest, Float.MAX_VALUE);
  }

  /// The code of x.
  public static int code(float x, float inverse) {
    return (int) Math.rint(x * inverse);
  }

  /// Rounds the blocks of a row in place.
  public static void round(float[] row) {
    for (int from = 0; from < row.length; from += BLOCK) {
      int to = Math.min(row.length, from + BLOCK);
      float largest = 0;
      for (int i = from; i < to; i++) largest = Math.max(largest, Math.abs(row[i])); // NaN if one is
      float scale = scale(largest);
      float inverse = inverse(largest);
      for (int i = from; i < to; i++) row[i] = scale * code(row[i], inverse);
    }
  }
}
