package org.llmcore.cpu;

import java.util.stream.Stream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import org.llmcore.op.MatMul;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.QuantMatrices;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Emitted products of few rows have the bits of the scalar twin for every form, every number of rows of x, rows of W that fill no
/// strip and columns that fill no round.
class StreamGemmTest {
  static Stream<QuantMatrices.Form> forms() {
    return QuantMatrices.forms().stream();
  }

  private static void same(QuantMatrices.Form form, int m, int n, int k) {
    try (var region = Region.growing("test"); var fast = new CpuDevice(Tier.AVX512, 2); var twin = new CpuDevice(Tier.SCALAR, 1)) {
      var w = form.make(region, n, form.fit(k), 7);
      var x = new Stage(region, fast).random(DType.F32, m, w.inputs());
      var y = region.carve(DType.F32, Shape.of(m, n));
      var expected = region.carve(DType.F32, y.shape());
      fast.run(new QuantMatMul.Product(Sink.write(y), x, w, true));
      twin.run(new QuantMatMul.Product(Sink.write(expected), x, w, true));
      assertThat(y.toFloats()).as("%d rows, %d outputs, %d inputs", m, n, w.inputs()).isEqualTo(expected.toFloats());
    }
  }

  @ParameterizedTest
  @MethodSource("forms")
  void everyNumberOfRowsHasTheBitsOfTheTwin(QuantMatrices.Form form) {
    assumeTrue(Tier.AVX512.available(), "needs AVX-512");
    for (int m = 1; m < 32; m++) same(form, m, 3 + m % 6, 384);
    for (int k : new int[] {16, 48, 200, 256, 640, 771, 1280}) same(form, 2, 133, k);
  }

  @Test
  void denseRowsOfEveryDtypeHaveTheBitsOfTheTwin() {
    assumeTrue(Tier.AVX512.available(), "needs AVX-512");
    for (var dtype : new DType[] {DType.F32, DType.BF16, DType.F16}) {
      for (int m = 1; m < 32; m++) {
        for (int k : new int[] {1, 33, 64, 271}) {
          try (var region = Region.growing("test"); var fast = new CpuDevice(Tier.AVX512, 2); var twin = new CpuDevice(Tier.SCALAR, 1)) {
            var s = new Stage(region, fast);
            var w = s.random(dtype, 9, k);
            var x = s.random(DType.F32, m, k);
            var y = s.random(DType.F32, m, 9);
            var expected = region.carve(DType.F32, y.shape()).set(y.toFloats());
            fast.run(new MatMul.Product(Sink.add(y), x, w, false, true, -0.7f));
            twin.run(new MatMul.Product(Sink.add(expected), x, w, false, true, -0.7f));
            assertThat(y.toFloats()).as("%s, %d rows, %d columns", dtype, m, k).isEqualTo(expected.toFloats());
          }
        }
      }
    }
  }

  /// Rows of −0 keep their sign through a masked tail: absent columns add nothing, not +0.
  @Test
  void absentColumnsAddNothing() {
    assumeTrue(Tier.AVX512.available(), "needs AVX-512");
    try (var region = Region.growing("test"); var fast = new CpuDevice(Tier.AVX512, 1)) {
      var x = region.carve(DType.F32, Shape.of(1, 17)).set(Stage.filled(17, Float.MIN_VALUE));
      var w = region.carve(DType.F32, Shape.of(4, 17)).set(Stage.filled(68, Float.NaN));
      w.slice(0, 1).set(Stage.filled(17, -Float.MIN_VALUE));
      var y = region.carve(DType.F32, Shape.of(1, 4));
      fast.run(new MatMul.Product(Sink.write(y), x, w, false, true, 1));
      assertThat(Float.floatToRawIntBits(y.toFloats()[0])).isEqualTo(Float.floatToRawIntBits(-0f));
    }
  }

  @Test
  void theFormsOfRealModelsAreEmitted() {
    assumeTrue(Tier.AVX512.available(), "needs AVX-512");
    try (var region = Region.growing("test")) {
      for (var form : QuantMatrices.forms()) {
        boolean whole = !form.name().contains("group 5") && !form.name().contains("reordered") && !form.name().contains("group 16") && !form.name().contains("group 32");
        if (whole) assertThat(code(region, form.make(region, 2, 256, 1))).as(form.name()).isTrue();
      }
    }
  }

  private static boolean code(Region region, QuantMatrix w) {
    Tensor x = region.carve(DType.F32, Shape.of(1, w.inputs()));
    var product = new QuantMatMul.Product(Sink.write(region.carve(DType.F32, Shape.of(1, w.outputs()))), x, w, true);
    return StreamGemm.takes(new Lanes(Tier.AVX512), Gemm.of(product));
  }
}
