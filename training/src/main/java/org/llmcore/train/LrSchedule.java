package org.llmcore.train;

import org.llmcore.InvalidInput;

/// Learning rate by step. Warm-up rises linearly, then the rate stays, falls linearly or as half a cosine (Loshchilov & Hutter
/// 2017, arXiv:1608.03983) to `minimum`.
///
///     warm-up  lr·(s+1)/W        linear  min + (lr−min)·(T−s)/(T−W)        cosine  min + (lr−min)·½(1+cos π(s−W)/(T−W))
///
/// for step s = 0 … T−1 and W warm-up steps. Unlike Hugging Face's schedule, the first update is not wasted at rate 0.
public record LrSchedule(Kind kind, double peak, double minimum, long warmup, long steps) {
  /// The shape after warm-up.
  public enum Kind {
    CONSTANT,
    LINEAR,
    COSINE
  }

  public LrSchedule {
    if (!(peak > 0) || peak > 100) throw new InvalidInput("learning rate is " + peak, "expected a number above 0, for example 3e-4");
    if (!(minimum >= 0) || minimum > peak) throw new InvalidInput("minimum learning rate is " + minimum, "expected 0 … " + peak);
    if (warmup < 0 || steps < 0) throw new InvalidInput("warm-up of " + warmup + " in " + steps + " steps", "expected numbers of at least 0");
  }

  /// The rate for step `s`, counted from 0.
  public double at(long s) {
    if (s < warmup) return peak * (s + 1) / warmup;
    double done = steps <= warmup ? 0 : Math.min(1, (double) (s - warmup) / (steps - warmup));
    return switch (kind) {
      case CONSTANT -> peak;
      case LINEAR -> minimum + (peak - minimum) * (1 - done);
      case COSINE -> minimum + (peak - minimum) * 0.5 * (1 + StrictMath.cos(Math.PI * done));
    };
  }
}
