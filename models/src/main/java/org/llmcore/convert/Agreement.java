package org.llmcore.convert;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;

import org.llmcore.gguf.GgufType;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.text.Wordless;

/// Whether what was written is what it was made from: weights read back, token ids, logits.
///
/// Weights lost, ‖W − Ŵ‖ / ‖W‖ of a matrix, can be at most
///
/// | type | bound | because                                                                                       |
/// |------|-------|-----------------------------------------------------------------------------------------------|
/// | F16  | 2⁻¹¹  | half a unit in the last place                                                                 |
/// | BF16 | 2⁻⁸   | the same                                                                                      |
/// | Q8_0 | 0.023 | each is off by max/254, one of 32 is max: √32/254, and 2⁻¹¹ for the scale in f16              |
/// | Q4_0 | 0.38  | each is off by d/2, d = max/8, or cut by at most 1/7.5 of itself: √(31/256 + 1/56)             |
/// | Q4_K | 0.25  | rms of an even error in steps of range/15, range ≤ 2√32·rms of a run: 0.22, and scales of 6 bits |
///
/// and beside that a weight by what f16 takes from small numbers, 2⁻²⁵, times the code its scale is multiplied with.
///
/// Logits then differ by what these weights make of them, which no bound says beforehand: it is measured and reported. What must agree
/// bit for bit is the logits of what was written, as everything else opens it, and those of its weights, read back, in a dense model of the
/// source's shape: with weights that are near enough and a model that does with them what it should, nothing else can be wrong.
///
/// @param difference the largest of two logits
/// @param largest the largest logit of the source
/// @param kl mean over tokens of the KL divergence of what was written from its source, nats
/// @param same tokens whose likeliest successor is the same
/// @param exact whether it was asked that all bits agree
public record Agreement(double difference, double largest, double kl, int same, int tokens, boolean exact) {
  private static final double SUBNORMAL = 0x1p-25;
  private static final String SAMPLE = "Hello, world!  Two spaces, 12345 digits,\n\ta tab; naïve café, 日本 and 😀.";

