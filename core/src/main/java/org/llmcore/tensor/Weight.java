package org.llmcore.tensor;

/// A weight matrix (outputs, inputs) as it lies in memory: dense, or in few bits.
public sealed interface Weight permits Tensor, QuantMatrix {
  /// Bytes it takes, without what regions add for alignment.
  long bytes();
}
