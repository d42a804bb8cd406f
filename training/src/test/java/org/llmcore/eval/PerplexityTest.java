package org.llmcore.eval;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;

import org.assertj.core.data.Offset;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.model.Decoder;
import org.llmcore.model.Initialisation;
import org.llmcore.model.Mixing;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// Both protocols against sums made by hand from the logits of each window: −log softmax(logits[t−1])[ids[t]].
class PerplexityTest {
  private static final int[] IDS = {1, 5, 2, 8, 8, 3, 0, 4, 9, 6, 7, 2, 1, 5, 5, 3, 8, 0, 2};
  private final Device device = new CpuDevice(true, 1);
  private final Region weights = Region.growing("weights");
  private final Decoder model =
      Decoder.carve(new LlamaConfig(10, 16, 24, 2, 2, 2, 8, 8, 1e-5, 1e4, 1, true, OptionalInt.empty(), List.of(),
          OptionalInt.empty(), "float32"), weights, DType.F32, DType.F32, false);

  PerplexityTest() {
    Initialisation.initialise(model, 3);
    // Fresh weights of 0.02 predict almost uniformly: make the embedding large enough to tell windows apart.
    var embedding = model.embedding();
    var values = new float[(int) embedding.elements()];
    device.download(embedding, MemorySegment.ofArray(values));
    for (int i = 0; i < values.length; i++) values[i] *= 10;
    device.upload(MemorySegment.ofArray(values), embedding);
  }

  @AfterEach
  void close() {
    weights.close();
    device.close();
  }

  /// Losses of ids[1..] given the ids before them in one window.
  private double[] losses(int from, int to) {
    var ids = Arrays.copyOfRange(IDS, from, to);
    int n = ids.length;
    var logits = new float[n * 10];
    try (var region = Region.growing("logits")) {
      var p = Pass.inference(device, region);
      var tokens = Tokens.of(p, ids);
      device.download(model.logits(p, model.hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>())),
          MemorySegment.ofArray(logits));
    }
    var out = new double[n];
    for (int t = 1; t < n; t++) {
      double sum = 0;
      for (int v = 0; v < 10; v++) sum += Math.exp(logits[(t - 1) * 10 + v]);
      out[t] = Math.log(sum) - logits[(t - 1) * 10 + ids[t]];
    }
    return out;
  }

  private static double sum(double[] losses, int from) {
    return Arrays.stream(losses, from, losses.length).sum();
  }

  @Test
  void windowsScoreAllButTheirFirstTokenAndDropWhatIsLeftOver() {
    var p = Perplexity.of(device, model, IDS, 8, 8, _ -> {});
    double expected = (sum(losses(0, 8), 1) + sum(losses(8, 16), 1)) / 14; // 16 … 18 are left over
    assertThat(p.tokens()).isEqualTo(14);
    assertThat(p.meanNll()).isCloseTo(expected, Offset.offset(2e-6));
    assertThat(p.value()).isCloseTo(Math.exp(expected), Offset.offset(1e-5));
  }

  @Test
  void strideScoresEveryTokenButTheFirstOnceWithAllTheContextThereIs() {
    var seen = new ArrayList<Integer>();
    var p = Perplexity.of(device, model, IDS, 8, 3, seen::add);
    // windows 0…8, 3…11, 6…14, 9…17, 12…19: the last is shorter and scores the two tokens behind 17
    double nll = sum(losses(0, 8), 1) + sum(losses(3, 11), 5) + sum(losses(6, 14), 5) + sum(losses(9, 17), 5)
        + sum(losses(12, 19), 5);
    assertThat(p.tokens()).isEqualTo(IDS.length - 1);
    assertThat(p.meanNll()).isCloseTo(nll / 18, Offset.offset(2e-6));
    assertThat(seen).containsExactly(8, 11, 14, 17, 19);
    assertThat(p.meanNll()).as("more context, another figure")
        .isNotCloseTo(Perplexity.of(device, model, IDS, 8, 8, _ -> {}).meanNll(), Offset.offset(1e-3));
  }

  @Test
  void aTextShorterThanTheWindowIsOneWindow() {
    var p = Perplexity.of(device, model, Arrays.copyOf(IDS, 5), 8, 8, _ -> {});
    assertThat(p.tokens()).isEqualTo(4);
    assertThat(p.meanNll()).isCloseTo(sum(losses(0, 5), 1) / 4, Offset.offset(2e-6));
    assertThat(Perplexity.of(device, model, Arrays.copyOf(IDS, 5), 8, 2, _ -> {})).isEqualTo(p);
  }

  @Test
  void impossibleWindowsAreRefused() {
    assertThatThrownBy(() -> Perplexity.of(device, model, IDS, 9, 9, _ -> {})).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("window of 9").hasMessageContaining("8");
    assertThatThrownBy(() -> Perplexity.of(device, model, IDS, 8, 0, _ -> {})).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("stride of 0");
    assertThatThrownBy(() -> Perplexity.of(device, model, IDS, 8, 9, _ -> {})).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("stride of 9");
    assertThatThrownBy(() -> Perplexity.of(device, model, new int[] {1}, 8, 8, _ -> {})).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("1 tokens");
  }
}
