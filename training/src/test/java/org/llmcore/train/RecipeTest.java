package org.llmcore.train;

import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

import org.junit.jupiter.api.Test;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class RecipeTest {
  private static Recipe.Training training(int batch, int microBatch, double rate, double warmup) {
    return new Recipe.Training(
        3, OptionalInt.empty(), batch, microBatch, rate, LrSchedule.Kind.COSINE, warmup, 0, 0.01, 0.9, 0.999, 1e-8, 1, 42, OptionalInt.empty(), false);
  }

  @Test
  void aMicroBatchThatDoesNotDivideTheBatchIsRefusedWithOneThatDoes() {
    assertThatThrownBy(() -> training(12, 5, 1e-4, 0)).isInstanceOf(InvalidInput.class).hasMessageContaining("does not divide training.batch 12").hasMessageContaining("try 4");
    assertThat(training(12, 4, 1e-4, 0).microBatch()).isEqualTo(4);
  }

  @Test
  void aLearningRateThatIsNoRateIsRefused() {
    for (double rate : new double[] {0, -1e-4, Double.NaN, Double.POSITIVE_INFINITY}) {
      assertThatThrownBy(() -> training(8, 8, rate, 0)).isInstanceOf(InvalidInput.class).hasMessageContaining("training.learningRate is " + rate);
    }
  }

  @Test
  void warmUpBelowOneIsAShareOfAllSteps() {
    assertThat(training(8, 8, 1e-4, 0.03).warmup(200)).isEqualTo(6);
    assertThat(training(8, 8, 1e-4, 0.03).warmup(10)).isEqualTo(1);
    assertThat(training(8, 8, 1e-4, 0).warmup(200)).isZero();
    assertThat(training(8, 8, 1e-4, 50).warmup(200)).isEqualTo(50);
    assertThat(training(8, 8, 1e-4, 50).warmup(20)).isEqualTo(20);
    assertThatThrownBy(() -> training(8, 8, 1e-4, 2.5)).isInstanceOf(InvalidInput.class).hasMessageContaining("whole number of steps");
  }

  @Test
  void anEmbeddedSourceIsToldFromAPath() {
    assertThat(new Recipe.Source("embedded:sql").embedded()).contains("sql");
    assertThat(new Recipe.Source("models/llama").embedded()).isEmpty();
    assertThatThrownBy(() -> new Recipe.Source("embedded:")).isInstanceOf(InvalidInput.class);
  }

  @Test
  void headsMustBeSharedEvenly() {
    assertThatThrownBy(() -> new Recipe.Architecture(64, 2, 8, 3, 8, 256, OptionalInt.empty(), 128, 1e-5, 1e4, true))
        .isInstanceOf(InvalidInput.class)
        .hasMessageContaining("heads is 8, not a multiple of kvHeads 3");
  }

  @Test
  void anAdapterIsCheckedInEveryValue() {
    assertThatThrownBy(() -> new Recipe.LowRank(0, 16, 0, new Recipe.AllLinear(), false)).isInstanceOf(InvalidInput.class).hasMessageContaining("method.r is 0");
    assertThatThrownBy(() -> new Recipe.LowRank(8, 0, 0, new Recipe.AllLinear(), false)).isInstanceOf(InvalidInput.class).hasMessageContaining("method.alpha");
    assertThatThrownBy(() -> new Recipe.LowRank(8, 16, 1, new Recipe.AllLinear(), false)).isInstanceOf(InvalidInput.class).hasMessageContaining("method.dropout");
    assertThatThrownBy(() -> new Recipe.Suffixes(List.of())).isInstanceOf(InvalidInput.class).hasMessageContaining("method.targets is empty");
    assertThatThrownBy(() -> new Recipe.Matching("(")).isInstanceOf(InvalidInput.class).hasMessageContaining("regular expression");
  }

  @Test
  void stoppingEarlyNeedsEvaluations() {
    assertThatThrownBy(() -> new Recipe.Evaluation(0, Recipe.Task.LOSS, 100, OptionalInt.of(3))).isInstanceOf(InvalidInput.class).hasMessageContaining("evaluation.every");
    assertThat(new Recipe.Evaluation(50, Recipe.Task.LOSS, 100, OptionalInt.of(3)).patience()).hasValue(3);
  }

  @Test
  void aRunNameCannotLeaveItsFolder() {
    for (String name : new String[] {"../x", "a/b", "", ".hidden", "a b"}) {
      assertThatThrownBy(() -> new Recipe.Output("runs", Optional.of(name))).isInstanceOf(InvalidInput.class).hasMessageContaining("output.name is '" + name + "'");
    }
  }
}