  /// Logits of every position of a sequence.
  static float[] logits(Device device, Decoder decoder, int[] ids) {
    try (var region = device.growing("check")) {
      var p = Pass.inference(device, region);
      var tokens = Tokens.of(p, ids);
      var z = decoder.logits(p, decoder.hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>()));
      var host = new float[Math.toIntExact(z.elements())];
      device.download(z, java.lang.foreign.MemorySegment.ofArray(host));
      return host;
    }
  }

  /// Logits of the model at a path, as everything else opens it.
  static float[] logits(Device device, Path model, Optional<Path> tokenizer, Precision precision, int[] ids) {
    try (var m = LanguageModel.open(device, model, tokenizer, precision, false)) {
      return logits(device, m.decoder(), ids);
    }
  }

  /// The largest difference of two sets of logits.
  static double distance(float[] a, float[] b) {
    double d = 0;
    for (int i = 0; i < a.length; i++) d = Math.max(d, Math.abs(a[i] - b[i]));
    return d;
  }

  /// How far logits of what was written are from those of its source.
  static Agreement of(float[] before, float[] after, int tokens, boolean exact) {
    double difference = 0;
    double largest = 0;
    double kl = 0;
    int same = 0;
    int v = before.length / tokens;
    for (int t = 0; t < tokens; t++) {
      int a = t * v;
      int b = t * v;
      for (int i = t * v; i < (t + 1) * v; i++) {
        // Not Math.max: a NaN on one side only must count as a difference.
        if (Float.compare(before[i], after[i]) != 0 && !(Math.abs(before[i] - after[i]) <= difference)) difference =
            Math.abs(before[i] - after[i]);
        largest = Math.max(largest, Math.abs(before[i]));
        if (before[i] > before[a]) a = i;
        if (after[i] > after[b]) b = i;
      }
      if (a == b) same++;
      double p = logSum(before, t * v, v, before[a]);
      double q = logSum(after, t * v, v, after[b]);
      for (int i = t * v; i < (t + 1) * v; i++) kl += Math.exp(before[i] - p) * (before[i] - p - (after[i] - q)) / tokens;
    }
    return new Agreement(difference, largest, kl, same, tokens, exact);
  }

  private static double logSum(float[] z, int from, int v, double most) {
    double sum = 0;
    for (int i = from; i < from + v; i++) sum += Math.exp(z[i] - most);
    return most + Math.log(sum);
  }

  /// @param why what makes them equal
  /// @throws Disagreement if one bit differs
  static void exact(float[] expected, float[] found, String why) {
    if (Arrays.equals(expected, found)) return;
    double d = 0;
    for (int i = 0; i < expected.length; i++) if (!(Math.abs(expected[i] - found[i]) <= d)) d = Math.abs(expected[i] - found[i]);
    throw new Disagreement(String.format(Locale.ROOT, "the logits of what was written differ by up to %.3g from those expected: %s", d, why));
  }

  /// What the worst matrix lost.
  /// @throws Disagreement if one lost more than its type explains, or anything where nothing may be lost
  static double lost(Source before, Source after, Plan plan, Writing.Listener listener) {
    double worst = 0;
    long done = 0;
    for (var e : plan.types().entrySet()) {
      var part = e.getKey();
      double lost = lost(before, after, part, e.getValue());
      boolean mayLose = !plan.lossless() && !before.type(part).equals(Optional.of(e.getValue()));
      if (!(lost <= (mayLose ? bound(e.getValue()) : 0))) {
        throw new Disagreement(String.format(Locale.ROOT,
            "the tensor %s, read back, is off by %.3g of its size, more than %s explains", part.name(), lost, e.getValue()));
      }
      worst = Math.max(worst, lost);
      listener.written(done += part.elements(), 0);
    }
    return worst;
  }

  private static double lost(Source before, Source after, Part part, GgufType type) {
    var a = new float[part.stretch() * part.columns()];
    var b = a.clone();
    double error = 0;
    double size = 0;
    for (int r = 0; r < part.rows(); r += part.stretch()) {
      int to = Math.min(part.rows(), r + part.stretch());
      before.read(part, r, to, a);
      after.read(part, r, to, b);
      for (int i = 0; i < (to - r) * part.columns(); i++) {
        if (Float.compare(a[i], b[i]) == 0 || a[i] == b[i]) continue;
        double e = Math.abs((double) a[i] - b[i]);
        e = Math.max(0, e - small(type));
        error += e * e;
      }
      for (int i = 0; i < (to - r) * part.columns(); i++) size += (double) a[i] * a[i];
    }
    return error == 0 ? 0 : Math.sqrt(error / size);
  }

  /// What a weight may lose because f16 ends near 6e-8.
  private static double small(GgufType type) {
    return switch (type) {
      case F16 -> SUBNORMAL;
      case Q8_0 -> 127 * SUBNORMAL;
      case Q4_0 -> 8 * SUBNORMAL;
      case Q4_K -> 63 * 16 * SUBNORMAL; // scale · code and minimum, each of 63 steps
      default -> 0;
    };
  }

  private static double bound(GgufType type) {
    return switch (type) {
      case F16 -> 0x1p-11;
      case BF16 -> 0x1p-8;
      case Q8_0 -> 0.023;
      case Q4_0 -> 0.38;
      case Q4_K -> 0.25;
      default -> 0;
    };
  }

  /// @param single whether to pass over runs of spaces, which the target's tokenizers keep
  /// @throws Disagreement if the two tokenizers give different ids for a text
  static void words(Source before, Source after, Optional<String> text, boolean single) {
    if (before.tokenizer() instanceof Wordless) return;
    for (var words : text.isPresent() ? new String[] {SAMPLE, text.get()} : new String[] {SAMPLE}) {
      var t = single ? words.strip().replaceAll(" +", " ") : words;
      if (Arrays.equals(before.tokenizer().encode(t), after.tokenizer().encode(t))) continue;
      throw new Disagreement("the tokenizer of what was written gives other ids for the text '" + t + "'");
    }
  }
}
