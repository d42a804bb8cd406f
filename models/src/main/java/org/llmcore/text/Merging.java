package org.llmcore.text;

import java.util.Arrays;

/// The merge loop of byte-pair encoding: of all neighbouring symbols that form a known pair, join the one of best rank,
/// the leftmost among equals, until none is left. O(n log n) by a heap of pairs over a linked list of symbols.
///
///     heap key = rank · 2³² + index of the left symbol        (smaller comes first)
///
/// Every left symbol has at most one valid pair, remembered in `rank`; a heap entry whose rank is no longer the
/// remembered one is stale and passed over. One instance encodes one sequence.
final class Merging {
  /// What a rule answers when two symbols do not join.
  static final long NONE = -1;

  /// The pairs that join.
  interface Rule {
    /// `rank · 2³² + id of the joined symbol`, ranks from 0 (best), or [#NONE].
    long pair(Merging symbols, int left, int right);
  }

  private static final int DEAD = -2;
  private static final int NO_PAIR = -1;

  private final Rule rule;
  private int[] id;      // (symbols) grows while they are added
  private int[] start;   // (symbols) where the symbol's text begins, in units of the caller
  private int[] end;     // (symbols)
  private int[] previous = {};
  private int[] next = {};
  private int[] rank = {};   // (symbols) of the pair (i, next[i]); NO_PAIR or DEAD
  private int[] joined = {}; // (symbols) id of that pair
  private long[] heap = new long[16];
  private int heaped;
  private int count;

  /// @param expected how many symbols will be added, roughly
  Merging(Rule rule, int expected) {
    this.rule = rule;
    id = new int[expected + 1];
    start = new int[expected + 1];
    end = new int[expected + 1];
  }

  /// Ranks of pieces that join by score: 0 for the highest, equal ranks for equal scores.
  static int[] ranks(float[] scores) {
    float[] sorted = new float[scores.length]; // negated, so best first
    for (int i = 0; i < scores.length; i++) {
      sorted[i] = 0f - scores[i]; // never −0, which sorts before 0
    }
    float[] negated = sorted.clone();
    Arrays.sort(sorted);
    int[] ranks = new int[scores.length];
    for (int i = 0; i < ranks.length; i++) {
      int at = 0; // first place of the score: scores may repeat thousands of times
      for (int to = sorted.length; at < to; ) {
        int middle = (at + to) >>> 1;
        if (sorted[middle] < negated[i]) {
          at = middle + 1;
        } else {
          to = middle;
        }
      }
      ranks[i] = at;
    }
    return ranks;
  }

  void add(int symbol, int from, int to) {
    if (count == id.length) {
      id = Arrays.copyOf(id, 2 * count);
      start = Arrays.copyOf(start, 2 * count);
      end = Arrays.copyOf(end, 2 * count);
    }
    id[count] = symbol;
    start[count] = from;
    end[count++] = to;
  }

  int id(int index) {
    return id[index];
  }

  int start(int index) {
    return start[index];
  }

  int end(int index) {
    return end[index];
  }

  /// The symbol behind this one, −1 at the end; symbol 0 is always the first.
  int next(int index) {
    return next[index] < count ? next[index] : -1;
  }

  boolean isEmpty() {
    return count == 0;
  }

  Merging run() {
    previous = new int[count];
    next = new int[count];
    rank = new int[count];
    joined = new int[count];
    for (int i = 0; i < count; i++) {
      previous[i] = i - 1;
      next[i] = i + 1;
    }
    for (int i = 0; i < count; i++) {
      look(i);
    }
    while (heaped > 0) {
      long key = pop();
      int left = (int) key;
      if (rank[left] != (int) (key >>> 32)) {
        continue;
      }
      int right = next[left];
      id[left] = joined[left];
      end[left] = end[right];
      next[left] = next[right];
      if (next[right] < count) {
        previous[next[right]] = left;
      }
      rank[right] = DEAD;
      if (previous[left] >= 0) {
        look(previous[left]);
      }
      look(left);
    }
    return this;
  }

  /// The ids that are left, in order.
  int[] ids() {
    var ids = new int[count];
    int n = 0;
    for (int i = 0; i < count; i = next[i]) {
      ids[n++] = id[i];
    }
    return Arrays.copyOf(ids, n);
  }

  private void look(int left) {
    rank[left] = NO_PAIR;
    if (next[left] >= count) {
      return;
    }
    long pair = rule.pair(this, left, next[left]);
    if (pair != NONE) {
      rank[left] = (int) (pair >>> 32);
      joined[left] = (int) pair;
      push((pair & 0xffff_ffff_0000_0000L) | left);
    }
  }

  private void push(long key) {
    if (heaped == heap.length) {
      heap = Arrays.copyOf(heap, heaped + (heaped >> 1));
    }
    int i = heaped++;
    for (; i > 0 && key < heap[(i - 1) >> 1]; i = (i - 1) >> 1) {
      heap[i] = heap[(i - 1) >> 1];
    }
    heap[i] = key;
  }

  private long pop() {
    long top = heap[0];
    long last = heap[--heaped];
    int i = 0;
    for (int child = 1; child < heaped; child = 2 * i + 1) {
      if (child + 1 < heaped && heap[child + 1] < heap[child]) {
        child++;
      }
      if (last <= heap[child]) {
        break;
      }
      heap[i] = heap[child];
      i = child;
    }
    heap[i] = last;
    return top;
  }
}
