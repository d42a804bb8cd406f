package org.llmcore.cpu;

import org.llmcore.tensor.Memory;
import org.llmcore.tensor.QuantMatrix;

/// Elements of matrices in few bits as f32, with the bits of `QuantMatrix.get`.
final class Decoding {
  private Decoding() {}

  /// Elements `[from, from+n)` of row `row` into f32 memory.
  static void decode(Lanes lanes, QuantMatrix w, int row, int from, int n, long to) {
    for (int i = 0; i < n; i++) Memory.f32(to + 4L * i, w.get(row, from + i));
  }
}
