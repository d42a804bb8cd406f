package org.llmcore.text;

import java.util.Arrays;

/// A growing row of token ids.
final class Ids {
  private int[] ids = new int[64];
  private int count;

  void add(int... more) {
    if (count + more.length > ids.length) {
      ids = Arrays.copyOf(ids, Math.max(count + more.length, 2 * ids.length));
    }
    System.arraycopy(more, 0, ids, count, more.length);
    count += more.length;
  }

  int[] toArray() {
    return Arrays.copyOf(ids, count);
  }
}
