package org.llmcore.quantize;

import java.util.Optional;

import jdk.incubator.vector.DoubleVector;
import jdk.incubator.vector.VectorSpecies;

/// The upper Cholesky factor U of an inverse, H⁻¹ = Uᵀ·U, without forming the inverse.
///
///     J·H·J = L·Lᵀ      U = J·L⁻¹·J      J reverses the order of rows and columns
///
/// Because H = (J·L·J)·(J·L·J)ᵀ with J·L·J upper triangular, its inverse is (J·L⁻¹·J)ᵀ·(J·L⁻¹·J); the factor with positive
/// diagonal is unique, so this is the `cholesky(cholesky_inverse(cholesky(H)), upper=True)` of GPTQ's reference code in half of
/// its operations (⅔K³) and none of its cancellation.
///
/// In double. Both halves, factor and inverse, go by blocks (Golub & Van Loan, Matrix Computations, §4.2.9 and §3.1.3), so that nearly all
/// operations are products of small matrices in caches (`multiply`). Each element is one chain of fused multiply-adds in ascending
/// order, whatever the blocks and whoever computes it: the same bits for every number of threads and every vector length.
/// 12·K² bytes.
final class InverseFactor {
  private static final VectorSpecies<Double> SPECIES = DoubleVector.SPECIES_PREFERRED;
  private static final int LANES = SPECIES.length();

  /// Columns of a panel: three vectors, so that with four rows at a time twelve chains hide each other's latency.
  private static final int WIDTH = 3 * LANES;

  /// Columns of L that are finished together. A panel of so many rows (27 KB of AVX-512's) stays in a first-level cache.
  private static final int BLOCK = 144;

  private static final int ROWS = 96; // of a task
  private static final int PANELS = 4; // of a task of the inverse

  private final int k;
  private final int pitch; // k, up to whole panels
  private final Team team;
  private final double[] l; // rows of L: the diagonal, and left of it −L

  private InverseFactor(int k, Team team) {
    this.k = k;
    this.team = team;
    pitch = (k + WIDTH - 1) / WIDTH * WIDTH;
    l = new double[Math.multiplyExact(k, pitch)];
  }

  /// Row-major U (k,k) of a symmetric matrix whose rows and columns are those of `h` (k,k) in an order; none if a pivot is not positive.
  /// @param diagonal what stands on the diagonal of h instead, before `damp` is added to it
  static Optional<float[]> of(float[] h, float[] diagonal, int[] order, double damp, Team team) {
    int k = order.length;
    var f = new InverseFactor(k, team);
    team.split(
        k, ROWS,
        (from, to) -> {
          for (int i = from; i < to; i++) {
            int at = order[k - 1 - i];
            for (int j = 0; j < i; j++) f.l[i * f.pitch + j] = h[at * k + order[k - 1 - j]];
            f.l[i * f.pitch + i] = diagonal[at] + damp;
          }
        });
    return f.factor() ? Optional.of(f.inverted()) : Optional.empty();
  }

  /// Cholesky in place: block by block its triangle, the rows below it, and what these take from the columns to the right.
  private boolean factor() {
    var panels = new double[pitch * BLOCK]; // the block's columns of L, transposed: for every WIDTH rows (BLOCK, WIDTH)
    for (int p = 0; p < k; p += BLOCK) {
      int first = p;
      int end = Math.min(k, p + BLOCK);
      if (!triangle(p, end)) return false;
      for (int j = p; j < end; j++) for (int t = p; t < j; t++) panels[place(j, t - p)] = -l[j * pitch + t];
      team.split(k - end, ROWS, (from, to) -> below(first, end, end + from, end + to, panels));
      team.split(
          k - end, ROWS,
          (from, to) -> {
            int row = end + from;
            for (int j = end; j < end + to; j += WIDTH) {
              multiply(l, row * pitch + j, pitch, l, row * pitch + first, panels, place(j, 0), to - from, end - first);
            }
          });
    }
    return true;
  }

