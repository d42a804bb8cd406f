package org.llmcore.cpu;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

import org.llmcore.cpu.code.AmxTraps;
import org.llmcore.op.MatMul;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.QuantMatrices;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// A low-rank term has the bits of a product in f32 that is added to the base's sums before they are rounded, in every tier and however
/// many rows there are.
class LowRankCpuTest {
  private static final DType[][] DTYPES = { // y, a, b, u, v
      {DType.F32, DType.F32, DType.F32, DType.F32, DType.F32}, {DType.BF16, DType.BF16, DType.BF16, DType.BF16, DType.F32},
      {DType.BF16, DType.BF16, DType.BF16, DType.BF16, DType.BF16}, {DType.F32, DType.BF16, DType.BF16, DType.F16, DType.F32},
      {DType.F16, DType.F32, DType.F16, DType.F32, DType.BF16}
  };

  private boolean tiles;

  private CpuDevice device(Tier tier) {
    tiles = tier == Tier.AMX;
    if (tiles) AmxTraps.begin();
    else assumeTrue(tier.available(), "needs " + tier);
    return new CpuDevice(tier, 2);
  }

  @AfterEach
  void theProcessorWouldHaveAccepted() {
    if (tiles) AmxTraps.accepted();
  }

  private static Tensor floats(Region region, Tensor t) {
    return region.carve(DType.F32, t.shape()).set(t.toFloats());
  }

  private static MatMul.LowRank lowRank(Stage s, DType[] d, int m, int n, int k, int r, boolean tb, boolean add) {
    var y = s.random(d[0], m, n);
    var b = tb ? s.random(d[2], n, k) : s.random(d[2], k, n);
    return new MatMul.LowRank(add ? Sink.add(y) : Sink.write(y), s.random(d[1], m, k), b, tb, s.random(d[3], m, r), s.random(d[4], r, n), 0.7f);
  }

  @ParameterizedTest
  @EnumSource(Tier.class)
  void theTermIsAProductInF32ThatIsAddedBeforeRounding(Tier tier) {
    int[][] sizes = {{1, 70, 600, 8}, {5, 9, 33, 3}, {31, 17, 136, 16}, {40, 16, 264, 1}, {37, 130, 72, 8}, {100, 700, 64, 20}, {70, 200, 1800, 8}, {39, 65, 3200, 40}, {33, 20, 8, 800}, {0, 17, 8, 4}, {200, 20, 0, 8}};
    try (var device = device(tier)) {
      for (var size : sizes) {
        for (var d : DTYPES) {
          for (int way = 0; way < 4; way++) {
            try (var region = Region.growing("test")) {
              var c = lowRank(new Stage(region, device), d, size[0], size[1], size[2], size[3], way % 2 == 0, way >= 2);
              var y = c.y().tensor();
              var sums = floats(region, y);
              device.run(new MatMul.Product(c.y().add() ? Sink.add(sums) : Sink.write(sums), c.a(), c.b(), false, c.tb(), 1));
              device.run(new MatMul.Product(Sink.add(sums), floats(region, c.u()), floats(region, c.v()), false, false, c.scale()));
              var expected = region.carve(d[0], y.shape()).set(sums.toFloats());
              device.run(c);
              assertThat(y.toFloats()).as("%s", c).isEqualTo(expected.toFloats());
            }
          }
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Tier.class)
  void weightsInFewBitsTakeItLikewise(Tier tier) {
    try (var device = device(tier)) {
      for (var form : QuantMatrices.forms()) {
        for (int way = 0; way < 8; way++) {
          try (var region = Region.growing("test")) {
            var s = new Stage(region, device);
            boolean transposed = way % 2 == 0;
            var d = DTYPES[way < 4 ? 0 : 1];
            int m = way / 2 % 2 == 0 ? 3 : 37;
            var w = form.make(region, 70, form.fit(130), 5);
            int n = transposed ? 70 : w.inputs();
            var y = s.random(d[0], m, n);
            var c = new QuantMatMul.LowRank(Sink.add(y), s.random(d[1], m, transposed ? w.inputs() : 70), w, transposed, s.random(d[3], m, 8), s.random(d[4], 8, n), 0.7f);
            var sums = floats(region, y);
            device.run(new QuantMatMul.Product(Sink.add(sums), c.x(), w, transposed));
            device.run(new MatMul.Product(Sink.add(sums), floats(region, c.u()), floats(region, c.v()), false, false, c.scale()));
            var expected = region.carve(d[0], y.shape()).set(sums.toFloats());
            device.run(c);
            assertThat(y.toFloats()).as("%s, %s", form, c).isEqualTo(expected.toFloats());
          }
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"SCALAR,bf16", "VECTOR,bf16", "AVX512,bf16", "AVX512BF16,bf16", "AMX,bf16", "AVX512,f32", "AVX512BF16,f32"})
  void aRowAloneHasTheBitsItHasAmongMany(Tier tier, String dtype) {
    try (var device = device(tier); var region = Region.growing("test")) {
      for (boolean tb : new boolean[] {true, false}) {
        var c = lowRank(new Stage(region, device), DTYPES[dtype.equals("f32") ? 0 : 1], 70, 130, 200, 8, tb, false);
        device.run(c);
        for (int r : new int[] {0, 1, 37, 69}) {
          var y = region.carve(c.y().tensor().dtype(), c.y().tensor().slice(r, r + 1).shape());
          device.run(new MatMul.LowRank(Sink.write(y), c.a().slice(r, r + 1), c.b(), tb, c.u().slice(r, r + 1), c.v(), c.scale()));
          assertThat(y.toFloats()).as("row %d, %s", r, tb).isEqualTo(c.y().tensor().slice(r, r + 1).toFloats());
        }
      }
    }
  }
}
