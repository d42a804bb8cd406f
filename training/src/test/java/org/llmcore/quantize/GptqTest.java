package org.llmcore.quantize;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Optional;
import java.util.Random;
import java.util.stream.IntStream;

import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

import org.llmcore.InvalidInput;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.Device;
import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.quant.GroupedCodes;
import org.llmcore.quant.RoundToNearest;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// GPTQ against the paper's plain form: optimal brain quantization with the whole inverse, one column at a time, in double.
class GptqTest {
  private static final Device DEVICE = new CpuDevice(true, 2);
  private static final Team TEAM = new Team(2);

  /// A layer with correlated inputs: a few directions carry most of them.
  record Layer(float[] w, float[] x, int n, int k, int tokens) {
    static Layer random(long seed, int n, int k, int tokens) {
      var random = new Random(seed);
      var w = new float[n * k];
      for (int i = 0; i < w.length; i++) w[i] = (float) random.nextGaussian();
      var mix = new double[k][k / 4 + 1];
      for (var row : mix) for (int j = 0; j < row.length; j++) row[j] = random.nextGaussian();
      var x = new float[tokens * k];
      for (int t = 0; t < tokens; t++) {
        var z = random.doubles(mix[0].length, -1, 1).toArray();
        for (int i = 0; i < k; i++) {
          double s = 0.3 * random.nextGaussian();
          for (int j = 0; j < z.length; j++) s += mix[i][j] * z[j];
          x[t * k + i] = (float) s;
        }
      }
      return new Layer(w, x, n, k, tokens);
    }

    float[] h() {
      var h = new float[k * k];
      for (int i = 0; i < k; i++) {
        for (int j = 0; j < k; j++) {
          double s = 0;
          for (int t = 0; t < tokens; t++) s += (double) x[t * k + i] * x[t * k + j];
          h[i * k + j] = (float) s;
        }
      }
      return h;
    }

    /// ‖XWᵀ − XŴᵀ‖².
    double error(GroupedCodes q) {
      var v = Hessian.values(q);
      double sum = 0;
      for (int t = 0; t < tokens; t++) {
        for (int o = 0; o < n; o++) {
          double s = 0;
          for (int i = 0; i < k; i++) s += (double) x[t * k + i] * (w[o * k + i] - v[o * k + i]);
          sum += s * s;
        }
      }
      return sum;
    }
  }

  /// The paper, equations 2 and 3, with nothing factored: F = H⁻¹ of the columns that are left; after column i,
  /// w −= (w_i − q)/F_ii · F_i and F −= F_i·F_iᵀ/F_ii.
  private static byte[] naive(Layer l, Settings s) {
    int k = l.k;
    int size = s.size(k);
    var h = new double[k][k];
    var given = l.h();
    double mean = 0;
    for (int i = 0; i < k; i++) {
      for (int j = 0; j < k; j++) h[i][j] = given[i * k + j];
      if (h[i][i] == 0) h[i][i] = 1;
      mean += h[i][i] / k;
    }
    var order = IntStream.range(0, k).boxed().toList();
    if (s.actOrder()) {
      var diagonal = IntStream.range(0, k).mapToDouble(i -> h[i][i]).toArray();
      order = order.stream().sorted(Comparator.comparingDouble(i -> -diagonal[i])).toList();
    }
    for (int i = 0; i < k; i++) h[i][i] += s.damp() * mean;
    var f = inverse(h);
    var w = new double[l.n][k];
    for (int o = 0; o < l.n; o++) for (int i = 0; i < k; i++) w[o][i] = given[i * k + i] == 0 ? 0 : l.w[o * k + i];
    var grids = new RoundToNearest.Grid[l.n][(k + size - 1) / size];
    var out = new byte[l.n * k];
    for (int step = 0; step < k; step++) {
      int i = order.get(step);
      int g = (s.staticGroups() ? i : step) / size;
      for (int o = 0; o < l.n; o++) {
        if (grids[o][g] == null) {
          float min = 0;
          float max = 0;
          for (int m = g * size; m < Math.min(k, g * size + size); m++) {
            float x = s.staticGroups() ? l.w[o * k + m] : (float) w[o][order.get(m)];
            min = Math.min(min, x);
            max = Math.max(max, x);
          }
          grids[o][g] = RoundToNearest.grid(min, max, s.bits(), s.symmetric(), true);
        }
        int code = grids[o][g].code((float) w[o][i]);
        out[o * k + i] = (byte) code;
        double e = (w[o][i] - grids[o][g].weight(code)) / f[i][i];
        for (int later = step; later < k; later++) w[o][order.get(later)] -= e * f[i][order.get(later)];
      }
      double pivot = f[i][i];
      var row = f[i].clone();
      for (int a = 0; a < k; a++) for (int b = 0; b < k; b++) f[a][b] -= row[a] * row[b] / pivot;
    }
    return out;
  }

