package org.llmcore.data;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import org.llmcore.InvalidInput;

/// Tokenised examples in a fixed order.
public record DataSet(Objective objective, List<Example> examples) {
  // Epochs count from 0, so no epoch's order coincides with the choice of the validation set.
  private static final long SPLIT = -1;

  public DataSet {
    examples = List.copyOf(examples);
  }

  /// Number of examples.
  public int size() {
    return examples.size();
  }

  /// Tokens of all examples.
  public long tokens() {
    return examples.stream().mapToLong(Example::length).sum();
  }

  /// Tokens of all examples that carry loss.
  public long learned() {
    return examples.stream().mapToLong(Example::learned).sum();
  }

  /// Tokens of each example.
  public int[] lengths() {
    return examples.stream().mapToInt(Example::length).toArray();
  }

  /// One line: how much there is, and how long the examples are.
  public String summary() {
    if (examples.isEmpty()) return "no examples";
    var d = Distribution.of(lengths());
    return String.format(java.util.Locale.ROOT, "%,d examples, %,d tokens, %,d learned (%.0f %%); tokens per example %.0f to %.0f, median %.0f",
      size(), tokens(), learned(), 100.0 * learned() / tokens(), d.min(), d.max(), d.median());
  }

  /// Leaves no example longer than the context.
  /// @throws InvalidInput if one is and `policy` refuses, or none is left
  public DataFile.Loaded fit(int context, TooLong policy) {
    var longer = examples.stream().filter(e -> e.length() > context).toList();
    if (longer.isEmpty()) return new DataFile.Loaded(this, 0, 0);
    if (policy == TooLong.REFUSE) {
      var longest = longer.stream().reduce((a, b) -> b.length() > a.length() ? b : a).orElseThrow();
      throw new InvalidInput(longer.size() + " of " + size() + " examples are longer than the context of " + context
        + " tokens; the longest has " + longest.length() + " (" + longest.origin() + ")",
        "raise the context, shorten them, or choose to cut or drop them");
    }
    var kept = new ArrayList<Example>();
    int cut = 0;
    for (var e : examples) {
      if (e.length() <= context) {
        kept.add(e);
      } else if (policy == TooLong.TRUNCATE && e.cut(context).learned() > 0) {
        kept.add(e.cut(context));
        cut++;
      }
    }
    if (kept.isEmpty())
      throw new InvalidInput("no example is left: all " + size() + " are longer than the context of " + context + " tokens", "raise the context");
    return new DataFile.Loaded(new DataSet(objective, kept), cut, size() - kept.size());
  }

  /// Two disjoint parts, both in the order of the whole.
  public record Split(DataSet train, DataSet validation) {}

  /// Sets examples aside for validation, chosen by the seed.
  /// @throws InvalidInput unless at least one example remains on either side
  public Split split(int validation, long seed) {
    if (validation < 1 || validation >= size())
      throw new InvalidInput("cannot set " + validation + " of " + size() + " examples aside for validation",
        "between 1 and " + (size() - 1) + ", or no validation at all");
    var aside = new boolean[size()];
    for (int i : Arrays.copyOf(Order.of(size(), seed, SPLIT), validation)) aside[i] = true;
    var train = new ArrayList<Example>();
    var held = new ArrayList<Example>();
    for (int i = 0; i < aside.length; i++) (aside[i] ? held : train).add(examples.get(i));
    return new Split(new DataSet(objective, train), new DataSet(objective, held));
  }

  /// The same by fraction, rounded, at least one.
  public Split split(double fraction, long seed) {
    if (!(fraction > 0 && fraction < 1)) throw new InvalidInput("a validation fraction of " + fraction + " is not between 0 and 1", "for example 0.1");
    return split((int) Math.max(1, Math.round(fraction * size())), seed);
  }
}
