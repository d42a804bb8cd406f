package org.llmcore.quantize;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.ToDoubleFunction;

import org.llmcore.InvalidInput;
import org.llmcore.model.DenseLinear;
import org.llmcore.op.Device;
import org.llmcore.tensor.Grouped;

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

  /// Measures a model.
  /// @throws InvalidInput without calibration text
  public static MixedBits measure(Device device, Team team, Source source, Settings settings, List<int[]> text,
      Progress progress) {
    if (text.isEmpty()) throw new InvalidInput("bits are chosen by the errors on calibration text", "give --calibration FILE");
    var held = WIDTHS.stream().filter(b -> Storage.narrow(source.config(), b).isEmpty()).toList();
    if (held.isEmpty()) Storage.padded(source.config(), WIDTHS.getLast()); // says why
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
        int n = l.outputs();
        int k = l.inputs();
        var w = Gptq.download(device, ((DenseLinear) l).w());
        double all = h.squared(w, n);
        var prepared = factor.map(f -> Gptq.prepare(device, team, w, n, f));
        for (int i = 0; i < held.size(); i++) {
          var s = settings.withBits(held.get(i));
          var codes = prepared.map(p -> p.quantize(s).codes()).orElseGet(() -> Gptq.roundToNearest(team, s, w, n, k));
          errors[i] += all == 0 ? 0 : h.error(w, codes) / all;
          stored[i] += (long) held.get(i) * n * k + (16L + held.get(i)) * n * Grouped.groups(k, s.size(k));
        }
        names.add(BlockStream.name(l, block));
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
    if (!(most > 0)) throw new InvalidInput("a KL divergence of " + most, "expected a number above 0, such as 0.05");
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
