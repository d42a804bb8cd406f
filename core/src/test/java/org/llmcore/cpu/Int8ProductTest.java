package org.llmcore.cpu;

import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.Stream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import org.llmcore.cpu.code.CpuFeatures;
import org.llmcore.op.Int8;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.QuantMatrices;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Products with activations in eight bits: the sums of the definition within what f32 rounds, the same bits for every number of rows and of
/// threads, on tiers that multiply bytes and on those that do not.
class Int8ProductTest {
  static Stream<QuantMatrices.Form> forms() {
    return QuantMatrices.forms().stream();
  }

  private static float[] product(Tier tier, int workers, Tensor x, QuantMatrix w, float[] before) {
    try (var region = Region.growing("y"); var device = new CpuDevice(tier, workers)) {
      var y = region.carve(DType.F32, Shape.of(x.rows(), w.outputs()));
      if (before != null) y.set(before);
      device.run(new QuantMatMul.Int8Product(before == null ? Sink.write(y) : Sink.add(y), x, w));
      return y.toFloats();
    }
  }

  /// Σ x̂·w in f64, and what its terms sum to.
  private static double[] sum(float[] rounded, QuantMatrix w, int output) {
    double sum = 0;
    double magnitude = 0;
    for (int i = 0; i < rounded.length; i++) {
      sum += (double) rounded[i] * w.get(output, i);
      magnitude += Math.abs((double) rounded[i] * w.get(output, i));
    }
    return new double[] {sum, magnitude};
  }

  /// A partial sum of k terms adds k/16 times, a few roundings more; where code and zero are summed apart, their sums are some five times that of
  /// their difference on random grids.
  private static double tolerance(int k, double magnitude) {
    return 8 * (k / 16 + 8) * 0x1p-24 * magnitude;
  }

