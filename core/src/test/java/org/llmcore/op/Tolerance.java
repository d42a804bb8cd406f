package org.llmcore.op;

import org.llmcore.tensor.DType;

/// How far a device may be from the reference: `8 · eps · √terms · largest |reference|`, where eps is the unit roundoff of the
/// coarsest dtype on the way and terms the longest sum. Rounding errors of a sum of n terms grow like √n when signs vary
/// (Higham 2002, §2.8); 8 covers the few roundings beside the sum.
public record Tolerance(DType dtype, long terms) {
  private static double eps(DType dtype) {
    return switch (dtype) {
      case F32 -> 0x1p-24;
      case F16 -> 0x1p-11;
      case BF16 -> 0x1p-8;
      default -> 0;
    };
  }

  public double of(double largest) {
    return 8 * eps(dtype) * Math.sqrt(Math.max(1, terms)) * largest;
  }
}
