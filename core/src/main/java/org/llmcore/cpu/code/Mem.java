package org.llmcore.cpu.code;

/// A memory operand: base + index · scale + disp. With `broadcast` one element stands for a whole vector, `{1toN}`.
///
/// @param index null for none; never RSP
public record Mem(Gpr base, Gpr index, int scale, int disp, boolean broadcast) {
  public Mem {
    if (index == Gpr.RSP) throw new IllegalArgumentException("RSP cannot be an index");
    if (Integer.bitCount(scale) != 1 || scale > 8) throw new IllegalArgumentException("scale is " + scale + ", expected 1, 2, 4 or 8");
  }

  /// The element here, repeated over a vector.
  public Mem all() {
    return new Mem(base, index, scale, disp, true);
  }

  /// `bytes` further.
  public Mem plus(int bytes) {
    return new Mem(base, index, scale, disp + bytes, broadcast);
  }
}
