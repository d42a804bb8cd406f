package org.llmcore.generate;

import java.util.Arrays;
import java.util.Comparator;
import java.util.Random;
import java.util.stream.IntStream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;
import org.llmcore.op.TopK;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class SamplingTest {
  private static final int DRAWS = 40_000;

  /// Logits of probabilities 0.5, 0.25, 0.15, 0.1 for the ids 2, 0, 3, 1.
  private static float[] logits() {
    return new float[] {(float) Math.log(0.25), (float) Math.log(0.1), (float) Math.log(0.5), (float) Math.log(0.15)};
  }

  /// Draws with many seeds must have these frequencies, up to five standard deviations; what has probability 0 is never drawn.
  private static void drawn(double temperature, int topK, double topP, double minP, double penalty, int[] seen,
      double... probabilities) {
    var counts = new int[probabilities.length];
    for (int seed = 0; seed < DRAWS; seed++) counts[new Sampling(temperature, topK, topP, minP, penalty, seed)
        .choose(logits(), seen)]++;
    for (int i = 0; i < counts.length; i++) {
      double p = probabilities[i];
      assertThat(Math.abs(counts[i] - DRAWS * p)).as("id " + i + " of " + Arrays.toString(counts))
          .isLessThanOrEqualTo(5 * Math.sqrt(DRAWS * p * (1 - p)) + 1e-9);
    }
  }

  @Test
  void withoutFiltersTheModelsProbabilitiesAreDrawn() {
    drawn(1, 0, 1, 0, 1, new int[] {1}, 0.25, 0.1, 0.5, 0.15);
  }

  @Test
  void temperatureSharpensOrFlattens() {
    // p² and √p, normalised
    drawn(0.5, 0, 1, 0, 1, new int[] {1}, 0.0625 / 0.345, 0.01 / 0.345, 0.25 / 0.345, 0.0225 / 0.345);
    double sum = Math.sqrt(0.25) + Math.sqrt(0.1) + Math.sqrt(0.5) + Math.sqrt(0.15);
    drawn(2, 0, 1, 0, 1, new int[] {1}, Math.sqrt(0.25) / sum, Math.sqrt(0.1) / sum, Math.sqrt(0.5) / sum, Math.sqrt(0.15) / sum);
  }

  @Test
  void topKKeepsTheMostLikely() {
    drawn(1, 2, 1, 0, 1, new int[] {1}, 1 / 3.0, 0, 2 / 3.0, 0);
    drawn(1, 3, 1, 0, 1, new int[] {1}, 0.25 / 0.9, 0, 0.5 / 0.9, 0.15 / 0.9);
    drawn(1, 99, 1, 0, 1, new int[] {1}, 0.25, 0.1, 0.5, 0.15);
  }

  @Test
  void topPKeepsTheSmallestSetThatReachesIt() {
    drawn(1, 0, 0.3, 0, 1, new int[] {1}, 0, 0, 1, 0);
    drawn(1, 0, 0.7, 0, 1, new int[] {1}, 1 / 3.0, 0, 2 / 3.0, 0);
    drawn(1, 0, 0.8, 0, 1, new int[] {1}, 0.25 / 0.9, 0, 0.5 / 0.9, 0.15 / 0.9);
    drawn(1, 0, 0.95, 0, 1, new int[] {1}, 0.25, 0.1, 0.5, 0.15);
  }

  @Test
  void topPCountsWhatTopKAndTemperatureLeft() {
    // of the two kept, 2/3 and 1/3: 0.6 is reached by the first
    drawn(1, 2, 0.6, 0, 1, new int[] {1}, 0, 0, 1, 0);
    // p²: 0.25 of 0.345 is 0.72
    drawn(0.5, 0, 0.7, 0, 1, new int[] {1}, 0, 0, 1, 0);
    drawn(0.5, 0, 0.75, 0, 1, new int[] {1}, 0.2, 0, 0.8, 0);
  }

  @Test
  void minPKeepsWhatIsLikelyEnoughBesideTheLikeliest() {
    drawn(1, 0, 1, 0.6, 1, new int[] {1}, 0, 0, 1, 0);
    drawn(1, 0, 1, 0.4, 1, new int[] {1}, 1 / 3.0, 0, 2 / 3.0, 0);
    drawn(1, 0, 1, 0.25, 1, new int[] {1}, 0.25 / 0.9, 0, 0.5 / 0.9, 0.15 / 0.9);
    // √p: √(0.15/0.5) is 0.55
    drawn(2, 0, 1, 0.6, 1, new int[] {1}, Math.sqrt(0.25) / (Math.sqrt(0.25) + Math.sqrt(0.5)), 0,
        Math.sqrt(0.5) / (Math.sqrt(0.25) + Math.sqrt(0.5)), 0);
  }

  @Test
  void repetitionPenaltyDividesPositiveAndMultipliesNegativeLogitsOnce() {
    var logits = new float[] {4, -1, 0, 3};
    new Sampling(0, 0, 1, 0, 2, 0).choose(logits, new int[] {0, 1, 2, 0, 0, 1});
    assertThat(logits).containsExactly(2, -2, 0, 3);
    assertThat(new Sampling(0, 0, 1, 0, 2, 0).choose(new float[] {4, -1, 0, 3}, new int[] {0})).isEqualTo(3);
    // all logits are negative: id 2 goes from ln 0.5 to 2 ln 0.5, probability 0.25 before normalisation
    drawn(1, 0, 1, 0, 2, new int[] {2, 2}, 0.25 / 0.75, 0.1 / 0.75, 0.25 / 0.75, 0.15 / 0.75);
    // with temperature ½ after it: 0.0625, 0.01, 0.0625, 0.0225 of 0.1575
    drawn(0.5, 0, 1, 0, 2, new int[] {2}, 0.0625 / 0.1575, 0.01 / 0.1575, 0.0625 / 0.1575, 0.0225 / 0.1575);
  }

  @Test
  void amongEqualsTheLowestIdIsLikeliest() {
    for (var logits : new float[][] {{0, 2, 2, 1}, {-3, 0f, -0f, -1}, {-3, -0f, 0f, -1}}) {
      assertThat(Sampling.GREEDY.choose(logits.clone(), new int[] {0})).isEqualTo(1);
      assertThat(new Sampling(1, 1, 1, 0, 1, 5).choose(logits.clone(), new int[] {0})).isEqualTo(1);
    }
  }

  @Test
  void oneCandidateIsAlwaysTheGreatest() {
    var random = new Random(4);
    for (int round = 0; round < 2000; round++) {
      var logits = new float[1 + random.nextInt(40)];
      for (int i = 0; i < logits.length; i++) logits[i] = random.nextInt(8) - 4 + (round % 2 == 0 ? 0 : random.nextFloat());
      int greatest = Sampling.GREEDY.choose(logits.clone(), new int[] {0});
      assertThat(logits[greatest]).isEqualTo(max(logits));
      assertThat(new Sampling(0.1 + random.nextDouble() * 9, 1, 1, 0, 1, round).choose(logits.clone(), new int[] {0}))
          .isEqualTo(greatest);
      assertThat(new Sampling(0, 5, 0.5, 0.5, 1, round).choose(logits.clone(), new int[] {0})).isEqualTo(greatest);
    }
  }

  private static float max(float[] values) {
    float max = values[0];
    for (float v : values) max = Math.max(max, v);
    return max;
  }

  @Test
  void aDrawIsAFunctionOfSeedAndPosition() {
    var sampling = new Sampling(1, 0, 1, 0, 1, 99);
    int differing = 0;
    for (int n = 1; n < 200; n++) {
      int id = sampling.choose(logits(), new int[n]);
      assertThat(sampling.choose(logits(), new int[n])).isEqualTo(id);
      if (id != sampling.choose(logits(), new int[n + 1])) differing++;
    }
    assertThat(differing).isGreaterThan(50);
  }

  /// Every kind of filter, drawn from all logits and from the likeliest alone.
  @Test
  void theLikeliestGiveTheTokenOfAllLogitsOrSayThatTheyCannot() {
    var random = new Random(8);
    int unsettled = 0;
    for (int round = 0; round < 20_000; round++) {
      int n = 1 + random.nextInt(60);
      var logits = new float[n];
      for (int i = 0; i < n; i++) logits[i] = (float) (random.nextGaussian() * 2);
      double temperature = random.nextInt(5) == 0 ? 0 : 0.2 + random.nextDouble() * 2;
      var sampling = new Sampling(temperature, random.nextBoolean() ? 0 : 1 + random.nextInt(70), random.nextBoolean() ? 1 : 0.1 + 0.9 * random.nextDouble(),
          random.nextBoolean() ? 0 : random.nextDouble() * 0.3, 1, round);
      int position = 1 + random.nextInt(9);
      int all = sampling.choose(logits.clone(), position);
      var found = sampling.choose(top(logits, sampling.scale(), 1 + random.nextInt(Math.min(n, 20))), position);
      if (found.isPresent()) assertThat(found.getAsInt()).as(sampling + " round " + round).isEqualTo(all);
      else unsettled++;
      assertThat(sampling.choose(top(logits, sampling.scale(), n), position)).hasValue(all);
      if (sampling.candidates() < TopK.MOST) assertThat(sampling.choose(top(logits, sampling.scale(), Math.min(n, sampling.candidates())), position)).hasValue(all);
      if (temperature == 0) assertThat(found).isPresent();
    }
    assertThat(unsettled).isBetween(2_000, 12_000);
  }

  private static Sampling.Likeliest top(float[] logits, float scale, int k) {
    var ids = IntStream.range(0, logits.length).boxed().sorted(Comparator.comparing((Integer i) -> -logits[i])).mapToInt(i -> i).limit(k).toArray();
    var falling = new float[k];
    for (int i = 0; i < k; i++) falling[i] = logits[ids[i]];
    float total = 0;
    for (float v : logits) total += (float) Math.exp((v - falling[0]) * scale);
    return new Sampling.Likeliest(falling, ids, total, logits.length);
  }

  @Test
  void theLikeliestOfADamagedModelAreRefused() {
    for (float damage : new float[] {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY}) {
      for (var sampling : new Sampling[] {Sampling.GREEDY, new Sampling(1, 0, 0.9, 0, 1, 3)}) {
        var top = new Sampling.Likeliest(new float[] {damage, damage}, new int[] {0, 1}, Float.NaN, 9);
        assertThatThrownBy(() -> sampling.choose(top, 3)).isInstanceOf(InvalidInput.class).hasMessageContaining("damaged");
      }
    }
  }

  @Test
  void masksOfMinusInfinityAreNeverChosen() {
    float never = Float.NEGATIVE_INFINITY;
    for (int seed = 0; seed < 200; seed++) {
      assertThat(new Sampling(5, 0, 1, 0, 1.5, seed).choose(new float[] {never, 1, never, 0.5f}, new int[] {0, 1})).isIn(1, 3);
    }
  }

  @Test
  void extremeTemperaturesStillChoose() {
    assertThat(new Sampling(1e-300, 0, 1, 0, 1, 3).choose(logits(), new int[] {0})).isEqualTo(2);
    assertThat(new Sampling(Double.MIN_VALUE, 0, 0.5, 0.5, 1, 3).choose(new float[] {3e38f, -3e38f}, new int[] {0})).isEqualTo(0);
  }

  @ParameterizedTest
  @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY})
  void logitsOfADamagedModelAreRefusedInsteadOfChosenFrom(float damage) {
    for (var sampling : new Sampling[] {Sampling.GREEDY, new Sampling(1, 0, 0.9, 0, 1, 3)}) {
      assertThatThrownBy(() -> sampling.choose(new float[] {1, damage, 2}, new int[] {0})).isInstanceOf(InvalidInput.class)
          .hasMessageContaining("damaged");
    }
    float never = Float.NEGATIVE_INFINITY;
    assertThatThrownBy(() -> Sampling.GREEDY.choose(new float[] {never, never}, new int[] {0})).isInstanceOf(InvalidInput.class);
  }

  @Test
  void valuesOutsideTheirRangeAreRefusedByName() {
    for (double bad : new double[] {-0.1, 101, Double.NaN, Double.POSITIVE_INFINITY}) refused("temperature", bad, 0, 1, 0, 1);
    refused("top-k", 1, -1, 1, 0, 1);
    for (double bad : new double[] {0, -1, 1.01, Double.NaN}) refused("top-p", 1, 0, bad, 0, 1);
    for (double bad : new double[] {-0.01, 1.01, Double.NaN}) refused("min-p", 1, 0, 1, bad, 1);
    for (double bad : new double[] {0, -1, 101, Double.NaN}) refused("repetition penalty", 1, 0, 1, 0, bad);
  }

  private static void refused(String name, double temperature, int topK, double topP, double minP, double penalty) {
    assertThatThrownBy(() -> new Sampling(temperature, topK, topP, minP, penalty, 0)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining(name);
  }
}