  @ParameterizedTest
  @MethodSource("forms")
  void everyTierSumsWhatTheDefinitionRounds(QuantMatrices.Form form) {
    try (var region = Region.growing("test"); var stage = new CpuDevice(Tier.SCALAR, 1)) {
      for (int k : new int[] {32, 256, 480, 1024}) {
        var w = form.make(region, 7, form.fit(k), 7);
        var x = new Stage(region, stage).random(DType.F32, 3, w.inputs());
        for (var tier : Tier.here()) {
          var y = product(tier, 2, x, w, null);
          for (int r = 0; r < 3; r++) {
            var rounded = x.slice(r, r + 1).toFloats();
            Int8.round(rounded);
            for (int o = 0; o < 7; o++) {
              var s = sum(rounded, w, o);
              assertThat((double) y[7 * r + o]).as("%s, %d columns, row %d, output %d", tier, w.inputs(), r, o).isCloseTo(s[0], within(tolerance(k, s[1])));
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("forms")
  void aRowHasTheSameBitsInEveryCompany(QuantMatrices.Form form) {
    try (var region = Region.growing("test"); var stage = new CpuDevice(Tier.SCALAR, 1)) {
      var w = form.make(region, 141, form.fit(512), 3);
      var x = new Stage(region, stage).random(DType.F32, 37, w.inputs());
      for (var tier : Tier.here()) {
        var all = product(tier, 3, x, w, null);
        for (int m : new int[] {1, 2, 3, 4, 5, 6, 7, 8, 9, 13}) {
          var y = product(tier, 1 + m % 2, x.slice(20, 20 + m), w, null);
          assertThat(y).as("%s, %d rows", tier, m).isEqualTo(Arrays.copyOfRange(all, 20 * 141, (20 + m) * 141));
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("forms")
  void everyNumberOfOutputsIsWrittenAndNoMore(QuantMatrices.Form form) {
    try (var region = Region.growing("test"); var device = CpuDevice.open(2)) {
      int k = form.fit(64);
      var x = new Stage(region, device).random(DType.F32, 2, k);
      for (int n = 1; n < 9; n++) {
        var w = form.make(region, n, k, 5);
        var y = region.carve(DType.F32, Shape.of(3, n)).set(Stage.filled(3 * n, 7));
        device.run(new QuantMatMul.Int8Product(Sink.write(y.slice(0, 2)), x, w));
        var found = y.toFloats();
        for (int i = 2 * n; i < 3 * n; i++) assertThat(found[i]).isEqualTo(7);
        for (int o = 0; o < n; o++) {
          var rounded = x.slice(1, 2).toFloats();
          Int8.round(rounded);
          var s = sum(rounded, w, o);
          assertThat((double) found[n + o]).as("%d outputs", n).isCloseTo(s[0], within(tolerance(64, s[1])));
        }
      }
    }
  }

  @Test
  void tiersWithoutProductsOfBytesHaveTheBitsOfTheProductOfRoundedRows() {
    try (var region = Region.growing("test"); var device = new CpuDevice(Tier.SCALAR, 2)) {
      for (var form : QuantMatrices.forms()) {
        var w = form.make(region, 5, form.fit(130), 9);
        var x = new Stage(region, device).random(DType.F32, 2, w.inputs());
        var rounded = region.carve(DType.F32, x.shape());
        for (int r = 0; r < 2; r++) {
          var row = x.slice(r, r + 1).toFloats();
          Int8.round(row);
          rounded.slice(r, r + 1).set(row);
        }
        var y = region.carve(DType.F32, Shape.of(2, 5));
        device.run(new QuantMatMul.Product(Sink.write(y), rounded, w, true));
        assertThat(product(Tier.SCALAR, 1, x, w, null)).as(form.name()).isEqualTo(y.toFloats());
      }
    }
  }

  @Test
  void addingAddsAndResultsOfOtherDtypesAreRoundedOnce() {
    var form = QuantMatrices.forms().stream().filter(f -> f.name().equals("Q4_0")).findFirst().orElseThrow();
    try (var region = Region.growing("test"); var device = CpuDevice.open(2)) {
      var w = form.make(region, 70, 96, 1);
      var x = new Stage(region, device).random(DType.BF16, 5, 96);
      var plain = product(Tier.open(), 2, x, w, null);
      var twice = product(Tier.open(), 2, x, w, plain);
      for (int i = 0; i < plain.length; i++) assertThat(twice[i]).isEqualTo(plain[i] + plain[i]);
      var y = region.carve(DType.BF16, Shape.of(5, 70));
      device.run(new QuantMatMul.Int8Product(Sink.write(y), x, w));
      var once = region.carve(DType.BF16, y.shape()).set(plain);
      assertThat(y.toFloats()).isEqualTo(once.toFloats());
    }
  }

  @Test
  void rowsArePackedAsTheDefinitionRounds() {
    assumeTrue(CpuFeatures.here().avx512() && CpuFeatures.here().vnni(), "needs AVX-512 VNNI");
    var random = new SplittableRandom(3);
    var values = new float[512];
    for (int i = 0; i < values.length; i++) values[i] = (float) (random.nextDouble(-1, 1) * Math.scalb(1.0, random.nextInt(-30, 30)));
    for (int i = 0; i < 32; i++) values[i] = 0; // a block of nothing
    for (int i = 32; i < 64; i++) values[i] = Float.MIN_VALUE * i; // whose inverse is beyond floats
    for (int i = 64; i < 96; i++) values[i] = i - 80 + 0.5f; // ties
    values[95] = 127;
    values[300] = Float.MAX_VALUE;
    try (var region = Region.growing("test")) {
      var x = region.carve(DType.F32, Shape.of(512)).set(values);
      var rounded = values.clone();
      Int8.round(rounded);
      for (var layout : Int8Code.Layout.values()) {
        var packed = region.carve(DType.U8, Shape.of(Int8Code.bytes(layout, 512)));
        Int8Code.pack(layout, x.address(), packed.address(), 512, 8);
        for (int b = 0; b < 16; b++) {
          long at = packed.address() + (layout == Int8Code.Layout.SUPER ? b / 8 * 640 + b % 8 * 64 : 64L * b);
          float scale = Memory.f32(at + Int8Code.SCALE);
          int sum = 0;
          for (int i = 0; i < 32; i++) {
            int code = (byte) Memory.u8(at + i);
            sum += code;
            assertThat(scale * code).as("%s, column %d", layout, 32 * b + i).isEqualTo(rounded[32 * b + i]);
          }
          if (layout == Int8Code.Layout.SUPER) {
            long more = packed.address() + b / 8 * 640;
            assertThat(Memory.f32(more + Int8Code.BLOCKS + b % 8 * 4)).isEqualTo(sum * scale);
            int half = 0;
            for (int i = 0; i < 16; i++) half += (byte) Memory.u8(at + i);
            assertThat(Memory.f32(more + Int8Code.SIXTEENS + b % 8 * 8)).isEqualTo(half * scale * 32);
            assertThat(Memory.f32(more + Int8Code.SIXTEENS + b % 8 * 8 + 4)).isEqualTo((sum - half) * scale * 32);
          } else {
            for (int j = 0; j < 4; j++) {
              int four = 0;
              for (int i = 0; i < 4; i++) four += (byte) Memory.u8(at + 4 * j + i) + (byte) Memory.u8(at + 16 + 4 * j + i);
              if (layout == Int8Code.Layout.INTEGERS) assertThat(Memory.i32(at + Int8Code.SUMS + 4 * j)).isEqualTo(-8 * four);
              else assertThat(Memory.f32(at + Int8Code.SUMS + 4 * j)).isEqualTo(four * scale);
            }
          }
        }
      }
    }
  }

  @Test
  void whatIsNoNumberStaysNone() {
    for (var form : QuantMatrices.forms()) {
      try (var region = Region.growing("test"); var device = CpuDevice.open(1)) {
        var w = form.make(region, 3, form.fit(64), 2);
        for (float bad : List.of(Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY)) {
          var x = new Stage(region, device).random(DType.F32, 2, w.inputs());
          var row = x.slice(1, 2).toFloats();
          row[37] = bad;
          x.slice(1, 2).set(row);
          for (var tier : Tier.here()) {
            var y = product(tier, 1, x, w, null);
            for (int o = 0; o < 3; o++) {
              assertThat(y[o]).as("%s, %s", form, tier).isFinite();
              assertThat(y[3 + o]).as("%s, %s, %s", form, tier, bad).isNaN();
            }
          }
        }
      }
    }
  }

  @Test
  void theFormsThatModelsComeInAreMultipliedAsBytes() {
    assumeTrue(CpuFeatures.here().avx512() && CpuFeatures.here().vnni(), "needs AVX-512 VNNI");
    var expected = List.of("4 bits, group 128", "8 bits, group 128", "4 bits, group -1", "8 bits, group 32", "Q8_0", "Q4_0", "Q4_K", "Q6_K");
    try (var region = Region.growing("test")) {
      for (var form : QuantMatrices.forms()) {
        if (expected.contains(form.name())) assertThat(Int8Stream.of(new Lanes(Tier.AVX512), Right.of(form.make(region, 2, 256, 1)))).as(form.name()).isPresent();
      }
    }
  }
}
