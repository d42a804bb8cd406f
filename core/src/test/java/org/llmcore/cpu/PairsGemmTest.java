package org.llmcore.cpu;

import java.util.ArrayList;

import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Products of bf16 matrices by pairs have the bits of the processor's definition (Intel SDM vol. 2, VDPBF16PS) in the orders of
/// `Kernel`: by rule 2 one chain over the terms, the odd one of each pair first, that begins in y; by rule 3 four such chains, pair p in that
/// of p mod 4, and their tree.
class PairsGemmTest {
  @BeforeAll
  static void instructions() {
    assumeTrue(Tier.AVX512BF16.available(), "needs AVX-512 with bf16, and Linux");
  }

  private static float element(float[] a, float[] b, MatMul.Product c, int row, int column, float y) {
    int chains = !c.ta() && c.tb() ? 4 : 1;
    var sums = new float[chains];
    if (chains == 1 && c.y().add()) sums[0] = y;
    for (int pair = 0; pair < c.k(); pair += 2) {
      int chain = pair / 2 % chains;
      for (int i : new int[] {pair + 1, pair}) {
        if (i == c.k()) continue;
        float x = c.ta() ? a[i * c.m() + row] : a[row * c.k() + i];
        sums[chain] = Math.fma(x, c.tb() ? b[column * c.k() + i] : b[i * c.n() + column], sums[chain]);
      }
    }
    if (chains == 1) return sums[0];
    for (int half = 2; half > 0; half /= 2) for (int i = 0; i < half; i++) sums[i] += sums[i + half];
    return c.y().add() ? Math.fma(c.alpha(), sums[0], y) : c.alpha() * sums[0];
  }

  private static float[] definition(MatMul.Product c, float[] before) {
    var y = before.clone();
    var a = c.a().toFloats();
    var b = c.b().toFloats();
    for (int r = 0; r < c.m(); r++) for (int i = 0; i < c.n(); i++) y[r * c.n() + i] = element(a, b, c, r, i, y[r * c.n() + i]);
    return y;
  }

  @ParameterizedTest
  @CsvSource({"1,70,600", "2,66,32", "31,17,136", "5,9,1024", "40,16,264", "3,2,96", "6,5,8", "7,6,24", "8,33,72", "32,17,8", "33,18,32", "37,17,40", "48,33,24", "63,23,64", "65,100,96", "130,129,1800",
      "70,200,584", "0,17,8", "100,700,64", "32,17,2", "37,17,34", "48,33,30", "70,200,578", "31,17,130", "13,100,390", "9,70,136",
      "16,1000,258"})
  void everyElementHasTheBitsOfTheDefinition(int m, int n, int k) {
    for (int direction = k % 8 == 0 ? 0 : 1; direction < 3; direction++) { // y = x·Wᵀ, dx = dy·W, dW = dyᵀ·x
      for (boolean add : new boolean[] {false, true}) {
        for (var dtype : new DType[] {DType.F32, DType.BF16}) {
          try (var region = Region.growing("test"); var device = new CpuDevice(Tier.AVX512BF16, 2)) {
            var s = new Stage(region, device);
            boolean ta = direction == 2;
            var a = ta ? s.random(DType.BF16, k, m) : s.random(DType.BF16, m, k);
            var b = direction == 0 ? s.random(DType.BF16, n, k) : s.random(DType.BF16, k, n);
            var y = s.random(dtype, m, n);
            var c = new MatMul.Product(add ? Sink.add(y) : Sink.write(y), a, b, ta, direction == 0, direction == 0 ? 0.75f : 1);
            var expected = s.random(dtype, m, n).set(definition(c, y.toFloats()));
            device.run(c);
            assertThat(y.toFloats()).as("%s", c).isEqualTo(expected.toFloats());
          }
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1,40", "31,40", "67,40", "1799,40", "67,12", "1799,12"})
  void aGradientOfOddlyManyTokensLacksNothing(int tokens, int rows) {
    try (var region = Region.growing("test"); var device = new CpuDevice(Tier.AVX512BF16, 2)) {
      var s = new Stage(region, device);
      var dw = s.random(DType.F32, rows, 75);
      var c = new MatMul.Product(Sink.add(dw), s.random(DType.BF16, tokens, rows), s.random(DType.BF16, tokens, 75), true, false, 1);
      var expected = definition(c, dw.toFloats());
      device.run(c);
      assertThat(dw.toFloats()).isEqualTo(expected);
    }
  }

  @Test
  void aSplitIntoEvenNumbersOfTokensChangesNoBitOfAGradient() {
    Stage.splitsChangeNoBitOfAGradient(Tier.AVX512BF16, 0, 2, 36, 150, 151);
  }

  @Test
  void whatIsNotTwoBf16MatricesOfPairsHasTheBitsOfTheOtherTiers() {
    record Case(DType a, DType b, int m, int k, float alpha) {}
    for (var c : new Case[] {
        new Case(DType.F32, DType.BF16, 40, 70, 1), new Case(DType.BF16, DType.F32, 40, 70, 1), new Case(DType.F16, DType.BF16, 40, 70, 1),
        new Case(DType.BF16, DType.BF16, 31, 76, 1), new Case(DType.BF16, DType.BF16, 40, 71, 1), new Case(DType.BF16, DType.BF16, 40, 70, 1)}) {
      var results = new ArrayList<float[]>();
      for (var tier : new Tier[] {Tier.AVX512, Tier.AVX512BF16}) {
        try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
          var s = new Stage(region, device);
          var y = s.random(DType.F32, c.m, 50);
          device.run(new MatMul.Product(Sink.write(y), s.random(c.a, c.m, c.k), s.random(c.b, 50, c.k), false, true, c.alpha));
          results.add(y.toFloats());
        }
      }
      assertThat(results.get(1)).as("%s", c).isEqualTo(results.get(0));
    }
  }

  @Test
  void everyRowHasTheBitsItHasAmongOthers() {
    try (var region = Region.growing("test"); var device = new CpuDevice(Tier.AVX512BF16, 2)) {
      var s = new Stage(region, device);
      for (int n : new int[] {7, 16, 70}) { // thin products, and others
        var x = s.random(DType.BF16, 75, 328);
        var w = s.random(DType.BF16, n, 328);
        var all = s.random(DType.F32, 75, n);
        var few = s.random(DType.F32, 75, n);
        device.run(new MatMul.Product(Sink.write(all), x, w, false, true, 1));
        for (int from = 0, rows = 1; from < 75; from += rows, rows = Math.min(2 * rows, 75 - from)) {
          device.run(new MatMul.Product(Sink.write(few.slice(from, from + rows)), x.slice(from, from + rows), w, false, true, 1));
        }
        assertThat(few.toFloats()).isEqualTo(all.toFloats());
      }
    }
  }

  @Test
  void eachProductOfABatchIsAProductOfItsOwn() {
    Bf16Products.ofABatchAreProductsOfTheirOwn(Tier.AVX512BF16, 24);
  }

  @Test
  void nothingOutsideTheResultIsWritten() {
    Bf16Products.writeNothingElse(Tier.AVX512BF16, 24);
  }
}
