package org.llmcore.quantize;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.ToDoubleFunction;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.model.Decoder;
import org.llmcore.model.DenseLinear;
import org.llmcore.op.Device;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;

/// Bits that differ from layer to layer, chosen by a size or by a quality (`Allocation` says how).
///
/// The errors of every layer at 2, 3, 4 and 8 bits (as far as the model's widths fill words) are measured first, on what the
/// unquantized layers before it make of the calibration text; the factor of the Hessian serves all widths.
public final class MixedBits {
  private static final List<Integer> WIDTHS = List.of(2, 3, 4, 8);

  private final List<Allocation.Choice> choices;

  private MixedBits(List<Allocation.Choice> choices) {
    this.choices = choices;
  }

  /// What was chosen.
  /// @param average stored bits per weight, scales and zeros included
  /// @param trials whole quantizations that were made to find it
  public record Chosen(Map<String, Integer> bits, double average, int trials) {}

  /// Hears of every set of layers that is measured.
  public interface Progress {
    void measured(int done, int of);
  }

  /// Asks whether a size can be reached at all: it depends on shapes only.
  /// @throws InvalidInput if even the fewest bits are more
  public static void checkBudget(Source source, Settings settings, double average) {
    int bits = widths(source.config()).getFirst();
    var s = settings.withBits(bits);
    long stored = 0;
    long weights = 0;
    // All blocks are alike.
    for (var l : Decoder.carve(source.config().shortened(1), Region.measuring("block"), DType.F32, DType.F32, false).linears()) {
      stored += Storage.bits(source.config(), s, l.name(), l.outputs(), l.inputs());
      weights += (long) l.outputs() * l.inputs();
    }
    Allocation.checkBudget((double) stored / weights, average);
  }

  /// @throws InvalidInput if no model but the original has so little
  public static void checkKl(double most) {
    if (!(most > 0)) throw new InvalidInput("a KL divergence of " + most, "expected a number above 0, such as 0.05");
  }

  /// The widths whose codes fill the model's words.
  private static List<Integer> widths(LlamaConfig config) {
    var held = WIDTHS.stream().filter(b -> Storage.narrow(config, b).isEmpty()).toList();
    if (held.isEmpty()) Storage.padded(config, WIDTHS.getLast()); // says why
    return held;
  }

  /// Measures a model.
  /// @throws InvalidInput without calibration text
  public static MixedBits measure(Device device, Team team, Source source, Settings settings, List<int[]> text,
      Progress progress) {
    if (text.isEmpty()) throw new InvalidInput("bits are chosen by the errors on calibration text", "give --calibration FILE");
    var held = widths(source.config());
    var choices = new ArrayList<Allocation.Choice>();
    new BlockStream(device, source, text).run((block, layers, hessian) -> {
      var h = hessian.orElseThrow();
      var factor = settings.method() == Settings.Method.GPTQ ? Optional.of(Gptq.factor(team, settings, h.inputs(), h.toFloats()))
          : Optional.<Gptq.Factor>empty();
      var errors = new double[held.size()];
      var stored = new long[held.size()];
      var names = new ArrayList<String>();
      long weights = 0;
      for (var l : layers) {
        var name = BlockStream.name(l, block);
        int n = l.outputs();
        int k = l.inputs();
        var w = Gptq.download(device, ((DenseLinear) l).w());
        double all = h.squared(w, n);
        var prepared = factor.map(f -> Gptq.prepare(device, team, w, n, f));
        for (int i = 0; i < held.size(); i++) {
          var s = settings.withBits(held.get(i));
          var codes = prepared.map(p -> p.quantize(s).codes()).orElseGet(() -> Gptq.roundToNearest(team, s, w, n, k));
          errors[i] += all == 0 ? 0 : h.error(w, codes) / all;
          stored[i] += Storage.bits(source.config(), s, name, n, k);
        }
        names.add(name);
        weights += (long) n * k;
      }
      var widths = new ArrayList<Allocation.Width>();
      for (int i = 0; i < held.size(); i++) widths.add(new Allocation.Width(held.get(i), stored[i], errors[i]));
      choices.add(new Allocation.Choice(List.copyOf(names), weights, widths));
      progress.measured(choices.size(), 4 * source.config().layers());
    });
    return new MixedBits(choices);
  }

  /// The least error with at most that many stored bits per weight.
  /// @throws InvalidInput if even the fewest bits are more
  public Chosen within(double average) {
    return chosen(Allocation.within(choices, average), 0);
  }

  /// The smallest model whose KL divergence from the original is at most `most`, by bisection along the steps of `Allocation`,
  /// each trial a whole quantization; sizes are told apart down to a fiftieth of a bit per weight.
  /// @param kl quantizes with these bits and measures
  /// @throws InvalidInput if 8 bits everywhere are not good enough
  public Chosen reaching(double most, ToDoubleFunction<Map<String, Integer>> kl) {
    checkKl(most);
    var path = Allocation.path(choices);
    int trials = 1;
    double best = kl.applyAsDouble(path.getLast().byLayer());
    if (best > most) {
      throw new InvalidInput("a KL divergence of at most " + most, "8 bits in every layer give %.5f; allow more".formatted(best));
    }
    int enough = path.size() - 1;
    int less = -1;
    while (enough - less > 1 && (less < 0 || path.get(enough).average() - path.get(less).average() > 0.02)) {
      int middle = (less + enough) >>> 1;
      trials++;
      if (kl.applyAsDouble(path.get(middle).byLayer()) <= most) enough = middle;
      else less = middle;
    }
    return chosen(path.get(enough), trials);
  }

  private static Chosen chosen(Allocation a, int trials) {
    return new Chosen(a.byLayer(), a.average(), trials);
  }
}
