package org.llmcore.quantize;

import org.llmcore.quant.RoundToNearest;

/// Finds the grid of a group of weights: from its range, or by mean error.
///
/// With `mse` the range is shrunk in steps of 1 % down to 21 % of its width, and the grid whose Σ|w − ŵ|^2.4 is least wins; the
/// first of equals, so the full range where nothing is gained (`Quantizer.find_params` of IST-DASLab/gptq, `quant.py`).
///
/// Scales are rounded to f16 before codes are chosen: what is searched for is the grid as files store it.
record GridSearch(int bits, boolean symmetric, boolean mse) {
  private static final int STEPS = 80;
  private static final double STEP = 0.01;
  private static final double NORM = 2.4;

  /// The grid of `n` weights, `step` apart, the first at `from`.
  RoundToNearest.Grid of(float[] w, int from, int n, int step) {
    float min = 0;
    float max = 0;
    for (int i = 0; i < n; i++) {
      min = Math.min(min, w[from + i * step]);
      max = Math.max(max, w[from + i * step]);
    }
    var best = RoundToNearest.grid(min, max, bits, symmetric, true);
    if (!mse || min == max) return best;
    double least = error(best, w, from, n, step);
    for (int s = 1; s < STEPS; s++) {
      float p = (float) (1 - s * STEP);
      var grid = RoundToNearest.grid(p * min, p * max, bits, symmetric, true);
      double e = error(grid, w, from, n, step);
      if (e < least) {
        least = e;
        best = grid;
      }
    }
    return best;
  }

  private static double error(RoundToNearest.Grid grid, float[] w, int from, int n, int step) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
      float x = w[from + i * step];
      sum += Math.pow(Math.abs(x - grid.weight(grid.code(x))), NORM);
    }
    return sum;
  }
}
