package org.llmcore.quant;

import java.util.List;
import java.util.Optional;

import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.FloatRange;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.constraints.Size;
import org.junit.jupiter.api.Test;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Region;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class RoundToNearestTest {
  @Test
  void theGridIsThatOfGptqsReferenceCode() {
    // maxq = 15: (0.9 + 0.6)/15 = 0.1, round(0.6/0.1) = 6; symmetric: 2·0.9/15 = 0.12, (15+1)/2 = 8
    assertThat(RoundToNearest.grid(-0.6f, 0.9f, 4, false, false)).isEqualTo(new RoundToNearest.Grid(0.1f, 6, 15));
    assertThat(RoundToNearest.grid(-0.6f, 0.9f, 4, true, false)).isEqualTo(new RoundToNearest.Grid(1.8f / 15, 8, 15));
    assertThat(RoundToNearest.grid(0, 0, 2, true, true)).isEqualTo(new RoundToNearest.Grid(1, 2, 3));
  }

  @Test
  void codesAreThoseOfAGridWorkedOutByHand() {
    // min −1, max 2, 2 bits: scale 1, zero 1; −1 0.4 0.6 2 → 0 1 2 3; ties (0.5 → 0 + 1) to even
    var c = RoundToNearest.quantize(new float[] {-1, 0.4f, 0.6f, 2, 0.5f}, 1, 5, 2, -1, false, false);
    assertThat(c.q()).containsExactly(0, 1, 2, 3, 1);
    assertThat(c.scales()).containsExactly(1);
    assertThat(c.zeros()).containsExactly(1);
  }

  @Property(tries = 200)
  void everyWeightIsWithinHalfAStep(
      @ForAll @Size(min = 3, max = 90) List<@FloatRange(min = -3, max = 3) Float> values, @ForAll @IntRange(min = 1, max = 40) int group, @ForAll boolean symmetric) {
    var w = new float[values.size()];
    for (int i = 0; i < w.length; i++) w[i] = values.get(i);
    for (int bits : new int[] {2, 3, 4, 8}) {
      for (int size : new int[] {-1, group}) {
        try (var region = Region.growing("test"); var device = new CpuDevice(true, 1)) {
          var codes = RoundToNearest.quantize(w, 1, w.length, bits, size, symmetric, false);
          var matrix = codes.upload(device, region, DType.F32);
          for (int i = 0; i < w.length; i++) {
            float scale = codes.scales()[matrix.group(i)];
            // A symmetric grid has no point at +absmax: 2ᵇ⁻¹ − 1 steps reach absmax − scale/2. A zero off the grid shifts all by half.
            assertThat(Math.abs(matrix.get(0, i) - w[i])).isLessThanOrEqualTo(scale * (symmetric ? 0.5001f : 1.0001f));
            assertThat(matrix.code(0, i)).isEqualTo(codes.q()[i] & 0xff);
          }
        }
      }
    }
  }

  @Test
  void codesAreRefusedThatDoNotFit() {
    assertThatThrownBy(() -> Grouped.pack(2, 3, new byte[] {0, 3, 4})).hasMessageContaining("code 4");
    assertThatThrownBy(() -> new GroupedCodes(4, 1, 4, 4, new byte[4], new float[1], new int[] {17}, Optional.empty())).hasMessageContaining("zero 17");
    assertThatThrownBy(() -> new GroupedCodes(4, 1, 4, 2, new byte[4], new float[2], new int[2], Optional.of(new int[] {0, 1, 2, 0}))).hasMessageContaining("group 2");
  }
}
