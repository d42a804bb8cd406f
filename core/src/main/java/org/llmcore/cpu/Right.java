package org.llmcore.cpu;

import org.llmcore.tensor.Blocks;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Nf4;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Tensor;

/// The right operand of a product: f32 elements of a row-major array, converted or decoded where they are read. Matrices in few
/// bits have the bits of `QuantMatrix.get`; what is read of them at once lies within one row, and begins at a multiple of 16.
sealed interface Right permits Right.Dense, GroupedRight, Nf4Right, BlocksRight {
  /// Address of elements `[from, from+n)` as f32: where they lie, or `staging` after conversion.
  long read(Lanes lanes, long from, int n, long staging);

  /// Whether elements lie in memory as f32, so that `read` costs nothing.
  default boolean plain() {
    return false;
  }

  /// The matrix, its addresses resolved once per product.
  static Right of(QuantMatrix w) {
    return switch (w) {
      case Grouped g -> GroupedRight.of(g);
      case Nf4 f -> Nf4Right.of(f);
      case Blocks b -> BlocksRight.of(b);
    };
  }

  /// A tensor of any floating dtype.
  record Dense(Tensor t) implements Right {
    @Override
    public long read(Lanes lanes, long from, int n, long staging) {
      return Rows.read(lanes, t, from, n, staging);
    }

    @Override
    public boolean plain() {
      return t.dtype() == DType.F32;
    }
  }
}
