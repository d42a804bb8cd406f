package org.llmcore.cpu;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;

/// The order of every sum is part of the meaning of `MatMul`: each result has the very bits of the definition, written out
/// here as one loop per element, on vectors and on the scalar twin, for every number of workers and however rows are split.
class MatMulCpuTest {
  private static final DType[] DTYPES = {DType.F32, DType.BF16, DType.F16};

  /// One element by the definition: rule 3 for `a·bᵀ`, one chain otherwise.
  private static float element(float[] a, float[] b, MatMul.Product c, int row, int column, float y) {
    int m = c.m();
    int n = c.n();
    int k = c.k();
    if (!c.ta() && c.tb()) {
      var sums = new float[16];
      for (int i = 0; i < k; i++) sums[i % 16] = Math.fma(a[row * k + i], b[column * k + i], sums[i % 16]);
      for (int step = 8; step > 0; step /= 2) for (int i = 0; i < step; i++) sums[i] += sums[i + step];
      return c.y().add() ? Math.fma(c.alpha(), sums[0], y) : c.alpha() * sums[0];
    }
    float sum = c.y().add() ? y : 0;
    for (int i = 0; i < k; i++) {
      float u = c.ta() ? a[i * m + row] : a[row * k + i];
      float v = c.tb() ? b[column * k + i] : b[i * n + column];
      sum = Math.fma(c.alpha() * u, v, sum);
    }
    return sum;
  }

  private static float[] definition(MatMul.Product c, float[] before) {
    var y = before.clone();
    var a = c.a().toFloats();
    var b = c.b().toFloats();
    for (int r = 0; r < c.m(); r++) {
      for (int i = 0; i < c.n(); i++) y[r * c.n() + i] = element(a, b, c, r, i, y[r * c.n() + i]);
    }
    return y;
  }

