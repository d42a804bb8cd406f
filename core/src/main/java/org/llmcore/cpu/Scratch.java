package org.llmcore.cpu;

import org.llmcore.tensor.*;

/// provisional
final class Scratch {
  private final Region region = Region.growing("scratch");
  void reset() { region.reset(); }
  /// Address of n floats, 64-byte aligned, content undefined.
  long floats(long n) { return region.carve(DType.U8, Shape.of((int) (4 * n))).address(); }
}
