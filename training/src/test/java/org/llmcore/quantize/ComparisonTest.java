package org.llmcore.quantize;

import java.util.Arrays;

import org.junit.jupiter.api.Test;

import org.llmcore.eval.Score;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.data.Offset.offset;

class ComparisonTest {
  /// A quantized model by its loss on each of some sequences of equal length.
  private static Comparison of(double... losses) {
    var list = Arrays.stream(losses).boxed().toList();
    double mean = list.stream().mapToDouble(d -> d).average().orElseThrow();
    var quantized = Comparison.Measure.of(list, mean);
    return new Comparison(10, quantized, quantized, quantized, 0, new Score(1, 1), list);
  }

  @Test
  void whatIntervalsOfTheirOwnHideTheirDifferencesShow() {
    // Texts differ by whole nats, the two models by a hundredth, always in the same direction.
    var a = of(1.000, 2.001, 3.002, 4.001);
    var b = of(1.010, 2.011, 3.011, 4.012);
    assertThat(a.quantized().high().getAsDouble()).isGreaterThan(b.quantized().low().getAsDouble());
    var ratio = a.over(b);
    assertThat(ratio.value()).isCloseTo(Math.exp(-0.01), offset(1e-9));
    assertThat(ratio.low().getAsDouble()).isLessThan(ratio.value());
    assertThat(ratio.high().getAsDouble()).isLessThan(1);
    assertThat(ratio.tie()).isFalse();
    assertThat(b.over(a).value()).isCloseTo(Math.exp(0.01), offset(1e-9));
    assertThat(b.over(a).tie()).isFalse();
  }

  @Test
  void aDifferenceThatChangesItsSignIsATie() {
    var ratio = of(1.00, 2.02, 3.00, 4.02).over(of(1.01, 2.00, 3.02, 4.00));
    assertThat(ratio.tie()).isTrue();
    assertThat(of(1).over(of(2)).tie()).as("of one sequence nothing is known").isTrue();
  }

  @Test
  void othersSequencesAreNoPairs() {
    assertThatThrownBy(() -> of(1, 2).over(of(1))).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("2 sequences beside 1");
  }
}
