package org.llmcore.quant;

/// The search for a block of Q4_K: eight runs of 32 weights, each on a grid scale·q − min with q of 0 … 15, scales and minima
/// in six bits of two f16 numbers. After `ggml-quants.c` (`make_qkx2_quants`), in f64, with a last step that it does not have.
///
///     error of a run   Σ w·(scale·q − min − x)²        w = √(mean x²) + |x|: large weights matter more
///
/// 1. A run is divided evenly 21 ways, 14 + 0.1·k steps between its least (0 at most) and its greatest weight; for the codes of
///    each the best scale and minimum by least squares, min ≥ 0; the way of least error is kept.
/// 2. d = greatest scale / 63, dmin = greatest minimum / 63, as f16; scales and minima to the nearest multiple.
/// 3. A run whose error a neighbouring multiple (±1 of either) lowers takes that: the two are rounded together.
///
/// Steps 1 and 2 are the published search, and step 3 starts from what they give: no run is worse than by it.
final class GridK {
  private static final int RUNS = 8;
  private static final int RUN = 32;
  private static final int TOP = 15;
  private static final int STEPS = 20;
  private static final int MOST = 63;

  private GridK() {}

  /// A grid: `scale`·q − `min`.
  private record Grid(double scale, double min) {
    int code(float x) {
      if (scale == 0) return 0;
      return (int) Math.clamp(Math.rint((x + min) / scale), 0, TOP);
    }
  }

  /// Writes the block of 256 weights from `from`.
  static void encode(float[] x, int from, byte[] out, int at) {
    var grids = new Grid[RUNS];
    var w = new double[RUNS][];
    double largest = 0;
    double lowest = 0;
    for (int r = 0; r < RUNS; r++) {
      w[r] = importance(x, from + r * RUN);
      grids[r] = search(x, from + r * RUN, w[r]);
      largest = Math.max(largest, grids[r].scale);
      lowest = Math.max(lowest, grids[r].min);
    }
    double d = BlockCodes.half((float) (largest / MOST), out, at);
    double dmin = BlockCodes.half((float) (lowest / MOST), out, at + 2);
    for (int r = 0; r < RUNS; r++) {
      int scale = largest == 0 ? 0 : (int) Math.rint(MOST / largest * grids[r].scale);
      int min = lowest == 0 ? 0 : (int) Math.rint(MOST / lowest * grids[r].min);
      int best = near(x, from + r * RUN, w[r], d, dmin, scale, min);
      put(out, at + 4, r, best >> 6, best & MOST);
      codes(x, from + r * RUN, new Grid(d * (best >> 6), dmin * (best & MOST)), out, at + 16 + r / 2 * RUN, r % 2 * 4);
    }
  }

  private static double[] importance(float[] x, int from) {
    double squares = 0;
    for (int i = 0; i < RUN; i++) squares += (double) x[from + i] * x[from + i];
    double mean = Math.sqrt(squares / RUN);
    var w = new double[RUN];
    for (int i = 0; i < RUN; i++) w[i] = mean + Math.abs(x[from + i]);
    return w;
  }

  private static Grid search(float[] x, int from, double[] w) {
    double low = 0;
    double high = x[from];
    for (int i = from; i < from + RUN; i++) {
      low = Math.min(low, x[i]);
      high = Math.max(high, x[i]);
    }
    if (high == low) return new Grid(0, -low);
    var best = new Grid((high - low) / TOP, -low);
    double least = error(x, from, w, best, best);
    for (int k = 0; k <= STEPS; k++) {
      var even = new Grid((high - low) / (TOP - 1 + 0.1 * k), -low);
      var fitted = fit(x, from, w, even);
      double e = error(x, from, w, even, fitted);
      if (e < least) {
        least = e;
        best = fitted;
      }
    }
    return best;
  }

  /// The grid of least squares for the codes that `even` gives; `even` itself where they are all alike.
  private static Grid fit(float[] x, int from, double[] w, Grid even) {
    double sw = 0;
    double sx = 0;
    double sq = 0;
    double sqq = 0;
    double sqx = 0;
    for (int i = 0; i < RUN; i++) {
      int q = even.code(x[from + i]);
      sw += w[i];
      sx += w[i] * x[from + i];
      sq += w[i] * q;
      sqq += w[i] * q * q;
      sqx += w[i] * q * x[from + i];
    }
    double determinant = sw * sqq - sq * sq;
    if (determinant <= 0) return even;
    double min = (sq * sqx - sqq * sx) / determinant;
    return min < 0 ? new Grid(Math.max(0, sqx / sqq), 0) : new Grid(Math.max(0, (sw * sqx - sx * sq) / determinant), min);
  }

  /// Error of a grid with the codes that another gives.
  private static double error(float[] x, int from, double[] w, Grid coded, Grid g) {
    double sum = 0;
    for (int i = 0; i < RUN; i++) {
      double e = g.scale * coded.code(x[from + i]) - g.min - x[from + i];
      sum += w[i] * e * e;
    }
    return sum;
  }

  /// The best of `scale` and `min` and their neighbours, as scale·64 + min.
  private static int near(float[] x, int from, double[] w, double d, double dmin, int scale, int min) {
    int best = scale << 6 | min;
    var start = new Grid(d * scale, dmin * min);
    double least = error(x, from, w, start, start);
    for (int s = Math.max(0, scale - 1); s <= Math.min(MOST, scale + 1); s++) {
      for (int m = Math.max(0, min - 1); m <= Math.min(MOST, min + 1); m++) {
        var g = new Grid(d * s, dmin * m);
        double e = error(x, from, w, g, g);
        if (e < least) {
          least = e;
          best = s << 6 | m;
        }
      }
    }
    return best;
  }

  /// Scale and minimum of run r into the 12 bytes, as `BlockType.scale` and `min` read them.
  private static void put(byte[] out, int at, int r, int scale, int min) {
    if (r < 4) {
      out[at + r] |= (byte) scale;
      out[at + r + 4] |= (byte) min;
    } else {
      out[at + r + 4] = (byte) (scale & 15 | (min & 15) << 4);
      out[at + r - 4] |= (byte) (scale >> 4 << 6);
      out[at + r] |= (byte) (min >> 4 << 6);
    }
  }

  private static void codes(float[] x, int from, Grid g, byte[] out, int at, int shift) {
    for (int i = 0; i < RUN; i++) out[at + i] |= (byte) (g.code(x[from + i]) << shift);
  }
}
