package org.llmcore.cpu;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Tensor;

/// The right operand of a product: f32 elements of a row-major array, converted or decoded where they are read.
sealed interface Right {
  /// Address of elements `[from, from+n)` as f32: where they lie, or `staging` after conversion.
  long read(Lanes lanes, long from, int n, long staging);

  /// Whether elements lie in memory as f32, so that `read` costs nothing.
  boolean plain();

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

  /// A matrix in few bits; a piece that is read lies within one row.
  record Coded(QuantMatrix w) implements Right {
    @Override
    public long read(Lanes lanes, long from, int n, long staging) {
      Decoding.decode(lanes, w, Math.toIntExact(from / w.inputs()), (int) (from % w.inputs()), n, staging);
      return staging;
    }

    @Override
    public boolean plain() {
      return false;
    }
  }
}
