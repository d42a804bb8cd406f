package org.llmcore.data;

import java.util.Arrays;

/// Six numbers about many; quantiles interpolate linearly (Hyndman & Fan 1996, type 7, numpy's default).
public record Distribution(double min, double max, double mean, double median, double p10, double p90) {
  /// @throws IllegalArgumentException if there is no value
  public static Distribution of(int... values) {
    if (values.length == 0) throw new IllegalArgumentException("no values");
    var sorted = values.clone();
    Arrays.sort(sorted);
    double mean = Arrays.stream(sorted).asLongStream().sum() / (double) sorted.length;
    return new Distribution(sorted[0], sorted[sorted.length - 1], mean, quantile(sorted, 0.5), quantile(sorted, 0.1), quantile(sorted, 0.9));
  }

  private static double quantile(int[] sorted, double q) {
    double at = q * (sorted.length - 1);
    int below = (int) at;
    int above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
  }
}