  private static double[][] inverse(double[][] m) {
    int k = m.length;
    var a = new double[k][2 * k];
    for (int i = 0; i < k; i++) {
      System.arraycopy(m[i], 0, a[i], 0, k);
      a[i][k + i] = 1;
    }
    for (int i = 0; i < k; i++) {
      double pivot = a[i][i];
      for (int j = 0; j < 2 * k; j++) a[i][j] /= pivot;
      for (int r = 0; r < k; r++) {
        if (r == i) continue;
        double f = a[r][i];
        for (int j = 0; j < 2 * k; j++) a[r][j] -= f * a[i][j];
      }
    }
    return Arrays.stream(a).map(row -> Arrays.copyOfRange(row, k, 2 * k)).toArray(double[][]::new);
  }

  private static GroupedCodes fast(Layer l, Settings s) {
    return Gptq.quantize(DEVICE, TEAM, s, l.w, l.n, l.k, l.h()).codes();
  }

  @ParameterizedTest
  @CsvSource({
    "4,-1,false,false,false,40", "4,32,false,false,false,172", "3,64,true,false,false,130", "2,128,false,false,false,300",
    "8,32,true,true,false,96", "4,32,false,true,false,160", "3,32,true,true,true,140", "2,-1,true,false,false,150",
        "4,64,false,false,true,128"
  })
  void codesAreThoseOfThePapersPlainForm(int bits, int group, boolean symmetric, boolean actOrder, boolean fixed, int k) {
    var l = Layer.random(bits * 31L + group, 24, k, 2 * k);
    var s = new Settings(Settings.Method.GPTQ, bits, group, symmetric, actOrder, fixed, false, 0.01);
    var codes = fast(l, s);
    var naive = naive(l, s);
    // Where a weight lies within rounding of the middle between two codes f32 may take the other one, and all that follow in its
    // row
    // then differ a little: rows are compared, and nearly all of them must be equal.
    int rows = 0;
    for (int o = 0; o < l.n; o++) {
      if (Arrays.equals(Arrays.copyOfRange(codes.q(), o * k, o * k + k), Arrays.copyOfRange(naive, o * k, o * k + k))) rows++;
    }
    assertThat(rows).isGreaterThanOrEqualTo(l.n - (bits == 8 ? 8 : 3));
    var other = new GroupedCodes(bits, l.n, k, codes.groupSize(), naive, codes.scales(), codes.zeros(), codes.groupOf());
    assertThat(l.error(codes)).isCloseTo(l.error(other), org.assertj.core.data.Percentage.withPercentage(1));
  }

  @Property(tries = 24)
  void theLayersErrorIsBelowRoundToNearestOnCorrelatedInputs(@ForAll @IntRange(max = 1000) int seed,
      @ForAll @IntRange(max = 3) int width, @ForAll boolean symmetric, @ForAll boolean actOrder) {
    int bits = new int[] {2, 3, 4, 8}[width];
    var l = Layer.random(seed, 16, 64 + seed % 70, 256);
    var s = new Settings(Settings.Method.GPTQ, bits, seed % 2 == 0 ? -1 : 32, symmetric, actOrder, false, false, 0.01);
    assertThat(l.error(fast(l, s))).isLessThanOrEqualTo(l.error(Gptq.roundToNearest(TEAM, s, l.w, l.n, l.k)));
  }

