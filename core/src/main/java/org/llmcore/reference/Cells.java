package org.llmcore.reference;

import java.util.HashMap;
import java.util.Map;

import org.llmcore.op.Sink;
import org.llmcore.tensor.Bf16;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// Elements of tensors as doubles. Usually they are loaded from memory and rounded to the tensor's dtype when stored. In exact
/// mode the double that was stored is kept by address and counts for as long as its rounding is what memory holds there; so a
/// chain of kernels runs in f64 from end to end and can be compared with finite differences, and memory that was reused or
/// written by others is seen as it is.
final class Cells {
  private final boolean exact;
  private final Map<Long, Double> doubles = new HashMap<>();

  Cells(boolean exact) {
    this.exact = exact;
  }

  double get(Tensor t, long i) {
    float stored = Memory.load(t.dtype(), t.address(), i);
    if (!exact) return stored;
    var kept = doubles.get(t.address() + i * t.dtype().bytes());
    return kept != null && Float.compare(rounded(t.dtype(), kept), stored) == 0 ? kept : stored;
  }

  void set(Tensor t, long i, double value) {
    Memory.store(t.dtype(), t.address(), i, (float) value);
    if (exact) doubles.put(t.address() + i * t.dtype().bytes(), value);
  }

  /// Overwrites or adds, as the sink says; does nothing if nobody wants it.
  void put(Sink s, long i, double value) {
    if (s.wanted()) set(s.tensor(), i, s.add() ? get(s.tensor(), i) + value : value);
  }

  /// An element of an I32 tensor.
  int index(Tensor t, long i) {
    return Memory.i32(t.address() + 4 * i);
  }

  /// An element of an I32 tensor that names one of `limit` rows.
  /// @throws IllegalArgumentException if it names none
  int index(Tensor t, long i, int limit) {
    int row = index(t, i);
    if (row < 0 || row >= limit) throw new IllegalArgumentException("index %d at %d is outside [0, %d)".formatted(row, i, limit));
    return row;
  }

  private static float rounded(DType dtype, double value) {
    return switch (dtype) {
      case BF16 -> Bf16.toFloat(Bf16.of((float) value));
      case F16 -> Float.float16ToFloat(Float.floatToFloat16((float) value));
      default -> (float) value;
    };
  }
}
