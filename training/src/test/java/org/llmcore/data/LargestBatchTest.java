package org.llmcore.data;

import java.util.List;
import java.util.OptionalInt;
import java.util.stream.IntStream;

import org.junit.jupiter.api.Test;

import static org.assertj.core.api.Assertions.assertThat;

class LargestBatchTest {
  private static final int[] LENGTHS = {3, 9, 4, 2, 8, 3, 3, 5, 2, 2};

  private static StepPlan plan(Batching batching, double epochs) {
    var examples = IntStream.of(LENGTHS).mapToObj(n -> {
      var learn = new boolean[n];
      learn[n - 1] = true;
      return new Example(new int[n], learn, "test");
    }).toList();
    return new StepPlan(new DataSet(Objective.ANSWERS, List.copyOf(examples)), batching, 5, epochs, OptionalInt.empty());
  }

  @Test
  void noMicroBatchOfAnyStepIsLarger() {
    for (var batching : List.of(new Batching.Sequences(2, 2), new Batching.Sequences(3, 1, 12), new Batching.Packed(12, 1))) {
      var plan = plan(batching, 30);
      int tokens = 0;
      int sequences = 0;
      for (int s = 1; s <= plan.steps(); s++) {
        for (var b : plan.batches(s)) {
          tokens = Math.max(tokens, b.ids().length);
          sequences = Math.max(sequences, b.sequences());
        }
      }
      assertThat(plan.largest()).as("%s", batching).isEqualTo(new StepPlan.Size(tokens, sequences));
    }
  }

  @Test
  void whereThereAreTooManyEpochsToLookAtAnyOrderIsCovered() {
    assertThat(plan(new Batching.Sequences(2, 2), 3e6).largest()).isEqualTo(new StepPlan.Size(9 + 8, 2));
    assertThat(plan(new Batching.Sequences(2, 2, 12), 3e6).largest()).isEqualTo(new StepPlan.Size(12, 2));
    assertThat(plan(new Batching.Packed(13, 1), 3e6).largest()).isEqualTo(new StepPlan.Size(13, 6));
  }
}