  @Test
  void roundToNearestIsTheBaselineOfTheCore() {
    var l = Layer.random(5, 7, 100, 10);
    for (int bits : new int[] {2, 3, 4, 8}) {
      for (boolean symmetric : new boolean[] {false, true}) {
        var s = new Settings(Settings.Method.RTN, bits, 32, symmetric, false, false, false, 0.01);
        var ours = Gptq.roundToNearest(TEAM, s, l.w, 7, 100);
        var core = RoundToNearest.quantize(l.w, 7, 100, bits, 32, symmetric, true);
        assertThat(ours.q()).isEqualTo(core.q());
        assertThat(ours.scales()).isEqualTo(core.scales());
        assertThat(ours.zeros()).isEqualTo(core.zeros());
      }
    }
  }

  @Test
  void uncorrelatedInputsGiveRoundToNearest() {
    // With H diagonal nothing can be made up for: e·U is 0 off the diagonal.
    var l = Layer.random(6, 9, 70, 4);
    var h = new float[70 * 70];
    for (int i = 0; i < 70; i++) h[i * 70 + i] = i + 1;
    var s = Settings.gptq(3, 32);
    assertThat(Gptq.quantize(DEVICE, TEAM, s, l.w, 9, 70, h).codes().q()).isEqualTo(Gptq.roundToNearest(TEAM, s, l.w, 9, 70).q());
  }

  @Test
  void threadsAndLoopsChangeNoBit() {
    var l = Layer.random(9, 300, 260, 400);
    var s = new Settings(Settings.Method.GPTQ, 3, 64, false, true, false, true, 0.01);
    var expected = fast(l, s);
    for (int threads : new int[] {1, 3}) {
      try (var device = new CpuDevice(threads == 1, threads); var team = new Team(threads)) {
        var again = Gptq.quantize(device, team, s, l.w, l.n, l.k, l.h()).codes();
        assertThat(again.q()).isEqualTo(expected.q());
        assertThat(again.scales()).isEqualTo(expected.scales());
      }
    }
  }

  @Test
  void deadColumnsBecomeZeroAndHarmNobody() {
    var l = Layer.random(11, 5, 40, 80);
    for (int t = 0; t < l.tokens; t++) l.x[t * 40 + 7] = l.x[t * 40 + 33] = 0;
    var r = Gptq.quantize(DEVICE, TEAM, Settings.gptq(4, 32), l.w, 5, 40, l.h());
    assertThat(r.dead()).isEqualTo(2);
    var v = Hessian.values(r.codes());
    for (int o = 0; o < 5; o++) assertThat(new float[] {v[o * 40 + 7], v[o * 40 + 33]}).containsOnly(0);
    assertThat(r.codes().q()).isEqualTo(naive(l, Settings.gptq(4, 32)));
  }

  @Test
  void dampingRisesUntilTheFactorisationSucceeds() {
    // Fewer tokens than columns, and off-diagonal elements that no data could give: not positive definite without much damping.
    int k = 16;
    var h = new float[k * k];
    Arrays.fill(h, 1.2f);
    for (int i = 0; i < k; i++) h[i * k + i] = 1;
    var r = Gptq.quantize(DEVICE, TEAM, Settings.gptq(4, -1), Layer.random(1, 3, k, 1).w, 3, k, h);
    assertThat(r.damp()).isEqualTo(1,
        org.assertj.core.data.Offset.offset(1e-9)); // 0.01 and 0.1 leave eigenvalues of 1 − 1.2 + λ < 0
    h[0] = Float.POSITIVE_INFINITY;
    assertThatThrownBy(() -> Gptq.quantize(DEVICE, TEAM, Settings.gptq(4, -1), new float[3 * k], 3, k, h))
        .isInstanceOf(InvalidInput.class);
  }

