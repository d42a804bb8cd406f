package org.llmcore.bench;

import org.junit.jupiter.api.Test;

import org.llmcore.op.Attention;
import org.llmcore.op.Embedding;
import org.llmcore.op.MatMul;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;

/// Costs against counts by hand.
class CostTest {
  private final Region region = Region.growing("test");

  private Tensor t(DType dtype, int... dims) {
    return region.carve(dtype, Shape.of(dims));
  }

  @Test
  void productsAreToldApart() {
    var forward = Cost.of(new MatMul.Product(Sink.write(t(DType.F32, 40, 50)), t(DType.BF16, 40, 60), t(DType.BF16, 50, 60), false, true, 1));
    assertThat(forward).isEqualTo(new Cost("x·Wᵀ, bf16", 2 * 40 * 50 * 60, true, 4 * 40 * 50 + 2 * 40 * 60 + 2 * 50 * 60));
    var dw = Cost.of(new MatMul.Product(Sink.add(t(DType.F32, 50, 60)), t(DType.F32, 40, 50), t(DType.F32, 40, 60), true, false, 1));
    assertThat(dw).isEqualTo(new Cost("dyᵀ·x, f32", 2 * 40 * 50 * 60, false, 4 * (50 * 60 + 40 * 50 + 40 * 60)));
    var thin = Cost.of(new MatMul.Product(Sink.write(t(DType.BF16, 40, 60)), t(DType.BF16, 40, 8), t(DType.F32, 8, 60), false, false, 1));
    assertThat(thin.name()).isEqualTo("dy·W, bf16·f32, thin");
    assertThat(thin.pairs()).isFalse();
  }

  @Test
  void attentionCountsThePairsThatAreSeen() {
    var starts = t(DType.I32, 3);
    for (int i = 0; i < 3; i++) starts.segment().setAtIndex(java.lang.foreign.ValueLayout.JAVA_INT, i, new int[] {0, 3, 5}[i]);
    var q = t(DType.F32, 5, 2, 4);
    var k = t(DType.F32, 5, 1, 4);
    var lse = t(DType.F32, 5, 2);
    assertThat(Cost.of(new Attention.Forward(q, lse, q, k, k, starts, 1, true)).flops()).isEqualTo(4 * 2 * 4 * (6 + 3));
    assertThat(Cost.of(new Attention.Forward(q, lse, q, k, k, starts, 1, false)).flops()).isEqualTo(4 * 2 * 4 * (9 + 4));
    assertThat(Cost.of(new Attention.Backward(Sink.write(q), Sink.write(k), Sink.write(k), q, q, lse, q, k, k, starts, 1, true)).flops())
        .isEqualTo(10 * 2 * 4 * (6 + 3));
  }

  @Test
  void lookingUpRowsDoesNotMoveTheTable() {
    assertThat(Cost.of(new Embedding.Forward(t(DType.F32, 3, 8), t(DType.I32, 3), t(DType.BF16, 1000, 8))).bytes()).isEqualTo(2 * 4 * 3 * 8);
  }

  @Test
  void theRestMovesEveryTensorOnce() {
    var c = Cost.of(new RmsNorm.Forward(t(DType.F32, 3, 8), t(DType.F32, 3), t(DType.F32, 3, 8), t(DType.F32, 8), 1e-5f));
    assertThat(c).isEqualTo(new Cost("RmsNorm.Forward", 0, false, 4 * (3 * 8 + 3 + 3 * 8 + 8)));
  }
}
