package org.llmcore.quantize;

import java.util.ArrayList;
import java.util.List;
import java.util.OptionalDouble;
import java.util.function.IntConsumer;

import org.llmcore.eval.Score;
import org.llmcore.model.Decoder;
import org.llmcore.model.Mixing;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// A quantized model beside its original on the same token sequences, every token but a sequence's first predicted once.
///
///     KL = mean over tokens of Σ_v p(v)·(ln p(v) − ln q(v)), nats        p original, q quantized
///
/// Intervals are those of the mean over sequences, which are independent where tokens are not: mean ± 1.96 standard errors of the
/// mean NLL per sequence, exponentiated. The interval of the ratio is that of the paired differences.
///
/// @param tokens tokens scored
/// @param ratio perplexity of the quantized model over the original's
/// @param agreement tokens whose likeliest successor is the same in both models
/// @param losses mean NLL of each sequence under the quantized model, nats per token
public record Comparison(long tokens, Measure original, Measure quantized, Measure ratio, double kl, Score agreement, List<Double> losses) {
  private static final int ROWS = 128;
  private static final double Z = 1.959964;
  private static final double UNUSABLE = 2;
  private static final double DEGRADED = 1.1;

  /// A figure with its 95 % interval; without one where there is a single sequence.
  public record Measure(double value, OptionalDouble low, OptionalDouble high) {
    /// Whether 1 lies in the interval, or there is none: as a ratio, a difference that this text does not show.
    public boolean tie() {
      return low.isEmpty() || low.getAsDouble() <= 1 && high.getAsDouble() >= 1;
    }

    static Measure of(List<Double> logs, double mean) {
      int n = logs.size();
      if (n < 2) return new Measure(Math.exp(mean), OptionalDouble.empty(), OptionalDouble.empty());
      double centre = logs.stream().mapToDouble(d -> d).average().orElseThrow();
      double variance = logs.stream().mapToDouble(d -> (d - centre) * (d - centre)).sum() / (n - 1);
      double spread = Z * Math.sqrt(variance / n);
      return new Measure(Math.exp(mean), OptionalDouble.of(Math.exp(mean - spread)), OptionalDouble.of(Math.exp(mean + spread)));
    }
  }

  /// What the numbers mean for whoever wants to use the model.
  public enum Verdict {
    /// Perplexity up by less than 10 %.
    GOOD,
    /// Perplexity up by 10 % or more.
    DEGRADED,
    /// Perplexity doubled or worse, or more than half of all likeliest tokens changed.
    UNUSABLE
  }

  /// The verdict.
  public Verdict verdict() {
    if (!(ratio.value < UNUSABLE) || agreement.accuracy() < 0.5) return Verdict.UNUSABLE;
    return ratio.value < DEGRADED ? Verdict.GOOD : Verdict.DEGRADED;
  }

  /// The perplexity of this quantized model over that of another one on the same sequences, by their paired differences: what two
  /// intervals of their own, wide with the differences between texts, cannot tell apart.
  /// @throws IllegalArgumentException if the sequences are not as many
  public Measure over(Comparison other) {
    if (other.losses.size() != losses.size()) throw new IllegalArgumentException(losses.size() + " sequences beside " + other.losses.size());
    var differences = new ArrayList<Double>();
    for (int i = 0; i < losses.size(); i++) differences.add(losses.get(i) - other.losses.get(i));
    return Measure.of(differences, Math.log(quantized.value / other.quantized.value));
  }

  /// Compares two models of one vocabulary.
  /// @param progress hears how many sequences are done
  public static Comparison of(Device device, Team team, Decoder original, Decoder quantized, List<int[]> sequences,
      IntConsumer progress) {
    var before = new ArrayList<Double>();
    var after = new ArrayList<Double>();
    var differences = new ArrayList<Double>();
    double nllBefore = 0;
    double nllAfter = 0;
    double kl = 0;
    int same = 0;
    int tokens = 0;
    try (var region = Region.growing("comparison")) {
      for (var ids : sequences) {
        region.reset();
        var p = Pass.inference(device, region);
        var a = hidden(p, original, ids);
        var b = hidden(p, quantized, ids);
        int n = ids.length - 1;
        var rows = new Row[n];
        for (int from = 0; from < n; from += ROWS) {
          int to = Math.min(n, from + ROWS);
          long mark = region.mark();
          var la = Gptq.download(device, original.logits(p, a.slice(from, to)));
          var lb = Gptq.download(device, quantized.logits(p, b.slice(from, to)));
          region.release(mark);
          int v = la.length / (to - from);
          int first = from;
          team.split(to - from, 8, (r0, r1) -> {
            for (int r = r0; r < r1; r++) rows[first + r] = Row.of(la, lb, r * v, v, ids[first + r + 1]);
          });
        }
        double x = 0;
        double y = 0;
        for (var r : rows) {
          x += r.nllBefore;
          y += r.nllAfter;
          kl += r.kl;
          if (r.same) same++;
        }
        before.add(x / n);
        after.add(y / n);
        differences.add((y - x) / n);
        nllBefore += x;
        nllAfter += y;
        tokens += n;
        progress.accept(before.size());
      }
    }
    return new Comparison(
        tokens, Measure.of(before, nllBefore / tokens), Measure.of(after, nllAfter / tokens),
            Measure.of(differences, (nllAfter - nllBefore) / tokens),
        kl / tokens, new Score(same, tokens), List.copyOf(after));
  }

  private static Tensor hidden(Pass p, Decoder model, int[] ids) {
    var tokens = Tokens.of(p, ids);
    return model.hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>());
  }

  /// One token.
  private record Row(double nllBefore, double nllAfter, double kl, boolean same) {
    static Row of(float[] a, float[] b, int from, int v, int target) {
      double la = logSum(a, from, v);
      double lb = logSum(b, from, v);
      double kl = 0;
      int bestA = 0;
      int bestB = 0;
      for (int i = 0; i < v; i++) {
        double p = a[from + i] - la;
        kl += Math.exp(p) * (p - (b[from + i] - lb));
        if (a[from + i] > a[from + bestA]) bestA = i;
        if (b[from + i] > b[from + bestB]) bestB = i;
      }
      return new Row(la - a[from + target], lb - b[from + target], kl, bestA == bestB);
    }

    private static double logSum(float[] z, int from, int v) {
      double max = z[from];
      for (int i = 1; i < v; i++) max = Math.max(max, z[from + i]);
      double sum = 0;
      for (int i = 0; i < v; i++) sum += Math.exp(z[from + i] - max);
      return max + Math.log(sum);
    }
  }
}
