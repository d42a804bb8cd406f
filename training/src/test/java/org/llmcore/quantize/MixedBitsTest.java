package org.llmcore.quantize;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;

import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.DoubleRange;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;

import org.llmcore.InvalidInput;
import org.llmcore.quantize.Allocation.Choice;
import org.llmcore.quantize.Allocation.Width;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.data.Offset.offset;

/// Bits where they help most, against every allocation there is.
class MixedBitsTest {
  private static final int[] WIDTHS = {2, 3, 4, 8};

  /// Sets of different sizes whose errors fall by about a factor of four per bit, as those of layers do.
  private static List<Choice> choices(long seed, int sets) {
    var random = new Random(seed);
    var out = new ArrayList<Choice>();
    for (int i = 0; i < sets; i++) {
      long weights = 1000L * (1 + random.nextInt(4));
      double scale = Math.exp(2 * random.nextGaussian());
      var widths = new ArrayList<Width>();
      for (int b : WIDTHS) widths.add(new Width(b, b * weights + weights / 4,
          scale * Math.pow(4, -b) * (0.7 + 0.6 * random.nextDouble())));
      out.add(new Choice(List.of("a." + i, "b." + i), weights, widths));
    }
    return out;
  }

  private static double least(List<Choice> choices, double average) {
    double best = Double.POSITIVE_INFINITY;
    for (int code = 0; code < 1 << 2 * choices.size(); code++) {
      var bits = new ArrayList<Integer>();
      for (int i = 0; i < choices.size(); i++) bits.add(WIDTHS[code >> 2 * i & 3]);
      var a = new Allocation(choices, bits);
      if (a.average() <= average) best = Math.min(best, a.error());
    }
    return best;
  }

  @Property(tries = 60)
  void theBudgetIsKeptAndTheErrorIsNearTheLeastThereIs(
      @ForAll @IntRange(max = 10_000) int seed, @ForAll @DoubleRange(min = 2.3, max = 8.2) double average) {
    var choices = choices(seed, 6);
    var found = Allocation.within(choices, average);
    assertThat(found.average()).isLessThanOrEqualTo(average);
    // The least error of this size lies between those of the two allocations of the path around it: what the steps give up to
    // here, and what the first step that does not fit would have given.
    var path = Allocation.path(choices);
    int i = 0;
    while (i + 1 < path.size() && path.get(i + 1).average() <= average) i++;
    double step = i + 1 < path.size() ? path.get(i).error() - path.get(i + 1).error() : 0;
    assertThat(found.error()).isBetween(least(choices, average) - 1e-12, least(choices, average) + step + 1e-12);
    assertThat(Allocation.within(choices, average)).isEqualTo(found);
  }

  @Property(tries = 30)
  void everySizeThatTheStepsPassIsTheBestOfItsSize(@ForAll @IntRange(max = 10_000) int seed) {
    var choices = choices(seed, 5);
    var path = Allocation.path(choices);
    assertThat(path.getFirst().bits()).containsOnly(2);
    assertThat(path.getLast().bits()).containsOnly(8);
    for (int i = 0; i < path.size(); i++) {
      var a = path.get(i);
      if (i > 0) assertThat(a.average()).isGreaterThan(path.get(i - 1).average());
      assertThat(a.error()).isCloseTo(least(choices, a.average()), offset(1e-12));
      assertThat(Allocation.within(choices, a.average()).error()).isLessThanOrEqualTo(a.error());
    }
  }

  @Test
  void aSetThatIsHurtMoreGetsMoreBits() {
    var calm = new Choice(List.of("calm"), 100, List.of(new Width(2, 200, 0.1), new Width(3, 300, 0.03), new Width(4, 400, 0.01),
        new Width(8, 800, 0)));
    var sore = new Choice(List.of("sore"), 100, List.of(new Width(2, 200, 9), new Width(3, 300, 3), new Width(4, 400, 1),
        new Width(8, 800, 0)));
    var a = Allocation.within(List.of(calm, sore), 3);
    assertThat(a.byLayer()).containsEntry("calm", 2).containsEntry("sore", 4);
    assertThat(a.average()).isEqualTo(3);
    // What is left after the steps that fit goes to who can still use it.
    assertThat(Allocation.within(List.of(calm, sore), 5.5).byLayer()).containsEntry("calm", 3).containsEntry("sore", 8);
    assertThatThrownBy(() -> Allocation.within(List.of(calm, sore),
        1.9)).isInstanceOf(InvalidInput.class).hasMessageContaining("2.000");
    assertThatThrownBy(() -> Allocation.within(List.of(calm), Double.NaN)).isInstanceOf(InvalidInput.class);
  }
}
