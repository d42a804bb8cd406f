package org.llmcore.cpu;

import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;

/// What is asked of products of two bf16 matrices on every tier that multiplies them as such.
final class Bf16Products {
  private Bf16Products() {}

  static void ofABatchAreProductsOfTheirOwn(Tier tier, int k) {
    try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
      var s = new Stage(region, device);
      for (boolean tb : new boolean[] {true, false}) {
        var a = s.random(DType.BF16, 3, 35, k);
        var b = tb ? s.random(DType.BF16, 3, 67, k) : s.random(DType.BF16, 3, k, 67);
        var y = s.random(DType.F32, 3, 35, 67);
        var each = s.random(DType.F32, 3, 35, 67);
        device.run(new MatMul.Product(Sink.write(y), a, b, false, tb, 1));
        for (int i = 0; i < 3; i++) device.run(new MatMul.Product(Sink.write(one(each, i)), one(a, i), one(b, i), false, tb, 1));
        assertThat(y.toFloats()).isEqualTo(each.toFloats());
      }
    }
  }

  private static Tensor one(Tensor batch, int i) {
    return batch.slice(i, i + 1).reshape(batch.dim(1), batch.dim(2));
  }

  static void writeNothingElse(Tier tier, int k) {
    try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
      var s = new Stage(region, device);
      var guarded = s.random(DType.F32, 39, 41);
      var before = guarded.toFloats();
      device.run(new MatMul.Product(Sink.write(guarded.slice(1, 38)), s.random(DType.BF16, 37, k), s.random(DType.BF16, 41, k), false, true, 1));
      for (int i = 0; i < 41; i++) {
        assertThat(guarded.get(i)).isEqualTo(before[i]);
        assertThat(guarded.get(38L * 41 + i)).isEqualTo(before[38 * 41 + i]);
      }
    }
  }
}
