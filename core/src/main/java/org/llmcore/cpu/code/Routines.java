package org.llmcore.cpu.code;

import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.function.IntFunction;

/// Routines of one family, each written when first called.
public final class Routines {
  private final AtomicReferenceArray<Routine> made;
  private final IntFunction<Assembler> writer;

  /// @param writer makes the code of variant 0 … variants−1
  public Routines(int variants, IntFunction<Assembler> writer) {
    made = new AtomicReferenceArray<>(variants);
    this.writer = writer;
  }

  public Routine get(int variant) {
    var r = made.get(variant);
    return r != null ? r : make(variant);
  }

  private synchronized Routine make(int variant) {
    var r = made.get(variant);
    if (r == null) {
      r = new Routine(writer.apply(variant));
      made.set(variant, r);
    }
    return r;
  }
}
