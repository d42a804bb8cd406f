package org.llmcore.cpu.code;

/// A vector register of 128, 256 or 512 bits, optionally under a mask: lanes whose bit of `mask` is 0 keep their value, or
/// become 0 with `zeroing`.
///
/// @param mask 1 … 7, 0 for none
public record Vec(int index, int bits, int mask, boolean zeroing) {
  public Vec {
    if (index < 0 || index > 31) throw new IllegalArgumentException("vector register " + index + ", expected 0 … 31");
    if (mask < 0 || mask > 7) throw new IllegalArgumentException("mask register " + mask + ", expected 0 … 7");
  }

  public static Vec zmm(int index) {
    return new Vec(index, 512, 0, false);
  }

  public static Vec ymm(int index) {
    return new Vec(index, 256, 0, false);
  }

  public static Vec xmm(int index) {
    return new Vec(index, 128, 0, false);
  }

  /// This register under mask k, other lanes kept.
  public Vec keep(int k) {
    return new Vec(index, bits, k, false);
  }

  /// This register under mask k, other lanes 0.
  public Vec zero(int k) {
    return new Vec(index, bits, k, true);
  }

  int bytes() {
    return bits / 8;
  }
}
