package org.llmcore.cuda;

import java.util.Arrays;

import org.llmcore.InvalidInput;
import org.llmcore.tensor.Shape;

/// Shapes as the kernels take them: 8 dimensions, padded in front with 1.
final class Broadcast {
  private static final int RANK = 8;

  private Broadcast() {}

  static long[] dims(Shape s) {
    if (s.rank() > RANK) throw new InvalidInput("a tensor of shape " + s + " has more than 8 dimensions",
        "the CUDA device takes up to 8; use --device cpu");
    var out = new long[RANK];
    Arrays.fill(out, 1);
    for (int i = 0; i < s.rank(); i++) out[RANK - s.rank() + i] = s.dim(i);
    return out;
  }

  /// Elements per step along each dimension of `y` for an operand of shape `s`; 0 where it is stretched.
  static long[] strides(Shape s, Shape y) {
    var own = dims(s);
    var full = dims(y);
    var out = new long[RANK];
    long stride = 1;
    for (int d = RANK - 1; d >= 0; d--) {
      out[d] = own[d] == full[d] ? stride : 0;
      stride *= own[d];
    }
    return out;
  }

  /// The dimensions along which `s` is stretched to `y`, 1 elsewhere.
  static long[] over(Shape s, Shape y) {
    var own = dims(s);
    var full = dims(y);
    for (int d = 0; d < RANK; d++) full[d] = own[d] == full[d] ? 1 : full[d];
    return full;
  }

  /// Elements of x per step along each dimension of its permutation.
  static long[] permuted(Shape x, int[] axes) {
    var out = new long[RANK];
    for (int d = 0; d < axes.length; d++) out[RANK - axes.length + d] = x.span(axes[d] + 1, x.rank());
    return out;
  }
}
