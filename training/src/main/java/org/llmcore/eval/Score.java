package org.llmcore.eval;

import java.util.List;
import java.util.Locale;

/// How many of some items were right.
public record Score(int right, int items) {
  private static final double Z = 1.959964; // 97.5 % quantile of the normal distribution

  /// Share of right items; 0 if there are none.
  public double accuracy() {
    return items == 0 ? 0 : (double) right / items;
  }

  /// Lower end of the 95 % interval (Wilson 1927).
  public double low() {
    return bound(-1);
  }

  /// Upper end of the 95 % interval (Wilson 1927).
  public double high() {
    return bound(1);
  }

  private double bound(int sign) {
    if (items == 0) return sign < 0 ? 0 : 1;
    double p = accuracy();
    double n = items;
    double centre = p + Z * Z / (2 * n);
    double spread = Z * Math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n));
    return Math.clamp((centre + sign * spread) / (1 + Z * Z / n), 0, 1);
  }

  /// Probability that two systems judged on the same items differ this much by chance: McNemar's exact test on the items that
  /// only one of them got right (McNemar 1947).
  public static double pValue(List<Boolean> before, List<Boolean> after) {
    if (before.size() != after.size()) throw new IllegalArgumentException(before.size() + " items before, " + after.size() + " after");
    int gained = 0;
    int lost = 0;
    for (int i = 0; i < before.size(); i++) {
      if (after.get(i) && !before.get(i)) gained++;
      if (before.get(i) && !after.get(i)) lost++;
    }
    int n = gained + lost;
    double tail = 0;
    for (int i = 0; i <= Math.min(gained, lost); i++) tail += Math.exp(logChoose(n, i) - n * Math.log(2));
    return Math.min(1, 2 * tail);
  }

  private static double logChoose(int n, int k) {
    double s = 0;
    for (int i = 1; i <= k; i++) s += Math.log(n - k + i) - Math.log(i);
    return s;
  }

  /// For example `93.5 % (187 of 200, 95 % interval 89.2 … 96.2)`.
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT, "%.1f %% (%d of %d, 95 %% interval %.1f … %.1f)", 100 * accuracy(), right, items, 100 * low(), 100 * high());
  }
}
