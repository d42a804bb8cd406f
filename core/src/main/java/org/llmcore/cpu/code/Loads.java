package org.llmcore.cpu.code;

import org.llmcore.tensor.DType;

/// Loads of floats as f32, whatever their dtype.
public final class Loads {
  private Loads() {}

  /// d = f32 of as many elements in memory as it has lanes; a mask of d leaves lanes out, which it must zero.
  public static void load(Assembler a, Vec d, Mem from, DType dtype) {
    switch (dtype) {
      case F32 -> a.vmovups(d, from);
      case F16 -> a.vcvtph2ps(d, from);
      case BF16 -> {
        var all = new Vec(d.index(), d.bits(), 0, false);
        a.vpmovzxwd(d, from);
        a.vpslld(all, all, 16); // bf16 is the upper half of an f32
      }
      default -> throw new IllegalArgumentException(dtype + " is no float");
    }
  }
}
