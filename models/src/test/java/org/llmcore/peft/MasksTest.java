package org.llmcore.peft;

import java.util.Arrays;
import java.util.List;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.Gradients;
import org.llmcore.op.Pass;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

import static org.assertj.core.api.Assertions.assertThat;

class MasksTest {
  /// A row of odd width begins inside a pair of elements that one hash decides.
  @ParameterizedTest
  @ValueSource(ints = {1, 7, 8})
  void aRowIsDroppedAlikeInEveryMicroBatch(int width) {
    int rows = 61;
    var masks = new LoraLinear.Masks();
    try (var device = new CpuDevice(true, 1); var region = Region.growing("test")) {
      var p = Pass.training(device, region, new Gradients(region, List.of()));
      var ones = new float[rows * width];
      Arrays.fill(ones, 1);
      var x = region.carve(DType.F32, Shape.of(rows, width)).set(ones);
      masks.at(3, 5, 0);
      var whole = masks.drop(p, x, 0.4f, "q_proj");
      assertThat(whole.toFloats()).contains(0f).hasSize(rows * width);
      for (int[] r : new int[][] {{0, 1}, {1, 4}, {4, 19}, {19, 61}}) {
        masks.at(3, 5, r[0]);
        var part = masks.drop(p, x.slice(r[0], r[1]), 0.4f, "q_proj");
        assertThat(part.toFloats()).isEqualTo(whole.slice(r[0], r[1]).toFloats());
      }
    }
  }
}
