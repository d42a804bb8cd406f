package org.llmcore.quantize;

import java.util.Optional;
import java.util.Random;
import java.util.stream.IntStream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.data.Offset.offset;

class InverseFactorTest {
  private static float[] symmetric(int k, int tokens, long seed) {
    var random = new Random(seed);
    var h = new float[k * k];
    for (int t = 0; t < tokens; t++) {
      var x = new float[k];
      float shared = (float) random.nextGaussian();
      for (int i = 0; i < k; i++) x[i] = (float) random.nextGaussian() + shared;
      for (int i = 0; i < k; i++) for (int j = 0; j < k; j++) h[i * k + j] += x[i] * x[j];
    }
    return h;
  }

  /// Of the matrix as it is.
  static Optional<float[]> of(float[] h, int k, double damp, Team team) {
    var diagonal = new float[k];
    for (int i = 0; i < k; i++) diagonal[i] = h[i * k + i];
    return InverseFactor.of(h, diagonal, IntStream.range(0, k).toArray(), damp, team);
  }

  /// The definition: Cholesky of the reversed matrix, substitution, every element one chain.
  private static float[] definition(float[] h, int k, double damp) {
    var l = new double[k][k];
    for (int i = 0; i < k; i++) {
      for (int j = 0; j <= i; j++) {
        double s = h[(k - 1 - i) * k + k - 1 - j] + (i == j ? damp : 0);
        for (int t = 0; t < j; t++) s = Math.fma(l[i][t], -l[j][t], s);
        l[i][j] = i == j ? Math.sqrt(s) : s / l[j][j];
      }
    }
    var u = new float[k * k];
    for (int c = 0; c < k; c++) {
      var x = new double[k];
      for (int i = c; i < k; i++) {
        double s = i == c ? 1 : 0;
        for (int t = c; t < i; t++) s = Math.fma(-l[i][t], x[t], s);
        x[i] = s / l[i][i];
        u[(k - 1 - i) * k + k - 1 - c] = (float) x[i];
      }
    }
    return u;
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 5, 6, 7, 23, 24, 25, 96, 97, 143, 144, 145, 289, 400})
  void everyElementHasTheBitsOfItsChainForEveryNumberOfThreads(int k) {
    var h = symmetric(k, k + 3, k);
    var expected = definition(h, k, 0.5);
    for (int threads : new int[] {1, 2, 5}) {
      try (var team = new Team(threads)) {
        assertThat(of(h, k, 0.5, team)).hasValueSatisfying(u -> assertThat(u).isEqualTo(expected));
      }
    }
  }

  @Test
  void theFactorsProductIsTheInverse() {
    int k = 200;
    var h = symmetric(k, 2 * k, 1);
    try (var team = new Team(2)) {
      var u = of(h, k, 3, team).orElseThrow();
      for (int i = 0; i < k; i++) {
        var row = new double[k]; // row i of H⁻¹ = Uᵀ·U
        for (int t = 0; t <= i; t++) for (int j = t; j < k; j++) row[j] += (double) u[t * k + i] * u[t * k + j];
        for (int j = 0; j < k; j++) {
          double s = 0;
          for (int t = 0; t < k; t++) s += row[t] * (h[t * k + j] + (t == j ? 3 : 0));
          assertThat(s).as("(%d, %d)", i, j).isCloseTo(i == j ? 1 : 0, offset(1e-4));
        }
      }
    }
  }

  @Test
  void thereIsNoneOfAMatrixThatIsNotPositive() {
    int k = 160;
    var h = symmetric(k, 2 * k, 2);
    h[150 * k + 150] = -1;
    try (var team = new Team(2)) {
      assertThat(of(h, k, 0.1, team)).isEmpty();
      h[150 * k + 150] = Float.NaN;
      assertThat(of(h, k, 0.1, team)).isEmpty();
    }
  }

  @Test
  void anotherOrderAndAnotherDiagonalAreThoseOfAnotherMatrix() {
    int k = 60;
    var h = symmetric(k, 2 * k, 5);
    var order = IntStream.range(0, k).map(i -> (7 * i + 3) % k).toArray();
    var diagonal = new float[k];
    for (int i = 0; i < k; i++) diagonal[i] = 2 * h[i * k + i] + i;
    var other = new float[k * k];
    for (int i = 0; i < k; i++) for (int j = 0; j < k; j++) other[i * k + j] = i == j ? diagonal[order[i]] : h[order[i] * k + order[j]];
    try (var team = new Team(2)) {
      assertThat(InverseFactor.of(h, diagonal, order, 0.25, team)).hasValueSatisfying(u -> assertThat(u).isEqualTo(definition(other, k, 0.25)));
    }
  }

  @Test
  void aTeamLetsWhatItsTasksThrowThrough() {
    try (var team = new Team(2)) {
      assertThatThrownBy(() -> team.run(3, _ -> {
        throw new OutOfMemoryError("no room");
      })).isInstanceOf(OutOfMemoryError.class).hasMessageContaining("no room");
    }
  }
}
