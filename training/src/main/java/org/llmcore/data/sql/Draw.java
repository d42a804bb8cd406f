package org.llmcore.data.sql;

import java.util.List;

import org.llmcore.op.Dropout;

/// A stream of random choices that is a pure function of its key: example i of a data set is the same whoever asks, in any order.
final class Draw {
  private final long key;
  private long counter;

  Draw(long... coordinates) {
    this.key = Dropout.key(coordinates);
  }

  /// Uniform in [0, n).
  int below(int n) {
    return (int) Math.floorMod(Dropout.bits(key, counter++) >>> 8, (long) n);
  }

  /// True in `percent` of 100 cases.
  boolean chance(int percent) {
    return below(100) < percent;
  }

  <T> T pick(List<T> from) {
    return from.get(below(from.size()));
  }

  String pick(String... from) {
    return from[below(from.length)];
  }
}
