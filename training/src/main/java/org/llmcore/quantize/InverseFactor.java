package org.llmcore.quantize;

import java.util.Optional;

/// The upper Cholesky factor U of an inverse, H⁻¹ = Uᵀ·U, without forming the inverse.
///
///     J·H·J = L·Lᵀ      U = J·L⁻¹·J      J reverses the order of rows and columns
///
/// Because H = (J·L·J)·(J·L·J)ᵀ with J·L·J upper triangular, its inverse is (J·L⁻¹·J)ᵀ·(J·L⁻¹·J); the factor with positive
/// diagonal is unique, so this is the `cholesky(cholesky_inverse(cholesky(H)), upper=True)` of GPTQ's reference code in half of
/// its operations (⅔K³) and none of its cancellation. In double; 12·K² bytes.
final class InverseFactor {
  private static final int PANEL = 64;
  private static final int COLUMNS = 64;
  private static final int ROWS = 16;

  private InverseFactor() {}

  /// Row-major U (k,k) of the symmetric matrix whose element (i,j), i ≥ j, is `h[i·k+j]`, with `damp` added to its diagonal; none
  /// if a pivot is not positive.
  static Optional<float[]> of(float[] h, int k, double damp, Team team) {
    var l = new double[Math.multiplyExact(k, k)];
    team.split(
        k, ROWS,
        (from, to) -> {
          // Element (i,j) of the reversed matrix, j ≤ i, is element (k−1−j, k−1−i) of H, which lies below its diagonal.
          for (int i = from; i < to; i++) for (int j = 0; j <= i; j++) l[i * k + j] = h[(k - 1 - j) * k + k - 1 - i]
              + (i == j ? damp : 0);
        });
    return factor(l, k, team) ? Optional.of(inverted(l, k, team)) : Optional.empty();
  }

  /// Cholesky in place, right-looking in panels: each element's sum runs in ascending order, whoever computes it.
  private static boolean factor(double[] a, int k, Team team) {
    var transposed = new double[PANEL * k];
    for (int p = 0; p < k; p += PANEL) {
      int end = Math.min(k, p + PANEL);
      if (!diagonal(a, k, p, end)) return false;
      int first = p;
      team.split(k - end, ROWS, (from, to) -> {
        for (int i = end + from; i < end + to; i++) below(a, k, first, end, i, transposed);
      });
      team.split(k - end, ROWS, (from, to) -> {
        for (int i = end + from; i < end + to; i++) trailing(a, k, first, end, i, transposed);
      });
    }
    return true;
  }

  private static boolean diagonal(double[] a, int k, int p, int end) {
    for (int i = p; i < end; i++) {
      for (int j = p; j <= i; j++) {
        double s = a[i * k + j];
        for (int m = p; m < j; m++) s -= a[i * k + m] * a[j * k + m];
        if (i > j) {
          a[i * k + j] = s / a[j * k + j];
        } else {
          if (!(s > 0) || s == Double.POSITIVE_INFINITY) return false;
          a[i * k + i] = Math.sqrt(s);
        }
      }
    }
    return true;
  }

  /// Row i of a panel, solved against the panel's triangle and kept transposed as well.
  private static void below(double[] a, int k, int p, int end, int i, double[] transposed) {
    for (int j = p; j < end; j++) {
      double s = a[i * k + j];
      for (int m = p; m < j; m++) s -= a[i * k + m] * a[j * k + m];
      s /= a[j * k + j];
      a[i * k + j] = s;
      transposed[(j - p) * k + i] = s;
    }
  }

  /// Row i right of a panel loses the panel's share, four columns of the panel per trip.
  private static void trailing(double[] a, int k, int p, int end, int i, double[] t) {
    int row = i * k;
    int m = 0;
    for (; m + 4 <= end - p; m += 4) {
      double l0 = a[row + p + m];
      double l1 = a[row + p + m + 1];
      double l2 = a[row + p + m + 2];
      double l3 = a[row + p + m + 3];
      int t0 = m * k;
      for (int j = end; j <= i; j++) {
        a[row + j] = a[row + j] - l0 * t[t0 + j] - l1 * t[t0 + k + j] - l2 * t[t0 + 2 * k + j] - l3 * t[t0 + 3 * k + j];
      }
    }
    for (; m < end - p; m++) {
      double l0 = a[row + p + m];
      int t0 = m * k;
      for (int j = end; j <= i; j++) a[row + j] -= l0 * t[t0 + j];
    }
  }

  /// J·L⁻¹·J by forward substitution of the unit matrix, a stretch of its columns per task.
  private static float[] inverted(double[] l, int k, Team team) {
    var u = new float[k * k];
    team.split(k, COLUMNS, (from, to) -> {
      int n = to - from;
      var x = new double[(k - from) * n]; // row i − from of L⁻¹, columns from … to−1
      for (int i = from; i < k; i++) {
        int row = (i - from) * n;
        if (i < to) x[row + i - from] = 1;
        int j = from;
        for (; j + 4 <= i; j += 4) {
          double l0 = l[i * k + j];
          double l1 = l[i * k + j + 1];
          double l2 = l[i * k + j + 2];
          double l3 = l[i * k + j + 3];
          int at = (j - from) * n;
          for (int c = 0; c < n; c++) {
            x[row + c] = x[row + c] - l0 * x[at + c] - l1 * x[at + n + c] - l2 * x[at + 2 * n + c] - l3 * x[at + 3 * n + c];
          }
        }
        for (; j < i; j++) {
          double l0 = l[i * k + j];
          int at = (j - from) * n;
          for (int c = 0; c < n; c++) x[row + c] -= l0 * x[at + c];
        }
        double d = l[i * k + i];
        for (int c = 0; c < n; c++) {
          x[row + c] /= d;
          if (from + c <= i) u[(k - 1 - i) * k + k - 1 - from - c] = (float) x[row + c];
        }
      }
    });
    return u;
  }

  /// The mean of a diagonal.
  static double meanDiagonal(float[] h, int k) {
    double sum = 0;
    for (int i = 0; i < k; i++) sum += h[i * k + i];
    return sum / k;
  }

  /// Rows and columns of a symmetric matrix in another order.
  static float[] permuted(float[] h, int k, int[] order, Team team) {
    var out = new float[h.length];
    team.split(k, ROWS, (from, to) -> {
      for (int i = from; i < to; i++) for (int j = 0; j < k; j++) out[i * k + j] = h[order[i] * k + order[j]];
    });
    return out;
  }
}
