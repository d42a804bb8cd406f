package org.llmcore.quant;

import java.util.Optional;

import org.llmcore.tensor.Grouped;

/// The baseline of every quantizer: each weight goes to the nearest point of its group's grid.
///
///     asymmetric: scale = (max − min)/(2ᵇ − 1), zero = round(−min/scale)      min ≤ 0 ≤ max
///     symmetric:  scale = 2·max|w|/(2ᵇ − 1),    zero = 2ᵇ⁻¹
///     q = clamp(round(w/scale) + zero, 0, 2ᵇ − 1)
///
/// The grid of GPTQ's reference code (IST-DASLab/gptq, `quant.py`); ties round to even as there. A group of zeros gets scale 1.
public final class RoundToNearest {
  private RoundToNearest() {}

  /// A group's grid.
  public record Grid(float scale, int zero, int top) {
    /// The code of a weight.
    public int code(float w) {
      return (int) Math.clamp(Math.rint(w / scale) + zero, 0, top);
    }

    /// The weight of a code.
    public float weight(int code) {
      return scale * (code - zero);
    }
  }

  /// The grid of `n` weights that begin at `from` and are `step` apart.
  /// @param f16 whether the scale will be stored as f16: it is rounded first, so that codes fit the stored grid
  public static Grid grid(float[] w, int from, int n, int step, int bits, boolean symmetric, boolean f16) {
    float min = 0;
    float max = 0;
    for (int i = 0; i < n; i++) {
      min = Math.min(min, w[from + i * step]);
      max = Math.max(max, w[from + i * step]);
    }
    return grid(min, max, bits, symmetric, f16);
  }

  /// The grid of the range [min, max] around 0.
  public static Grid grid(float min, float max, int bits, boolean symmetric, boolean f16) {
    int top = (1 << bits) - 1;
    float absmax = Math.max(-min, max);
    float scale = absmax == 0 ? 1 : symmetric ? 2 * absmax / top : (max - min) / top;
    if (f16) scale = Math.max(Float.float16ToFloat(Float.floatToFloat16(scale)), 0x1p-24f);
    int zero = symmetric ? 1 << bits - 1 : absmax == 0 ? 0 : (int) Math.clamp(Math.rint(-min / scale), 0, top);
    return new Grid(scale, zero, top);
  }

  /// Quantizes W (outputs, inputs), row-major, in groups of `groupSize` columns (−1: whole rows).
  public static GroupedCodes quantize(float[] w, int outputs, int inputs, int bits, int groupSize, boolean symmetric, boolean f16) {
    int size = groupSize < 0 ? inputs : Math.min(groupSize, inputs);
    int groups = Grouped.groups(inputs, size);
    var q = new byte[w.length];
    var scales = new float[Math.multiplyExact(outputs, groups)];
    var zeros = new int[scales.length];
    for (int o = 0; o < outputs; o++) {
      for (int g = 0; g < groups; g++) {
        int from = o * inputs + g * size;
        int n = Math.min(size, inputs - g * size);
        var grid = grid(w, from, n, 1, bits, symmetric, f16);
        scales[o * groups + g] = grid.scale;
        zeros[o * groups + g] = grid.zero;
        for (int i = 0; i < n; i++) q[from + i] = (byte) grid.code(w[from + i]);
      }
    }
    return new GroupedCodes(bits, outputs, inputs, size, q, scales, zeros, Optional.empty());
  }
}
