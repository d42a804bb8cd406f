package org.llmcore.data;

/// How examples become the micro-batches of an optimizer step.
public sealed interface Batching {
  /// Micro-batches per optimizer step.
  int accumulation();

  /// A step is `sequences · accumulation` consecutive examples of the epoch's order, whatever the split: 1×8, 2×4 and 8×1 train
  /// on the same tokens in the same order.
  /// @param sequences most examples in a micro-batch
  /// @param tokens most tokens in a micro-batch; one that would hold more is cut into several, and the step stays the same
  record Sequences(int sequences, int accumulation, int tokens) implements Batching {
    public Sequences {
      positive(sequences, "sequences");
      positive(accumulation, "accumulation");
      positive(tokens, "tokens");
    }

    public Sequences(int sequences, int accumulation) {
      this(sequences, accumulation, Integer.MAX_VALUE);
    }
  }

  /// Micro-batches filled up to a token budget by best-fit decreasing, `accumulation` of them a step. Examples stay whole and
  /// isolated; which ones share a micro-batch depends on their lengths, and the order of the micro-batches on the seed.
  record Packed(int tokens, int accumulation) implements Batching {
    public Packed {
      positive(tokens, "tokens");
      positive(accumulation, "accumulation");
    }
  }

  private static void positive(int value, String name) {
    if (value < 1) throw new org.llmcore.InvalidInput(name + " is " + value + ", expected at least 1", "for example 8");
  }
}
