package org.llmcore.quantize;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

import org.llmcore.InvalidInput;

/// Bits for each set of layers: the least error that a size allows.
///
///     minimise Σ_s e_s(b_s)   subject to   Σ_s size_s(b_s) ≤ budget
///
/// `e_s(b)` is the relative error ‖XWᵀ − XŴᵀ‖² / ‖XWᵀ‖² of the set's layers at b bits on the calibration text, summed. Every set
/// starts at its fewest bits; then the step that takes away most error per bit of size comes first, along the lower convex hull
/// of each set's points. That is the best there is for every size the steps pass through (Lagrange); what is left of the budget
/// after the last step that fits goes to whatever still fits and helps most. Ties go to the set that comes first in the model.
///
/// @param bits of each set, in the order of the choices
record Allocation(List<Choice> choices, List<Integer> bits) {
  /// What a set of layers costs at each width.
  /// @param layers full names; they share their input, and engines that fuse them ask that they share their bits
  /// @param weights number of weights
  /// @param widths by ascending bits
  record Choice(List<String> layers, long weights, List<Width> widths) {
    Width at(int bits) {
      return widths.stream().filter(w -> w.bits == bits).findFirst().orElseThrow();
    }
  }

  /// @param stored bits in the file: codes, scales and zeros
  /// @param error summed over the layers
  record Width(int bits, long stored, double error) {}

  /// A step of one set from a width to a wider one.
  private record Step(int set, Width from, Width to) {
    double gain() {
      return (from.error - to.error) / (to.stored - from.stored);
    }
  }

  Allocation {
    choices = List.copyOf(choices);
    bits = List.copyOf(bits);
  }

  /// The least error with at most `average` bits per weight, scales and zeros included.
  /// @throws InvalidInput if the fewest bits are more
  static Allocation within(List<Choice> choices, double average) {
    var all = fewest(choices);
    checkBudget(all.average(), average);
    var closed = new boolean[choices.size()];
    for (var s : steps(choices)) {
      if (closed[s.set]) continue;
      var next = all.with(s.set, s.to.bits);
      closed[s.set] = next.average() > average; // the steps behind it have this one's width to start from
      if (!closed[s.set]) all = next;
    }
    for (var rest = all.filled(average); rest != all; rest = all.filled(average)) all = rest;
    return all;
  }

  static void checkBudget(double fewest, double average) {
    if (fewest <= average) return;
    throw new InvalidInput("a budget of " + average + " bits per weight", String.format(Locale.ROOT,
        "with these groups the fewest are %.3f, scales and zeros included", fewest));
  }

  /// One more step off the hull that still fits, if there is one.
  private Allocation filled(double average) {
    Step best = null;
    for (int i = 0; i < choices.size(); i++) {
      var from = choices.get(i).at(bits.get(i));
      for (var to : choices.get(i).widths) {
        var step = new Step(i, from, to);
        boolean helps = to.stored > from.stored && to.error < from.error && with(i, to.bits).average() <= average;
        if (helps && (best == null || step.from.error - step.to.error > best.from.error - best.to.error)) best = step;
      }
    }
    return best == null ? this : with(best.set, best.to.bits);
  }

  /// Every allocation the steps pass through, from the smallest to the largest.
  static List<Allocation> path(List<Choice> choices) {
    var out = new ArrayList<>(List.of(fewest(choices)));
    for (var s : steps(choices)) out.add(out.getLast().with(s.set, s.to.bits));
    return out;
  }

  private static Allocation fewest(List<Choice> choices) {
    return new Allocation(choices, choices.stream().map(c -> c.widths.getFirst().bits).toList());
  }

  private static List<Step> steps(List<Choice> choices) {
    var steps = new ArrayList<Step>();
    for (int i = 0; i < choices.size(); i++) {
      var widths = choices.get(i).widths;
      for (int at = 0; at + 1 < widths.size();) {
        int best = at + 1;
        for (int to = at + 2; to < widths.size(); to++) {
          if (new Step(i, widths.get(at), widths.get(to)).gain() > new Step(i, widths.get(at),
              widths.get(best)).gain()) best = to;
        }
        var step = new Step(i, widths.get(at), widths.get(best));
        if (!(step.gain() > 0)) break;
        steps.add(step);
        at = best;
      }
    }
    // Gains fall along a hull, so a stable sort keeps each set's steps in order.
    steps.sort(Comparator.comparingDouble((Step s) -> -s.gain()));
    return steps;
  }

  private Allocation with(int set, int width) {
    return new Allocation(choices, IntStream.range(0, bits.size()).mapToObj(i -> i == set ? width : bits.get(i)).toList());
  }

  /// Stored bits per weight.
  double average() {
    long stored = 0;
    for (int i = 0; i < bits.size(); i++) stored += choices.get(i).at(bits.get(i)).stored;
    return (double) stored / choices.stream().mapToLong(Choice::weights).sum();
  }

  /// The sum that is minimised.
  double error() {
    return IntStream.range(0, bits.size()).mapToDouble(i -> choices.get(i).at(bits.get(i)).error).sum();
  }

  /// The bits of every layer by its full name.
  Map<String, Integer> byLayer() {
    return IntStream.range(0, bits.size()).boxed()
        .flatMap(i -> choices.get(i).layers.stream().map(l -> Map.entry(l, bits.get(i))))
        .collect(Collectors.toMap(Map.Entry::getKey, Map.Entry::getValue));
  }
}
