package org.llmcore.cpu;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Memory of one worker, empty at the start of every task; it grows to what the largest task needs and is then reused.
final class Scratch implements AutoCloseable {
  private final Region region = Region.growing("scratch");

  /// Address of n floats, aligned to a cache line, content undefined.
  long floats(long n) {
    return region.carve(4 * n);
  }

  /// A tensor of f32, content undefined.
  Tensor tensor(Shape shape) {
    return region.carve(DType.F32, shape);
  }

  void reset() {
    region.release(0);
  }

  @Override
  public void close() {
    region.close();
  }
}