  @Test
  void theFactorOfTheInverseTimesItsTransposeIsTheInverse() {
    for (int k : new int[] {1, 3, 63, 64, 65, 150}) {
      var l = Layer.random(k, 1, k, 3 * k);
      var h = l.h();
      double damp = 0.01 * IntStream.range(0, k).mapToDouble(i -> h[i * k + i]).average().orElseThrow();
      var u = InverseFactorTest.of(h, k, damp, TEAM).orElseThrow();
      var full = new double[k][k];
      for (int i = 0; i < k; i++) for (int j = 0; j < k; j++) full[i][j] = h[Math.max(i, j) * k + Math.min(i, j)]
          + (i == j ? damp : 0);
      var inverse = inverse(full);
      double largest = Arrays.stream(inverse).flatMapToDouble(Arrays::stream).map(Math::abs).max().orElseThrow();
      for (int i = 0; i < k; i++) {
        for (int j = 0; j < k; j++) {
          double s = 0;
          for (int m = 0; m <= Math.min(i, j); m++) s += (double) u[m * k + i] * u[m * k + j];
          // f32 elements of U: each of k terms is off by 2⁻²³ of at most the largest diagonal element.
          assertThat(s).isCloseTo(inverse[i][j], org.assertj.core.data.Offset.offset(k * 0x1p-23 * largest));
          if (i > j) assertThat(u[i * k + j]).isZero();
        }
      }
    }
  }

  @Test
  void halfOfTheHessianHasTheBitsOfTheWhole() {
    for (int k : new int[] {5, 512, 513, 1100}) {
      try (var region = Region.growing("test"); var h = new Hessian(DEVICE, k)) {
        var random = new Random(k);
        var parts = new ArrayList<Tensor>();
        for (int rows : new int[] {7, 1, 30}) {
          var x = region.carve(DType.F32, Shape.of(rows, k));
          var values = new float[rows * k];
          for (int i = 0; i < values.length; i++) values[i] = (float) random.nextGaussian();
          parts.add(x.set(values));
          h.add(x);
        }
        var whole = region.carve(DType.F32, Shape.of(k, k));
        for (int i = 0; i < parts.size(); i++) {
          DEVICE.run(new MatMul.Product(i == 0 ? Sink.write(whole) : Sink.add(whole), parts.get(i), parts.get(i), true, false,
              1));
        }
        assertThat(h.toFloats()).isEqualTo(whole.toFloats());
      }
    }
  }

  @Test
  void leastErrorGridsAreNeverWorseThanThoseOfTheRange() {
    var random = new Random(3);
    var w = new float[64];
    for (int i = 0; i < w.length; i++) w[i] = (float) random.nextGaussian();
    for (int bits : new int[] {2, 3, 4}) {
      var range = new GridSearch(bits, false, false).of(w, 0, 64, 1);
      var least = new GridSearch(bits, false, true).of(w, 0, 64, 1);
      double a = 0;
      double b = 0;
      for (float x : w) {
        a += Math.pow(Math.abs(x - range.weight(range.code(x))), 2.4);
        b += Math.pow(Math.abs(x - least.weight(least.code(x))), 2.4);
      }
      assertThat(b).isLessThan(a); // few points on a bell: its tails are not worth the range
      assertThat(least.scale()).isLessThan(range.scale());
    }
  }

  @Test
  void impossibleSettingsAreRefused() {
    assertThatThrownBy(() -> Settings.gptq(5, 32)).isInstanceOf(InvalidInput.class).hasMessageContaining("5 bits");
    assertThatThrownBy(() -> Settings.gptq(4, 100)).isInstanceOf(InvalidInput.class).hasMessageContaining("100");
    assertThat(Optional.of(Settings.gptq(4, -1))).isPresent();
  }
}
