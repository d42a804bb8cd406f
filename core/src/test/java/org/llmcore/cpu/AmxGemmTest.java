package org.llmcore.cpu;

import java.util.ArrayList;
import java.util.stream.Stream;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

import org.llmcore.cpu.code.AmxTraps;
import org.llmcore.cpu.code.CpuFeatures;
import org.llmcore.op.MatMul;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.QuantMatrices;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

import static org.assertj.core.api.Assertions.assertThat;

/// Products of bf16 matrices on tiles have the bits of the processor's definition (Intel SDM vol. 2, TDPBF16PS): in every 32 terms two
/// chains, of the even and of the odd ones, then their sum added to what was there: 0, or for a gradient of weights y.
class AmxGemmTest {
  @BeforeAll
  static void tiles() {
    AmxTraps.begin();
  }

  @AfterEach
  void theProcessorWouldHaveAccepted() {
    AmxTraps.accepted();
  }

  private static float element(float[] a, float[] b, MatMul.Product c, int row, int column, float y) {
    int k = c.k();
    float sum = c.ta() && c.y().add() ? y : 0;
    for (int from = 0; from < k; from += 32) {
      float even = 0;
      float odd = 0;
      for (int i = from; i < Math.min(k, from + 32); i++) {
        float product = c.tb() ? b[column * k + i] : b[i * c.n() + column];
        float x = c.ta() ? a[i * c.m() + row] : a[row * k + i];
        if (i % 2 == 0) even = Math.fma(x, product, even);
        else odd = Math.fma(x, product, odd);
      }
      sum += even + odd;
    }
    return c.ta() ? sum : c.y().add() ? Math.fma(c.alpha(), sum, y) : c.alpha() * sum;
  }

  private static float[] definition(MatMul.Product c, float[] before) {
    var y = before.clone();
    var a = c.a().toFloats();
    var b = c.b().toFloats();
    for (int r = 0; r < c.m(); r++) for (int i = 0; i < c.n(); i++) y[r * c.n() + i] = element(a, b, c, r, i, y[r * c.n() + i]);
    return y;
  }

  @ParameterizedTest
  @CsvSource({"33,17,2", "34,18,32", "35,17,34", "48,33,30", "63,17,64", "32,32,32", "33,31,66", "65,100,96", "130,129,1200", "39,200,578", "0,17,4"})
  void everyElementHasTheBitsOfTheDefinition(int m, int n, int k) {
    for (boolean tb : new boolean[] {true, false}) {
      for (boolean add : new boolean[] {false, true}) {
        for (var dtype : new DType[] {DType.F32, DType.BF16}) {
          try (var region = Region.growing("test"); var device = new CpuDevice(Tier.AMX, 2)) {
            var s = new Stage(region, device);
            var a = s.random(DType.BF16, m, k);
            var b = tb ? s.random(DType.BF16, n, k) : s.random(DType.BF16, k, n);
            var y = s.random(dtype, m, n);
            check(device, s, new MatMul.Product(add ? Sink.add(y) : Sink.write(y), a, b, false, tb, 0.7f));
          }
        }
      }
    }
  }

  private static void check(CpuDevice device, Stage s, MatMul.Product c) {
    var y = c.y().tensor();
    var expected = s.random(y.dtype(), c.m(), c.n()).set(definition(c, y.toFloats()));
    device.run(c);
    assertThat(y.toFloats()).as("%s", c).isEqualTo(expected.toFloats());
  }

  @ParameterizedTest
  @CsvSource({"17,33,2", "17,18,1", "32,32,32", "33,31,33", "48,70,63", "65,17,64", "100,200,95", "130,129,1201", "40,33,577"})
  void everyElementOfAGradientHasTheBitsOfTheDefinition(int m, int n, int tokens) {
    long before = CpuFeatures.here().amx() ? 0 : AmxTraps.executed();
    for (boolean add : new boolean[] {false, true}) {
      for (var dtype : new DType[] {DType.F32, DType.BF16}) {
        try (var region = Region.growing("test"); var device = new CpuDevice(Tier.AMX, 2)) {
          var s = new Stage(region, device);
          var y = s.random(dtype, m, n);
          check(device, s, new MatMul.Product(add ? Sink.add(y) : Sink.write(y), s.random(DType.BF16, tokens, m), s.random(DType.BF16, tokens, n), true, false, 1));
        }
      }
    }
    if (!CpuFeatures.here().amx()) assertThat(AmxTraps.executed()).isGreaterThan(before);
  }

  @Test
  void aSplitIntoMultiplesOf32TokensChangesNoBitOfAGradient() {
    Stage.splitsChangeNoBitOfAGradient(Tier.AMX, 0, 32, 128, 151);
  }

  static Stream<QuantMatrices.Form> forms() {
    return QuantMatrices.forms().stream();
  }

