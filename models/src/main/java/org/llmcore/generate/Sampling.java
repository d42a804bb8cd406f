package org.llmcore.generate;

import java.util.Arrays;
import java.util.stream.IntStream;

import org.llmcore.InvalidInput;
import org.llmcore.op.Dropout;

/// How the next token is chosen. Filters apply in the order Hugging Face applies them: repetition penalty, temperature,
/// top-k, top-p, min-p.
///
/// | field             | meaning                                                                  | off  |
/// |-------------------|--------------------------------------------------------------------------|------|
/// | temperature       | logits are divided by it; 0 means greedy                                 | 1    |
/// | topK              | only the k most likely                                                   | 0    |
/// | topP              | the smallest set whose probability reaches p (Holtzman et al. 2019)      | 1    |
/// | minP              | only tokens at least p times as likely as the likeliest                  | 0    |
/// | repetitionPenalty | seen tokens: positive logits divided, negative multiplied (Keskar 2019)  | 1    |
/// | seed              | the draw for position i is a pure function of (seed, i)                  |      |
public record Sampling(double temperature, int topK, double topP, double minP, double repetitionPenalty, long seed) {
  /// Always the likeliest token; the lowest id among equals.
  public static final Sampling GREEDY = new Sampling(0, 0, 1, 0, 1, 0);

  public Sampling {
    check(temperature >= 0 && temperature <= 100, "temperature", temperature, "0 (greedy) … 100");
    check(topK >= 0, "top-k", topK, "0 (off) or more");
    check(topP > 0 && topP <= 1, "top-p", topP, "more than 0, at most 1 (off)");
    check(minP >= 0 && minP <= 1, "min-p", minP, "0 (off) … 1");
    check(repetitionPenalty > 0 && repetitionPenalty <= 100, "repetition penalty", repetitionPenalty, "more than 0; 1 is off");
  }

  private static void check(boolean ok, String what, Object found, String expected) {
    if (!ok) throw new InvalidInput(what + " is " + found, "expected " + expected);
  }

  /// The next token of a sequence.
  /// @param logits (V), changed by the call
  /// @param seen ids of the prompt and of what was generated
  /// @throws InvalidInput if the logits hold NaN or +∞, as a damaged or diverged model gives them
  public int choose(float[] logits, int[] seen) {
    if (repetitionPenalty != 1) {
      IntStream.of(seen).distinct()
          .forEach(i -> logits[i] = (float) (logits[i] > 0 ? logits[i] / repetitionPenalty : logits[i] * repetitionPenalty));
    }
    int greatest = greatest(logits);
    if (temperature == 0) return greatest;
    var order = descending(logits);
    int kept = topK == 0 ? order.length : Math.min(topK, order.length);
    var weight = new double[kept];
    double total = 0;
    for (int i = 0; i < kept; i++) {
      weight[i] = Math.exp((logits[order[i]] - logits[order[0]]) / temperature);
      total += weight[i];
    }
    double reached = 0;
    int n = 0;
    while (n < kept && (n == 0 || reached < topP * total) && weight[n] >= minP * weight[0]) reached += weight[n++];
    double draw = Dropout.uniform(seed, seen.length) * reached;
    for (int i = 0; i < n; i++) {
      draw -= weight[i];
      if (draw < 0) return order[i];
    }
    return order[n - 1];
  }

  /// Ids by falling logit, equals by rising id: one sort of longs, the logit's order in the upper half, the id in the lower.
  private static int[] descending(float[] logits) {
    var keys = new long[logits.length];
    for (int i = 0; i < keys.length; i++) {
      int bits = Float.floatToIntBits(logits[i] + 0f); // −0 + 0 is 0, so that equals stand by id
      int rising = bits ^ (bits >> 31 & 0x7fffffff);
      keys[i] = (long) ~rising << 32 | i;
    }
    Arrays.sort(keys);
    var order = new int[keys.length];
    for (int i = 0; i < order.length; i++) order[i] = (int) keys[i];
    return order;
  }

  private static int greatest(float[] logits) {
    int best = 0;
    for (int i = 0; i < logits.length; i++) {
      if (Float.isNaN(logits[i])) {
        throw new InvalidInput("the model's logits hold NaN", "the weights or the adapter are damaged, or training diverged");
      }
      if (logits[i] > logits[best]) best = i;
    }
    if (Float.isInfinite(logits[best])) {
      throw new InvalidInput("the model's greatest logit is " + logits[best],
          "the weights or the adapter are damaged, or training diverged");
    }
    return best;
  }
}