  @ParameterizedTest
  @CsvSource({
    "1,1,1", "1,3,17", "3,1,63", "4,64,16", "5,65,15", "7,33,64", "31,128,65", "32,17,123", "33,129,31", "63,63,128", "64,96,207",
    "65,31,321", "2,3,641", "200,8,70", "97,16,33", "1000,1,64", "33,9,1300", "130,200,3", "523,70,33", "37,0,5", "37,5,0",
    "13,100,389", "16,70,200", "8,900,129"
  })
  void everyElementHasTheBitsOfTheDefinition(int m, int n, int k) {
    for (var tier : Tier.exactHere()) {
      for (var orientation : orientations()) {
        for (float alpha : new float[] {1, -0.7f}) {
          for (boolean add : new boolean[] {false, true}) {
            try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
              var s = new Stage(region, device);
              var a = s.random(DType.F32, orientation[0] ? k : m, orientation[0] ? m : k);
              var b = s.random(DType.F32, orientation[1] ? n : k, orientation[1] ? k : n);
              var y = s.random(DType.F32, m, n);
              var c = new MatMul.Product(add ? Sink.add(y) : Sink.write(y), a, b, orientation[0], orientation[1], alpha);
              var expected = definition(c, y.toFloats());
              device.run(c);
              assertThat(y.toFloats()).as("%s %s", c, tier).isEqualTo(expected);
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1,3,17", "5,65,15", "31,128,65", "33,129,31", "65,31,321", "70,7,90"})
  void otherDtypesAreWidenedExactlyAndRoundedOnce(int m, int n, int k) {
    for (var dtype : DTYPES) {
      for (var orientation : orientations()) {
        for (boolean add : new boolean[] {false, true}) {
          try (var region = Region.growing("test"); var device = new CpuDevice(Tier.exactHere().getLast(), 2)) {
            var s = new Stage(region, device);
            var a = s.random(dtype, orientation[0] ? k : m, orientation[0] ? m : k);
            var b = s.random(dtype, orientation[1] ? n : k, orientation[1] ? k : n);
            var y = s.random(dtype, m, n);
            var c = new MatMul.Product(add ? Sink.add(y) : Sink.write(y), a, b, orientation[0], orientation[1], 0.3f);
            var expected = s.random(dtype, m, n).set(definition(c, y.toFloats()));
            device.run(c);
            assertThat(y.toFloats()).as("%s", c).isEqualTo(expected.toFloats());
          }
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1,65,33", "70,65,33", "129,321,650", "300,8,130"})
  void theTwinTheVectorsAndAnyNumberOfWorkersGiveTheSameBits(int m, int n, int k) {
    for (var dtype : DTYPES) {
      Stage.sameEverywhere(
          s -> {
            var x = s.random(dtype, m, k);
            var w = s.random(dtype, n, k);
            var y = s.random(dtype, m, n);
            var dx = s.random(dtype, m, k);
            var dw = s.random(DType.F32, n, k);
            s.run(new MatMul.Product(Sink.write(y), x, w, false, true, 1));
            s.run(new MatMul.Product(Sink.add(dx), y, w, false, false, 0.5f));
            s.run(new MatMul.Product(Sink.add(dw), y, x, true, false, 1));
            return List.of(y, dx, dw);
          });
    }
  }

  @Test
  void eachProductOfABatchIsAProductOfItsOwn() {
    try (var region = Region.growing("test"); var device = new CpuDevice(Tier.exactHere().getLast(), 3)) {
      var s = new Stage(region, device);
      for (var orientation : orientations()) {
        var a = s.random(DType.F32, 6, orientation[0] ? 21 : 35, orientation[0] ? 35 : 21);
        var b = s.random(DType.F32, 6, orientation[1] ? 67 : 21, orientation[1] ? 21 : 67);
        var y = s.random(DType.F32, 6, 35, 67);
        var each = s.random(DType.F32, 6, 35, 67);
        device.run(new MatMul.Product(Sink.write(y), a, b, orientation[0], orientation[1], 1));
        for (int i = 0; i < 6; i++) {
          device.run(
              new MatMul.Product(Sink.write(one(each, i)), one(a, i), one(b, i), orientation[0], orientation[1], 1));
        }
        assertThat(y.toFloats()).isEqualTo(each.toFloats());
      }
    }
  }

  private static Tensor one(Tensor batch, int i) {
    return batch.slice(i, i + 1).reshape(batch.dim(1), batch.dim(2));
  }

  @Test
  void rowsDoNotDependOnTheirNeighboursNorGradientsOnHowABatchIsSplit() {
    try (var region = Region.growing("test"); var device = new CpuDevice(Tier.exactHere().getLast(), 2)) {
      var s = new Stage(region, device);
      var x = s.random(DType.F32, 150, 75);
      var w = s.random(DType.F32, 90, 75);
      var ys = new ArrayList<Tensor>();
      var gradients = new ArrayList<Tensor>();
      for (var splits : new int[][] {{0, 150}, {0, 1, 34, 150}, {0, 64, 128, 150}}) {
        var y = s.random(DType.F32, 150, 90);
        var dw = s.random(DType.F32, 90, 75);
        for (int i = 0; i + 1 < splits.length; i++) {
          var rows = x.slice(splits[i], splits[i + 1]);
          var results = y.slice(splits[i], splits[i + 1]);
          device.run(new MatMul.Product(Sink.write(results), rows, w, false, true, 1));
          device.run(new MatMul.Product(i == 0 ? Sink.write(dw) : Sink.add(dw), results, rows, true, false, 1));
        }
        ys.add(y);
        gradients.add(dw);
      }
      for (int i = 1; i < ys.size(); i++) {
        assertThat(ys.get(i).toFloats()).isEqualTo(ys.getFirst().toFloats());
        assertThat(gradients.get(i).toFloats()).isEqualTo(gradients.getFirst().toFloats());
      }
    }
  }

  @Test
  void nothingOutsideTheResultIsWritten() {
    for (var dtype : DTYPES) {
      try (var region = Region.growing("test"); var device = new CpuDevice(Tier.exactHere().getLast(), 2)) {
        var s = new Stage(region, device);
        for (var orientation : orientations()) {
          for (int m : new int[] {3, 37}) {
            var guarded = s.random(dtype, m + 2, 41);
            var before = guarded.toFloats();
            var a = s.random(DType.F32, orientation[0] ? 19 : m, orientation[0] ? m : 19);
            var b = s.random(DType.F32, orientation[1] ? 41 : 19, orientation[1] ? 19 : 41);
            device.run(new MatMul.Product(Sink.write(guarded.slice(1, m + 1)), a, b, orientation[0], orientation[1], 1));
            for (int i = 0; i < 41; i++) {
              assertThat(guarded.get(i)).isEqualTo(before[i]);
              assertThat(guarded.get((m + 1L) * 41 + i)).isEqualTo(before[(m + 1) * 41 + i]);
            }
          }
        }
      }
    }
  }

  @Test
  void whatIsNoNumberAndWhatIsTinyIsRoundedLikeAnyOther() {
    float[] special = {Float.NaN, Float.POSITIVE_INFINITY, -0f, 0x1p-130f, -0x1.8p-133f, 0x1.01p0f, 0x1.03p0f, Float.MAX_VALUE};
    try (var region = Region.growing("test"); var device = new CpuDevice(Tier.exactHere().getLast(), 2)) {
      var s = new Stage(region, device);
      for (var orientation : new boolean[][] {{false, true}, {false, false}, {true, false}}) {
        var a = s.random(DType.F32, orientation[0] ? 1 : 40, orientation[0] ? 40 : 1);
        var rows = new float[40];
        for (int i = 0; i < rows.length; i++) rows[i] = special[i % special.length];
        a.set(rows);
        var ones = new float[70];
        Arrays.fill(ones, 1);
        var b = s.random(DType.F32, orientation[1] ? 70 : 1, orientation[1] ? 1 : 70).set(ones);
        var y = s.random(DType.BF16, 40, 70);
        var c = new MatMul.Product(Sink.write(y), a, b, orientation[0], orientation[1], 1);
        var expected = s.random(DType.BF16, 40, 70).set(definition(c, y.toFloats()));
        device.run(c);
        assertThat(y.toFloats()).as("%s", c).isEqualTo(expected.toFloats());
      }
    }
  }

  private static boolean[][] orientations() {
    return new boolean[][] {{false, true}, {false, false}, {true, false}, {true, true}};
  }
}
