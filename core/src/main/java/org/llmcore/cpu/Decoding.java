package org.llmcore.cpu;

import org.llmcore.tensor.Blocks;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Nf4;
import org.llmcore.tensor.QuantMatrix;

/// Elements of matrices in few bits as f32, with the bits of `QuantMatrix.get`.
final class Decoding {
  private Decoding() {}

  /// Elements `[from, from+n)` of row `row` into f32 memory; `from` is a multiple of 16.
  static void decode(Lanes lanes, QuantMatrix w, int row, int from, int n, long to) {
    switch (w) {
      case Grouped g -> GroupedDecoding.decode(lanes, g, row, from, n, to);
      case Nf4 f -> Nf4Decoding.decode(lanes, f, row, from, n, to);
      case Blocks b -> BlocksDecoding.decode(lanes, b, row, from, n, to);
    }
  }
}