  @ParameterizedTest
  @MethodSource("forms")
  void weightsInFewBitsHaveTheBitsOfTheirBf16(QuantMatrices.Form form) {
    for (int[] size : new int[][] {{1, 5, 64}, {34, 70, 136}, {66, 132, 256}, {3, 17, 98}}) {
      for (boolean transposed : new boolean[] {true, false}) {
        try (var region = Region.growing("test"); var device = new CpuDevice(Tier.AMX, 2)) {
          var s = new Stage(region, device);
          var w = form.make(region, size[1], form.fit(size[2]), 13);
          if (transposed && w.inputs() % 2 != 0) continue;
          var dense = region.carve(DType.BF16, Shape.of(w.outputs(), w.inputs()));
          for (int o = 0; o < w.outputs(); o++) dense.slice(o, o + 1).set(w.row(o));
          var x = s.random(DType.BF16, size[0], transposed ? w.inputs() : w.outputs());
          var y = s.random(DType.F32, size[0], transposed ? w.outputs() : w.inputs());
          var expected = region.carve(DType.F32, y.shape()).set(y.toFloats());
          device.run(new MatMul.Product(Sink.add(expected), x, dense, false, transposed, 1));
          device.run(new QuantMatMul.Product(Sink.add(y), x, w, transposed));
          assertThat(y.toFloats()).as("%s rows, %s, transposed %s", size[0], x.columns(), transposed).isEqualTo(expected.toFloats());
        }
      }
    }
  }

  @Test
  void anOddNumberOfTermsIsFineWhereColumnsLieSideBySide() {
    try (var region = Region.growing("test"); var device = new CpuDevice(Tier.AMX, 1)) {
      var s = new Stage(region, device);
      var a = s.random(DType.BF16, 5, 67);
      var b = s.random(DType.BF16, 67, 40);
      var y = s.random(DType.F32, 5, 40);
      var c = new MatMul.Product(Sink.write(y), a, b, false, false, 1);
      device.run(c);
      assertThat(y.toFloats()).isEqualTo(definition(c, y.toFloats()));
    }
  }

  @Test
  void whatIsNotBf16OnBothSidesHasTheBitsOfTheOtherTiers() {
    for (var dtypes : new DType[][] {{DType.F32, DType.BF16}, {DType.BF16, DType.F32}, {DType.F32, DType.F32}, {DType.F16, DType.BF16}}) {
      var results = new ArrayList<float[]>();
      for (var tier : new Tier[] {Tier.AVX512, Tier.AMX}) {
        try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
          var s = new Stage(region, device);
          var a = s.random(dtypes[0], 40, 70);
          var b = s.random(dtypes[1], 50, 70);
          var y = s.random(DType.F32, 40, 50);
          device.run(new MatMul.Product(Sink.write(y), a, b, false, true, 1));
          results.add(y.toFloats());
        }
      }
      assertThat(results.get(1)).isEqualTo(results.get(0));
    }
  }

  @Test
  void gradientsOfFewRowsKeepTheirChain() {
    var results = new ArrayList<float[]>();
    for (var tier : new Tier[] {Tier.AVX512, Tier.AMX}) {
      try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
        var s = new Stage(region, device);
        var du = s.random(DType.BF16, 70, 16);
        var x = s.random(DType.BF16, 70, 50);
        var da = s.random(DType.F32, 16, 50);
        device.run(new MatMul.Product(Sink.add(da), du, x, true, false, 1));
        results.add(da.toFloats());
      }
    }
    assertThat(results.get(1)).isEqualTo(results.get(0));
  }

  @Test
  void rowsDoNotDependOnTheirNeighboursNorOnTheNumberOfWorkers() {
    var all = new ArrayList<float[]>();
    for (int workers : new int[] {1, 2, 3}) {
      for (var splits : new int[][] {{0, 150}, {0, 33, 67, 150}}) {
        try (var region = Region.growing("test"); var device = new CpuDevice(Tier.AMX, workers)) {
          var s = new Stage(region, device);
          var x = s.random(DType.BF16, 150, 76);
          var w = s.random(DType.BF16, 90, 76);
          var y = s.random(DType.F32, 150, 90);
          for (int i = 0; i + 1 < splits.length; i++) {
            device.run(new MatMul.Product(Sink.write(y.slice(splits[i], splits[i + 1])), x.slice(splits[i], splits[i + 1]), w, false, true, 1));
          }
          all.add(y.toFloats());
        }
      }
    }
    for (var y : all) assertThat(y).isEqualTo(all.getFirst());
  }

  @Test
  void eachProductOfABatchIsAProductOfItsOwn() {
    Bf16Products.ofABatchAreProductsOfTheirOwn(Tier.AMX, 22);
  }

  @Test
  void nothingOutsideTheResultIsWritten() {
    Bf16Products.writeNothingElse(Tier.AMX, 20);
  }

  @Test
  void theTilesOfThisTestAreExecutedInSoftwareOnlyWhereThereAreNone() {
    try (var region = Region.growing("test"); var device = new CpuDevice(Tier.AMX, 1)) {
      var s = new Stage(region, device);
      long before = CpuFeatures.here().amx() ? 0 : AmxTraps.executed();
      device.run(new MatMul.Product(Sink.write(s.random(DType.F32, 32, 32)), s.random(DType.BF16, 32, 64), s.random(DType.BF16, 32, 64), false, true, 1));
      // configuration and release, four tiles cleared and stored, and in two steps four loads and four products
      if (!CpuFeatures.here().amx()) assertThat(AmxTraps.executed() - before).isEqualTo(2 + 8 + 2 * 8);
    }
  }
}