  /// Where element t of row j lies in the panels of a block.
  private static int place(int j, int t) {
    return (j / WIDTH * BLOCK + t) * WIDTH + j % WIDTH;
  }

  private boolean triangle(int p, int end) {
    for (int i = p; i < end; i++) {
      for (int j = p; j <= i; j++) {
        double s = l[i * pitch + j];
        for (int t = p; t < j; t++) s = Math.fma(l[i * pitch + t], -l[j * pitch + t], s);
        if (i > j) {
          l[i * pitch + j] = -(s / l[j * pitch + j]);
        } else {
          if (!(s > 0) || s == Double.POSITIVE_INFINITY) return false;
          l[i * pitch + i] = Math.sqrt(s);
        }
      }
    }
    return true;
  }

  /// Rows from … to−1 of a block's columns, solved against its triangle, WIDTH columns at a time, and put into the panels.
  private void below(int p, int end, int from, int to, double[] panels) {
    for (int s = p; s < end; s += WIDTH) {
      if (s > p) multiply(l, from * pitch + s, pitch, l, from * pitch + p, panels, place(s, 0), to - from, s - p);
      for (int i = from; i < to; i++) {
        int row = i * pitch;
        for (int j = s; j < Math.min(end, s + WIDTH); j++) {
          double x = l[row + j];
          for (int t = s; t < j; t++) x = Math.fma(l[row + t], -l[j * pitch + t], x);
          x /= l[j * pitch + j];
          l[row + j] = -x;
          panels[place(i, j - p)] = x;
        }
      }
    }
  }

  /// J·L⁻¹·J by forward substitution of the unit matrix, a few panels of its columns per task.
  private float[] inverted() {
    var u = new float[k * k];
    team.split(k, PANELS * WIDTH, (from, to) -> {
      int height = k - from;
      int panels = (to - from + WIDTH - 1) / WIDTH;
      var x = new double[panels * height * WIDTH]; // for every panel rows from … k−1 of L⁻¹
      for (int c = 0; c < to - from; c++) x[(c / WIDTH * height + c) * WIDTH + c % WIDTH] = 1;
      for (int b = from; b < k; b += BLOCK) {
        int end = Math.min(k, b + BLOCK);
        for (int t = from; t < b; t += BLOCK) {
          for (int q = 0; q < panels; q++) {
            int at = q * height - from;
            multiply(x, (at + b) * WIDTH, WIDTH, l, b * pitch + t, x, (at + t) * WIDTH, end - b, Math.min(BLOCK, b - t));
          }
        }
        for (int q = 0; q < panels; q++) {
          substitute(x, (q * height - from) * WIDTH, b, end);
          for (int i = b; i < end; i++) {
            int row = (q * height - from + i) * WIDTH;
            int first = from + q * WIDTH;
            for (int c = 0; c < Math.min(WIDTH, i - first + 1); c++) u[(k - 1 - i) * k + k - 1 - first - c] = (float) x[row + c];
          }
        }
      }
    });
    return u;
  }

  /// Rows b … end−1 of a panel whose row 0 would lie at `at`, solved against their triangle.
  private void substitute(double[] x, int at, int b, int end) {
    for (int s = b; s < end; s += WIDTH) {
      int stop = Math.min(end, s + WIDTH);
      if (s > b) multiply(x, at + s * WIDTH, WIDTH, l, s * pitch + b, x, at + b * WIDTH, stop - s, s - b);
      for (int i = s; i < stop; i++) {
        int row = at + i * WIDTH;
        if (i > s) multiply(x, row, WIDTH, l, i * pitch + s, x, at + s * WIDTH, 1, i - s);
        for (int c = 0; c < WIDTH; c++) x[row + c] /= l[i * pitch + i];
      }
    }
  }

