package org.llmcore.tensor;

/// Block formats of GGML (llama.cpp, `ggml-common.h` and `ggml-quants.c`): so many weights in so many bytes, little-endian,
/// f16 scales inside. `value` is the reference implementation's dequantization, operation by operation in f32.
///
/// | type | weights | bytes | layout                                             | value                          |
/// |------|---------|-------|----------------------------------------------------|--------------------------------|
/// | Q8_0 | 32      | 34    | d, 32 i8                                           | d·q                            |
/// | Q4_0 | 32      | 18    | d, 16 B: low nibbles 0…15, high 16…31              | d·(q − 8)                      |
/// | Q4_1 | 32      | 20    | d, m, nibbles as Q4_0                              | d·q + m                        |
/// | Q5_0 | 32      | 22    | d, 32 fifth bits, nibbles as Q4_0                  | d·(q − 16)                     |
/// | Q5_1 | 32      | 24    | d, m, 32 fifth bits, nibbles as Q4_0               | d·q + m                        |
/// | Q4_K | 256     | 144   | d, dmin, 12 B of 8 (scale, min) of 6 bits, 128 B   | (d·scale)·q − dmin·min         |
/// | Q5_K | 256     | 176   | as Q4_K with 32 B of fifth bits before the nibbles | (d·scale)·q − dmin·min         |
/// | Q6_K | 256     | 210   | 128 B low nibbles, 64 B upper pairs, 16 i8 scales, d | (d·scale)·(q − 32)           |
public enum BlockType {
  Q8_0(32, 34),
  Q4_0(32, 18),
  Q4_1(32, 20),
  Q5_0(32, 22),
  Q5_1(32, 24),
  Q4_K(256, 144),
  Q5_K(256, 176),
  Q6_K(256, 210);

  private final int weights;
  private final int bytes;

  BlockType(int weights, int bytes) {
    this.weights = weights;
    this.bytes = bytes;
  }

  /// Weights of a block.
  public int weights() {
    return weights;
  }

  /// Bytes of a block.
  public int bytes() {
    return bytes;
  }

  /// Weight i of the block at an address.
  public float value(long block, int i) {
    return switch (this) {
      case Q8_0 -> half(block) * (byte) Memory.u8(block + 2 + i);
      case Q4_0 -> half(block) * (nibble(block + 2, i) - 8);
      case Q4_1 -> half(block) * nibble(block + 4, i) + half(block + 2);
      case Q5_0 -> half(block) * ((nibble(block + 6, i) | fifth(block + 2, i)) - 16);
      case Q5_1 -> half(block) * (nibble(block + 8, i) | fifth(block + 4, i)) + half(block + 2);
      case Q4_K -> grid(block, i, run(block + 16, i));
      case Q5_K -> grid(block, i, run(block + 48, i) | (Memory.u8(block + 16 + i % 32) >> i / 32 & 1) << 4);
      case Q6_K -> half(block + 208) * (byte) Memory.u8(block + 192 + i / 16) * (six(block, i) - 32);
    };
  }

  /// An f16 as f32.
  private static float half(long address) {
    return Float.float16ToFloat(Memory.u16(address));
  }

  private static int nibble(long at, int i) {
    return Memory.u8(at + i % 16) >> i / 16 * 4 & 15;
  }

  private static int fifth(long at, int i) {
    return (Memory.i32(at) >>> i & 1) << 4;
  }

  /// Nibble i of runs of 32 bytes: low nibbles are 32 weights, high nibbles the next 32.
  private static int run(long at, int i) {
    return Memory.u8(at + i / 64 * 32 + i % 32) >> i / 32 % 2 * 4 & 15;
  }

  private static float grid(long block, int i, int q) {
    int pair = i / 32;
    return half(block) * scale(block + 4, pair) * q - half(block + 2) * min(block + 4, pair);
  }

  /// Six-bit scale j of the 12 bytes at an address.
  public static int scale(long at, int j) {
    return j < 4 ? Memory.u8(at + j) & 63 : Memory.u8(at + j + 4) & 15 | Memory.u8(at + j - 4) >> 6 << 4;
  }

  /// Six-bit minimum j of the 12 bytes at an address.
  public static int min(long at, int j) {
    return j < 4 ? Memory.u8(at + j + 4) & 63 : Memory.u8(at + j + 4) >> 4 | Memory.u8(at + j) >> 6 << 4;
  }

  private static int six(long block, int i) {
    int half = i / 128;
    int quarter = i % 128 / 32;
    int low = Memory.u8(block + half * 64 + quarter % 2 * 32 + i % 32) >> quarter / 2 * 4 & 15;
    return low | (Memory.u8(block + 128 + half * 32 + i % 32) >> 2 * quarter & 3) << 4;
  }
}
