package org.llmcore.cpu;

import java.util.List;
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
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// A product with few bits has the very bits of the dense product with the matrix that `QuantMatrix.get` spells out, for every
/// form, orientation, dtype and number of rows, on vectors and on the scalar twin, for every number of workers.
class QuantMatMulCpuTest {
  static Stream<QuantMatrices.Form> forms() {
    return QuantMatrices.forms().stream();
  }

  private static Tensor dense(Region region, QuantMatrix w) {
    var all = region.carve(DType.F32, Shape.of(w.outputs(), w.inputs()));
    for (int o = 0; o < w.outputs(); o++) all.slice(o, o + 1).set(w.row(o));
    return all;
  }

  @ParameterizedTest
  @MethodSource("forms")
  void dequantizingGivesTheDefinition(QuantMatrices.Form form) {
    for (var tier : Tier.exactHere()) {
      for (int[] shape : new int[][] {{1, 1}, {3, 17}, {5, 64}, {2, 207}, {7, 640}}) {
        try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
          var w = form.make(region, shape[0], form.fit(shape[1]), 3);
          var y = region.carve(DType.F32, Shape.of(w.outputs(), w.inputs()));
          device.run(new QuantMatMul.Dequantize(y, w));
          assertThat(y.toFloats()).as("%s", tier).isEqualTo(dense(region, w).toFloats());
          var half = region.carve(DType.BF16, y.shape());
          device.run(new QuantMatMul.Dequantize(half, w));
          assertThat(half.toFloats()).isEqualTo(region.carve(DType.BF16, y.shape()).set(y.toFloats()).toFloats());
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("forms")
  void productsHaveTheBitsOfTheDenseProduct(QuantMatrices.Form form) {
    for (var tier : Tier.exactHere()) {
      for (int[] size : new int[][] {{1, 5, 17}, {2, 3, 64}, {7, 9, 95}, {31, 70, 207}, {33, 65, 130}, {130, 37, 352}, {4, 19, 1100}}) {
        for (boolean transposed : new boolean[] {true, false}) {
          for (boolean add : new boolean[] {true, false}) {
            try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
              var s = new Stage(region, device);
              var w = form.make(region, size[1], form.fit(size[2]), 11);
              var x = s.random(DType.F32, size[0], transposed ? w.inputs() : w.outputs());
              var y = s.random(DType.F32, size[0], transposed ? w.outputs() : w.inputs());
              var expected = region.carve(DType.F32, y.shape()).set(y.toFloats());
              device.run(new MatMul.Product(add ? Sink.add(expected) : Sink.write(expected), x, dense(region, w), false, transposed, 1));
              device.run(new QuantMatMul.Product(add ? Sink.add(y) : Sink.write(y), x, w, transposed));
              assertThat(y.toFloats()).as("%s rows, transposed %s, add %s, %s", size[0], transposed, add, tier).isEqualTo(expected.toFloats());
            }
          }
        }
      }
    }
  }

  /// With bf16 activations the weights become bf16 where processors multiply two bf16 matrices, for any number of rows; elsewhere, and where
  /// terms do not come in pairs, they stay f32.
  @ParameterizedTest
  @MethodSource("forms")
  void productsOfBf16HaveTheBitsOfTheDenseProductInBf16WhereItHasInstructions(QuantMatrices.Form form) {
    for (var tier : Tier.values()) {
      if (!tier.available() || tier == Tier.AMX) continue; // AmxGemmTest
      for (int[] size : new int[][] {{1, 9, 64}, {3, 6, 128}, {5, 70, 256}, {8, 7, 136}, {13, 5, 96}, {31, 33, 264}, {32, 18, 72}, {70, 96, 512}, {33, 7, 130}, {2, 5, 67}}) {
        for (boolean transposed : new boolean[] {true, false}) {
          try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
            var s = new Stage(region, device);
            var w = form.make(region, size[1], form.fit(size[2]), 13);
            var x = s.random(DType.BF16, size[0], transposed ? w.inputs() : w.outputs());
            var y = s.random(DType.BF16, size[0], transposed ? w.outputs() : w.inputs());
            var expected = region.carve(DType.BF16, y.shape()).set(y.toFloats());
            var values = dense(region, w);
            boolean pairs = tier == Tier.AVX512BF16 && x.columns() % (transposed ? 8 : 2) == 0;
            var dense = pairs ? region.carve(DType.BF16, values.shape()).set(values.toFloats()) : values;
            device.run(new MatMul.Product(Sink.add(expected), x, dense, false, transposed, 1));
            device.run(new QuantMatMul.Product(Sink.add(y), x, w, transposed));
            assertThat(y.toFloats()).as("%s rows, %s, transposed %s, %s", size[0], x.columns(), transposed, tier).isEqualTo(expected.toFloats());
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("forms")
  void theTwinTheVectorsAndAnyNumberOfWorkersGiveTheSameBits(QuantMatrices.Form form) {
    for (var dtype : new DType[] {DType.F32, DType.BF16}) {
      for (int rows : new int[] {1, 3, 40}) {
        Stage.sameEverywhere(
            s -> {
              var w = form.make(s.region(), 67, form.fit(330), 5);
              var x = s.random(dtype, rows, w.inputs());
              var y = s.random(dtype, rows, w.outputs());
              var dx = s.random(dtype, rows, w.inputs());
              s.run(new QuantMatMul.Product(Sink.write(y), x, w, true));
              s.run(new QuantMatMul.Product(Sink.add(dx), y, w, false));
              return List.of(y, dx);
            });
      }
    }
  }

  @Test
  void shapesThatDoNotFitAreNamed() {
    try (var region = Region.growing("test")) {
      var w = QuantMatrices.forms().getFirst().make(region, 4, 6, 1);
      var x = region.carve(DType.F32, Shape.of(3, 5));
      var y = region.carve(DType.F32, Shape.of(3, 4));
      assertThatThrownBy(() -> new QuantMatMul.Product(Sink.write(y), x, w, true)).hasMessageContaining("(3, 4)").hasMessageContaining("(3, 5)").hasMessageContaining("(4, 6)");
      assertThatThrownBy(() -> new QuantMatMul.Dequantize(y, w)).hasMessageContaining("(3, 4)").hasMessageContaining("(4, 6)");
    }
  }
}