  /// y += a·b for a panel of y: y (m, WIDTH), a (m, terms) with this object's pitch, b (terms, WIDTH) without gaps.
  private void multiply(double[] y, int yAt, int yPitch, double[] a, int aAt, double[] b, int bAt, int m, int terms) {
    int i = 0;
    for (; i + 4 <= m; i += 4) four(y, yAt + i * yPitch, yPitch, a, aAt + i * pitch, pitch, b, bAt, terms);
    for (; i < m; i++) one(y, yAt + i * yPitch, a, aAt + i * pitch, b, bAt, terms);
  }

  private static void four(double[] y, int y0, int yPitch, double[] a, int a0, int pitch, double[] b, int bAt, int terms) {
    int y1 = y0 + yPitch;
    int y2 = y1 + yPitch;
    int y3 = y2 + yPitch;
    var s00 = load(y, y0);
    var s01 = load(y, y0 + LANES);
    var s02 = load(y, y0 + 2 * LANES);
    var s10 = load(y, y1);
    var s11 = load(y, y1 + LANES);
    var s12 = load(y, y1 + 2 * LANES);
    var s20 = load(y, y2);
    var s21 = load(y, y2 + LANES);
    var s22 = load(y, y2 + 2 * LANES);
    var s30 = load(y, y3);
    var s31 = load(y, y3 + LANES);
    var s32 = load(y, y3 + 2 * LANES);
    for (int t = 0; t < terms; t++) {
      int at = bAt + t * WIDTH;
      var b0 = load(b, at);
      var b1 = load(b, at + LANES);
      var b2 = load(b, at + 2 * LANES);
      var f = DoubleVector.broadcast(SPECIES, a[a0 + t]);
      s00 = f.fma(b0, s00);
      s01 = f.fma(b1, s01);
      s02 = f.fma(b2, s02);
      f = DoubleVector.broadcast(SPECIES, a[a0 + pitch + t]);
      s10 = f.fma(b0, s10);
      s11 = f.fma(b1, s11);
      s12 = f.fma(b2, s12);
      f = DoubleVector.broadcast(SPECIES, a[a0 + 2 * pitch + t]);
      s20 = f.fma(b0, s20);
      s21 = f.fma(b1, s21);
      s22 = f.fma(b2, s22);
      f = DoubleVector.broadcast(SPECIES, a[a0 + 3 * pitch + t]);
      s30 = f.fma(b0, s30);
      s31 = f.fma(b1, s31);
      s32 = f.fma(b2, s32);
    }
    s00.intoArray(y, y0);
    s01.intoArray(y, y0 + LANES);
    s02.intoArray(y, y0 + 2 * LANES);
    s10.intoArray(y, y1);
    s11.intoArray(y, y1 + LANES);
    s12.intoArray(y, y1 + 2 * LANES);
    s20.intoArray(y, y2);
    s21.intoArray(y, y2 + LANES);
    s22.intoArray(y, y2 + 2 * LANES);
    s30.intoArray(y, y3);
    s31.intoArray(y, y3 + LANES);
    s32.intoArray(y, y3 + 2 * LANES);
  }

  private static void one(double[] y, int yAt, double[] a, int aAt, double[] b, int bAt, int terms) {
    var s0 = load(y, yAt);
    var s1 = load(y, yAt + LANES);
    var s2 = load(y, yAt + 2 * LANES);
    for (int t = 0; t < terms; t++) {
      int at = bAt + t * WIDTH;
      var f = DoubleVector.broadcast(SPECIES, a[aAt + t]);
      s0 = f.fma(load(b, at), s0);
      s1 = f.fma(load(b, at + LANES), s1);
      s2 = f.fma(load(b, at + 2 * LANES), s2);
    }
    s0.intoArray(y, yAt);
    s1.intoArray(y, yAt + LANES);
    s2.intoArray(y, yAt + 2 * LANES);
  }

  private static DoubleVector load(double[] from, int at) {
    return DoubleVector.fromArray(SPECIES, from, at);
  }
}
