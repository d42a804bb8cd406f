package org.llmcore.generate;

import java.util.Arrays;
import java.util.OptionalInt;
import java.util.stream.IntStream;

import org.llmcore.InvalidInput;
import org.llmcore.op.Dropout;
import org.llmcore.op.TopK;

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

  /// The likeliest tokens of a vocabulary, as `TopK` finds them on the device.
  /// @param logits falling
  /// @param ids of these logits
  /// @param total Σ exp((logit − greatest) · scale()) over the whole vocabulary
  /// @param vocabulary how many tokens there are
  public record Likeliest(float[] logits, int[] ids, double total, int vocabulary) {}

  /// The next token of a sequence.
  /// @param logits (V), changed by the call
  /// @param seen ids of the prompt and of what was generated
  /// @throws InvalidInput if the logits hold NaN or +∞, as a damaged or diverged model gives them
  public int choose(float[] logits, int[] seen) {
    penalise(logits, seen);
    return choose(logits, seen.length);
  }

  /// The same of logits that `penalise` has seen.
  int choose(float[] logits, int position) {
    int greatest = greatest(logits);
    if (temperature == 0) return greatest;
    var order = descending(logits);
    var falling = new float[order.length];
    for (int i = 0; i < falling.length; i++) falling[i] = logits[order[i]];
    return order[draw(falling, falling.length, Double.NaN, position)];
  }

  /// The same token, up to the rounding of `total`, from the likeliest alone; nothing if it may be another, so that all logits are needed.
  /// @param top of logits that `penalise` has seen
  /// @param position how many tokens the prompt and what was generated have
  /// @throws InvalidInput if the greatest logit is no finite number
  public OptionalInt choose(Likeliest top, int position) {
    if (!Float.isFinite(top.logits[0])) throw damaged(top.logits[0]);
    int i = temperature == 0 ? 0 : draw(top.logits, top.vocabulary, top.total, position);
    return i < 0 ? OptionalInt.empty() : OptionalInt.of(top.ids[i]);
  }

  /// Whether `penalise` does anything.
  public boolean penalises() {
    return repetitionPenalty != 1;
  }

  /// Applies the repetition penalty to the logits of tokens that were seen, once each.
  public void penalise(float[] logits, int[] seen) {
    if (!penalises()) return;
    IntStream.of(seen).distinct()
        .forEach(i -> logits[i] = (float) (logits[i] > 0 ? logits[i] / repetitionPenalty : logits[i] * repetitionPenalty));
  }

  /// What differences of logits are multiplied by: 1 / temperature, within the range of a float.
  public float scale() {
    return temperature == 0 ? 1 : (float) Math.min(1 / temperature, 1e30);
  }

  /// How many of the likeliest tokens `choose` wants: enough for greedy decoding and top-k up to `TopK.MOST`, for other draws enough most of the time.
  public int candidates() {
    if (temperature == 0) return 1;
    return topK == 0 ? TopK.MOST : Math.min(topK, TopK.MOST);
  }

  /// Draws from the distribution that the filters leave.
  /// @param falling the greatest logits
  /// @param vocabulary how many logits there are
  /// @param total the weight of all; not read if `falling` holds all that top-k keeps
  /// @return an index into `falling`, or −1 if it may lie behind its end
  private int draw(float[] falling, int vocabulary, double total, int position) {
    int kept = topK == 0 ? vocabulary : Math.min(topK, vocabulary);
    int known = Math.min(kept, falling.length);
    if (known < kept && kept < vocabulary) return -1; // what top-k keeps weighs less than all, and how much less is not known
    var weight = new double[known];
    double sum = 0;
    for (int i = 0; i < known; i++) sum += weight[i] = Math.exp((falling[i] - falling[0]) / temperature);
    double all = known == kept ? sum : total;
    double reached = 0;
    int n = 0;
    while (n < known && (n == 0 || reached < topP * all) && weight[n] >= minP * weight[0]) reached += weight[n++];
    if (n == known && known < kept) {
      if (topP < 1 || minP > 0) return -1; // where they cut is not known
      reached = all;
    }
    double draw = Dropout.uniform(seed, position) * reached;
    for (int i = 0; i < n; i++) {
      draw -= weight[i];
      if (draw < 0) return i;
    }
    return known < kept && n == known ? -1 : n - 1;
  }

  /// Ids by falling logit, equals by rising id.
  private static int[] descending(float[] logits) {
    var rising = new long[logits.length];
    for (int i = 0; i < rising.length; i++) rising[i] = TopK.key(logits[i], i);
    Arrays.sort(rising);
    var order = new int[rising.length];
    for (int i = 0; i < order.length; i++) order[i] = TopK.id(rising[order.length - 1 - i]);
    return order;
  }

  private static int greatest(float[] logits) {
    int best = 0;
    for (int i = 0; i < logits.length; i++) {
      if (Float.isNaN(logits[i])) throw damaged(logits[i]);
      if (logits[i] > logits[best]) best = i;
    }
    if (Float.isInfinite(logits[best])) throw damaged(logits[best]);
    return best;
  }

  private static InvalidInput damaged(float logit) {
    var found = Float.isNaN(logit) ? "the model's logits hold NaN" : "the model's greatest logit is " + logit;
    return new InvalidInput(found, "the weights or the adapter are damaged, or training diverged");
  }
}
