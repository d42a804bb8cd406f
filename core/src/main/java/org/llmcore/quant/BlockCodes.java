package org.llmcore.quant;

import java.util.stream.IntStream;

import org.llmcore.tensor.BlockType;

/// Makes GGML's blocks of f32 weights: Q8_0 and Q4_0 byte for byte as `ggml-quants.c` and Python's gguf package do, Q4_K by
/// `GridK`'s search.
///
///     Q8_0   d = max|x| / 127      q = x·(1/d), nearest, halves away from 0
///     Q4_0   d = x_max / −8        q = ⌊x·(1/d) + 8.5⌋, at most 15       x_max: the first x of largest magnitude, with its sign
///
/// d is stored as f16, codes are those of the f32 d. Where 1/d is no f32 number the block is zeros. A weight is off by at most
///
///     d·½ + |q|·(what f16 took from d)        Q4_0: d for an x opposite to x_max and nearly as large
///
/// Cost per weight: a few operations; Q4_K about 500.
public final class BlockCodes {
  private BlockCodes() {}

  /// Whether blocks of this type can be made.
  public static boolean made(BlockType type) {
    return type == BlockType.Q8_0 || type == BlockType.Q4_0 || type == BlockType.Q4_K;
  }

  /// Bytes of `n` weights from `x`.
  /// @param n a multiple of `type.weights()`
  /// @throws ArithmeticException if a weight is not finite, or a scale is too large for f16
  /// @throws IllegalArgumentException if blocks of this type are not made
  public static byte[] encode(BlockType type, float[] x, int n) {
    if (!made(type)) throw new IllegalArgumentException("blocks of " + type + " are not made, only Q8_0, Q4_0 and Q4_K");
    if (n % type.weights() != 0) throw new IllegalArgumentException(n + " weights are no whole number of " + type + " blocks");
    for (int i = 0; i < n; i++) if (!Float.isFinite(x[i])) throw new ArithmeticException("a weight is " + x[i]);
    int blocks = n / type.weights();
    var out = new byte[Math.multiplyExact(blocks, type.bytes())];
    IntStream.range(0, blocks).parallel().forEach(b -> block(type, x, b * type.weights(), out, b * type.bytes()));
    for (int at = 0; at < out.length; at += type.bytes()) {
      for (int s = at; s <= at + (type == BlockType.Q4_K ? 2 : 0); s += 2) {
        if ((out[s + 1] & 0x7c) == 0x7c) throw new ArithmeticException("a scale is too large for f16, which ends at 65504");
      }
    }
    return out;
  }

  private static void block(BlockType type, float[] x, int from, byte[] out, int at) {
    float largest = 0;
    float signed = x[from];
    for (int i = from; i < from + type.weights(); i++) {
      if (Math.abs(x[i]) > largest) {
        largest = Math.abs(x[i]);
        signed = x[i];
      }
    }
    switch (type) {
      case Q8_0 -> eight(x, from, largest / 127, out, at);
      case Q4_0 -> four(x, from, signed / -8, out, at);
      default -> GridK.encode(x, from, out, at);
    }
  }

  private static void eight(float[] x, int from, float d, byte[] out, int at) {
    float inverse = inverse(d);
    half(d, out, at);
    for (int i = 0; i < 32; i++) out[at + 2 + i] = (byte) away(x[from + i] * inverse);
  }

  private static void four(float[] x, int from, float d, byte[] out, int at) {
    float inverse = inverse(d);
    half(d, out, at);
    for (int i = 0; i < 16; i++) {
      int low = Math.min(15, (int) (x[from + i] * inverse + 8.5f));
      int high = Math.min(15, (int) (x[from + 16 + i] * inverse + 8.5f));
      out[at + 2 + i] = (byte) (low | high << 4);
    }
  }

  private static float inverse(float d) {
    float inverse = 1 / d;
    return Float.isFinite(inverse) ? inverse : 0;
  }

  /// Nearest, halves away from zero; the half is exact, as C's `roundf` has it.
  private static int away(float v) {
    float a = Math.abs(v);
    int floor = (int) a;
    int rounded = a - floor >= 0.5f ? floor + 1 : floor;
    return v < 0 ? -rounded : rounded;
  }

  /// Stores an f16 and gives back what it is worth.
  static float half(float d, byte[] out, int at) {
    short bits = Float.floatToFloat16(d);
    out[at] = (byte) bits;
    out[at + 1] = (byte) (bits >> 8);
    return Float.float16ToFloat(bits);
  }
}
