package org.llmcore.cpu;

/// The natural logarithm of an f32, the same bits here and in machine code (`LogCode`): computed in f64 and rounded once.
///
///     x = 2ᵏ·m, ¾ ≤ m < 3⁄2        s = (m − 1)/(m + 1), |s| ≤ 1⁄5        log x = k·ln 2 + 2s·Σ_{i≤10} s²ⁱ/(2i + 1)
///
/// The series of atanh (Abramowitz & Stegun 4.1.27); what is cut off is below s²²/23 < 2e-17 of the result. For every one of the 2³² floats this is `StrictMath.log`, rounded
/// (`RowKernelsTest.main`). The logarithm of 0 is −∞, of a negative number NaN.
final class Log {
  static final double LN2 = 0x1.62e42fefa39efp-1;

  /// 1⁄21, 1⁄19, … 1⁄3, 1.
  static final double[] SERIES = new double[11];

  private static final int FRACTION = 52;
  private static final int BIAS = 1023;

  static {
    for (int i = 0; i < SERIES.length; i++) SERIES[i] = 1.0 / (2 * (SERIES.length - i) - 1);
  }

  private Log() {}

  static float of(float x) {
    if (!(x > 0 && x < Float.POSITIVE_INFINITY)) return x == 0 ? Float.NEGATIVE_INFINITY : x < 0 ? Float.NaN : x;
    long bits = Double.doubleToRawLongBits(x); // denormal floats are normal doubles
    int k = (int) (bits >>> FRACTION) - BIAS;
    double m = Double.longBitsToDouble(bits - ((long) k << FRACTION));
    if (m >= 1.5) {
      m /= 2;
      k++;
    }
    double s = (m - 1) / (m + 1);
    double z = s * s;
    double p = SERIES[0];
    for (int i = 1; i < SERIES.length; i++) p = Math.fma(p, z, SERIES[i]);
    return (float) Math.fma(k, LN2, p * (s + s));
  }
}
