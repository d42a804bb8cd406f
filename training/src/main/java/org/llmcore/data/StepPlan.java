package org.llmcore.data;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;
import java.util.stream.IntStream;

import org.llmcore.InvalidInput;

/// Which examples every optimizer step sees: a pure function of (data set, batching, seed, step). To resume at step s, ask for
/// step s.
///
/// An epoch gives every example exactly once, in `Order.of(n, seed, epoch)`; its last step is shorter if the examples do not
/// come out even. The losses of a step are divided by `learned` of all its micro-batches, known before the first one runs.
public final class StepPlan {
  private static final long LOOKED_AT = 20_000_000; // examples; about a second

  private final DataSet data;
  private final Batching batching;
  private final long seed;
  private final int[] lengths;
  private final int stepsPerEpoch;
  private final int steps;
  // Only saves work: recomputed from (seed, epoch) when another epoch is asked for.
  private Epoch last = new Epoch(-1, List.of());

  /// Where a step stands in the data.
  /// @param epoch counted from 0
  /// @param index examples of this epoch seen before the step
  public record Position(int epoch, int index) {}

  private record Epoch(int number, List<List<int[]>> steps) {}

  /// @param epochs how often the data is seen, fractions included; rounded up to whole steps
  /// @param maxSteps number of steps; if present, `epochs` does not count
  /// @throws InvalidInput if there is nothing to learn, or an example exceeds a micro-batch's tokens
  public StepPlan(DataSet data, Batching batching, long seed, double epochs, OptionalInt maxSteps) {
    this.data = data;
    this.batching = batching;
    this.seed = seed;
    this.lengths = data.lengths();
    if (data.size() == 0) throw new InvalidInput("there is no example to train on", "add at least one");
    if (data.learned() == 0) throw new InvalidInput("none of the " + data.tokens() + " tokens carries loss: nothing would be learned",
      "at least one answer must be learned; look at the masks");
    if (!(epochs > 0) && maxSteps.isEmpty()) throw new InvalidInput("epochs is " + epochs + ", expected more than 0", "for example 1 or 0.1");
    if (maxSteps.isPresent() && maxSteps.getAsInt() < 1)
      throw new InvalidInput("the number of steps is " + maxSteps.getAsInt() + ", expected at least 1", "leave it out to count epochs");
    int tokens = switch (batching) {
      case Batching.Sequences s -> s.tokens();
      case Batching.Packed p -> p.tokens();
    };
    int longest = Arrays.stream(lengths).max().getAsInt();
    if (longest > tokens)
      throw new InvalidInput("an example of " + longest + " tokens does not fit a micro-batch of " + tokens,
        "allow at least " + longest + " tokens per micro-batch, or cut or drop long examples");
    this.stepsPerEpoch = epoch(0).size();
    double wanted = maxSteps.isPresent() ? maxSteps.getAsInt() : Math.ceil(epochs * stepsPerEpoch - 1e-9);
    if (wanted > Integer.MAX_VALUE) throw new InvalidInput(epochs + " epochs are more than 2^31 steps", "fewer epochs");
    this.steps = Math.max(1, (int) wanted);
  }

  /// Optimizer steps of the whole run.
  public int steps() {
    return steps;
  }

  /// Optimizer steps that see every example once.
  public int stepsPerEpoch() {
    return stepsPerEpoch;
  }

  /// The micro-batches of a step; steps count from 1.
  public List<Batch> batches(int step) {
    return examples(step).stream().map(this::batch).toList();
  }

  /// Indices of the examples of a step, by micro-batch.
  public List<int[]> examples(int step) {
    return epoch(epochOf(step)).get((step - 1) % stepsPerEpoch);
  }

  /// Where a step begins.
  public Position position(int step) {
    var before = epoch(epochOf(step)).subList(0, (step - 1) % stepsPerEpoch);
    return new Position(epochOf(step), before.stream().flatMap(List::stream).mapToInt(b -> b.length).sum());
  }

  /// Epochs completed when a step is done, fractions included.
  public double epochs(int step) {
    return step / (double) stepsPerEpoch;
  }

  /// Size of a micro-batch.
  public record Size(int tokens, int sequences) {}

  /// The most tokens and the most sequences that any micro-batch of the run holds, for the memory plan. Every step is looked
  /// at; where that would take long, it is the most that any order of the examples could give.
  public Size largest() {
    if ((long) steps / stepsPerEpoch * lengths.length > LOOKED_AT) return largestOfAnyOrder();
    int tokens = 1;
    int sequences = 1;
    for (int s = 1; s <= steps; s++) {
      for (var batch : examples(s)) {
        tokens = Math.max(tokens, IntStream.of(batch).map(i -> lengths[i]).sum());
        sequences = Math.max(sequences, batch.length);
      }
    }
    return new Size(tokens, sequences);
  }

  private Size largestOfAnyOrder() {
    var sorted = lengths.clone();
    Arrays.sort(sorted);
    return switch (batching) {
      case Batching.Sequences s -> {
        int n = Math.min(s.sequences(), sorted.length);
        yield new Size(Math.min(s.tokens(), Arrays.stream(sorted, sorted.length - n, sorted.length).sum()), n);
      }
      case Batching.Packed p -> new Size(p.tokens(), Math.min(sorted.length, p.tokens() / sorted[0]));
    };
  }

  /// All of a data set in its own order, for evaluation.
  public static List<Batch> inOrder(DataSet data, int sequences, int tokens) {
    var order = IntStream.range(0, data.size()).toArray();
    return Packing.consecutive(order, data.lengths(), sequences, tokens).stream()
      .map(b -> Batch.of(IntStream.of(b).mapToObj(data.examples()::get).toList())).toList();
  }

  private int epochOf(int step) {
    if (step < 1) throw new IllegalArgumentException("step " + step + ", steps count from 1");
    return (step - 1) / stepsPerEpoch;
  }

  private Batch batch(int[] indices) {
    return Batch.of(IntStream.of(indices).mapToObj(data.examples()::get).toList());
  }

  private List<List<int[]>> epoch(int number) {
    var known = last;
    if (known.number == number) return known.steps;
    var order = Order.of(lengths.length, seed, number);
    var made = new ArrayList<List<int[]>>();
    switch (batching) {
      case Batching.Sequences s -> {
        int size = (int) Math.min(order.length, (long) s.sequences() * s.accumulation());
        for (int from = 0; from < order.length; from += size) {
          var step = Arrays.copyOfRange(order, from, Math.min(order.length, from + size));
          made.add(Packing.consecutive(step, lengths, s.sequences(), s.tokens()));
        }
      }
      case Batching.Packed p -> {
        var bins = Packing.bestFit(order, lengths, p.tokens());
        for (int from = 0; from < bins.size(); from += p.accumulation())
          made.add(bins.subList(from, Math.min(bins.size(), from + p.accumulation())));
      }
    }
    last = new Epoch(number, made);
    return made;
  }
}
