package org.llmcore.data;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.TreeMap;

/// The two ways to divide an order of examples into micro-batches. Both give every example exactly once.
final class Packing {
  private Packing() {}

  /// In order, cut where the next example would exceed either limit.
  static List<int[]> consecutive(int[] order, int[] lengths, int sequences, int tokens) {
    var batches = new ArrayList<int[]>();
    int start = 0;
    long filled = 0;
    for (int i = 0; i < order.length; i++) {
      int length = lengths[order[i]];
      if (i - start == sequences || (i > start && filled + length > tokens)) {
        batches.add(Arrays.copyOfRange(order, start, i));
        start = i;
        filled = 0;
      }
      filled += length;
    }
    if (start < order.length) batches.add(Arrays.copyOfRange(order, start, order.length));
    return batches;
  }

  /// Best-fit decreasing: longest first, each into the fullest bin that still has room; at most 11/9 of the fewest bins
  /// possible, and 1 (Johnson 1973). O(n log n).
  ///
  /// The number of bins depends on the lengths alone, not on the order, so every epoch has as many steps. Bins come in the
  /// order of their longest example's place in `order`, which a shuffle makes as random as a shuffle of the bins.
  static List<int[]> bestFit(int[] order, int[] lengths, int tokens) {
    var byLength = new ArrayList<Integer>();
    for (int i = 0; i < order.length; i++) byLength.add(i);
    byLength.sort(Comparator.comparingInt((Integer i) -> -lengths[order[i]]));
    var bins = new ArrayList<List<Integer>>();
    var open = new TreeMap<Integer, Deque<List<Integer>>>(); // room left → bins
    for (int place : byLength) {
      int length = lengths[order[place]];
      var fit = open.ceilingEntry(length);
      int room = tokens;
      List<Integer> bin;
      if (fit == null) {
        bin = new ArrayList<>();
        bins.add(bin);
      } else {
        room = fit.getKey();
        bin = fit.getValue().removeFirst();
        if (fit.getValue().isEmpty()) open.remove(room);
      }
      bin.add(place);
      open.computeIfAbsent(room - length, _ -> new ArrayDeque<>()).addLast(bin);
    }
    bins.sort(Comparator.comparingInt(List::getFirst));
    var batches = new ArrayList<int[]>();
    for (var bin : bins) {
      Collections.sort(bin);
      batches.add(bin.stream().mapToInt(place -> order[place]).toArray());
    }
    return batches;
  }
}
