package org.llmcore.op;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

/// The mask as a function: what its halves of a hash are, how many elements it keeps, and that neighbours know nothing of each other.
class DropoutTest {
  private static final int PAIRS = 1 << 20;
  private static final float LARGEST = Math.nextDown(1f);

  private static int threshold(float rate) {
    try (var region = Region.growing("test")) {
      var x = region.carve(DType.F32, Shape.of(1));
      return new Dropout.Mask(Sink.write(x), x, rate, 0, 0).threshold();
    }
  }

  /// Five standard deviations of a count among n trials of probability p.
  private static double spread(double p, int n) {
    return 5 * Math.sqrt(n * p * (1 - p));
  }

  @Test
  void aHashDecidesTwoNeighbours() {
    for (long pair : new long[] {0, 1, 77, 1L << 40}) {
      long z = Dropout.bits(-9, pair);
      assertThat(Dropout.draw(-9, 2 * pair)).isEqualTo((int) z);
      assertThat(Dropout.draw(-9, 2 * pair + 1)).isEqualTo((int) (z >>> 32));
    }
  }

  /// Of the 2³² draws rate·2³², rounded up, are dropped: none at rate 0, all but 256 at the largest rate.
  @ParameterizedTest
  @ValueSource(floats = {0, -0f, Float.MIN_VALUE, 0x1p-32f, 1e-9f, 0.05f, 0.1f, 0.3f, 0.5f, 0.9f, 1 - 0x1p-24f})
  void theThresholdIsTheLeastDrawThatReachesTheRate(float rate) {
    long threshold = Integer.toUnsignedLong(threshold(rate));
    assertThat(threshold * 0x1p-32).isGreaterThanOrEqualTo(rate);
    if (threshold > 0) assertThat((threshold - 1) * 0x1p-32).isLessThan(rate);
    assertThat(threshold(LARGEST)).isEqualTo(-256);
  }

  @ParameterizedTest
  @ValueSource(floats = {0.05f, 0.1f, 0.2f, 0.5f, 0.9f})
  void neighboursAreKeptIndependentlyAndAsOftenAsTheRateSays(float rate) {
    int threshold = threshold(rate);
    for (long key : new long[] {0, 1, 42, -1, Dropout.key(7, 3, "q_proj".hashCode())}) {
      var within = new int[4]; // both of a pair dropped, the first kept, the second kept, both kept
      var across = new int[4]; // the same of the second of a pair and the first of the next
      for (long i = 0; i < 2L * PAIRS; i += 2) {
        boolean second = Dropout.kept(key, i + 1, threshold);
        within[(Dropout.kept(key, i, threshold) ? 1 : 0) + (second ? 2 : 0)]++;
        across[(second ? 1 : 0) + (Dropout.kept(key, i + 2, threshold) ? 2 : 0)]++;
      }
      for (var joint : new int[][] {within, across}) {
        for (int outcome = 0; outcome < 4; outcome++) {
          double p = ((outcome & 1) == 1 ? 1 - rate : rate) * (outcome > 1 ? 1 - rate : rate);
          assertThat((double) joint[outcome]).as("key %s, outcome %s", key, outcome).isCloseTo(p * PAIRS, within(spread(p, PAIRS)));
        }
      }
      double kept = within[1] + within[2] + 2.0 * within[3];
      assertThat(kept).as("key %s", key).isCloseTo((1 - rate) * 2.0 * PAIRS, within(spread(1 - rate, 2 * PAIRS)));
    }
  }

  @Test
  void aMaskBeginsAtAnElementOfIts() {
    try (var region = Region.growing("test")) {
      var x = region.carve(DType.F32, Shape.of(1));
      assertThatThrownBy(() -> new Dropout.Mask(Sink.write(x), x, 0.1f, 0, -1)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("element -1");
    }
  }
}
