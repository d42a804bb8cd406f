package org.llmcore.cuda;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.generate.Generation;
import org.llmcore.generate.Generator;
import org.llmcore.generate.Sampling;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Binary;
import org.llmcore.op.Dropout;
import org.llmcore.op.Move;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;
import org.llmcore.text.BpeTrainer;

import static org.assertj.core.api.Assertions.assertThat;

/// Work that comes again as one graph gives what it gives kernel by kernel, with whatever was uploaded this time.
class CudaGraphsTest {
  private HostCuda host;
  private CudaDevice device;
  private Region region;

  @BeforeEach
  void open() {
    host = HostCuda.open();
    host.shuffle(3);
    device = host.device("", false);
    region = device.growing("step");
  }

  @AfterEach
  void close() {
    if (region != null) region.close();
    if (device != null) device.close();
  }

  /// (a + b) + b, with a and b uploaded.
  private float[] sum(float a, float b, int n) {
    region.reset();
    var result = new Tensor[1];
    device.together(() -> {
      var x = region.carve(DType.F32, Shape.of(n)).set(filled(a, n));
      var y = region.carve(DType.F32, Shape.of(n)).set(filled(b, n));
      var s = region.carve(DType.F32, Shape.of(n));
      device.run(new Binary.Forward(s, x, y, Binary.Function.ADD));
      device.run(new Binary.Forward(s, s, y, Binary.Function.ADD));
      result[0] = s;
    });
    return result[0].toFloats();
  }

  private static float[] filled(float v, int n) {
    var out = new float[n];
    Arrays.fill(out, v);
    return out;
  }

  @Test
  void fromTheSecondTimeOnItIsOneLaunch() {
    sum(0, 0, 40); // makes the region grow, which ends the notes
    assertThat(sum(1, 2, 40)).containsOnly(5);
    assertThat(device.graphsLaunched()).isZero();
    assertThat(sum(3, 4, 40)).containsOnly(11);
    assertThat(sum(5, 6, 40)).containsOnly(17);
    assertThat(device.graphsLaunched()).isEqualTo(2);
    assertThat(sum(1, 2, 41)).hasSize(41).containsOnly(5); // another size is other work
    assertThat(device.graphsLaunched()).isEqualTo(2);
    assertThat(sum(7, 8, 40)).containsOnly(23);
    assertThat(device.graphsLaunched()).isEqualTo(3);
  }

  @Test
  void aDownloadInTheMiddleSeesWhatCameBefore() {
    for (int i = 1; i <= 3; i++) {
      region.reset();
      float value = i;
      var t = region.carve(DType.F32, Shape.of(7));
      var seen = new ArrayList<float[]>();
      device.together(() -> {
        device.run(new Move.Fill(t, value));
        seen.add(t.toFloats());
        device.run(new Move.Fill(t, 2 * value));
      });
      assertThat(seen.getFirst()).containsOnly(value);
      assertThat(t.toFloats()).containsOnly(2 * value);
    }
    assertThat(device.graphsLaunched()).isZero();
  }

  /// Two requests of which one ends first, so that the batch shrinks in between.
  @Test
  void decodingWritesTheSameTextAndIsMostlyGraphs() {
    var words = BpeTrainer.train(List.of("select name from users where age > 21"), 270);
    var config = new LlamaConfig(270, 24, 40, 2, 4, 2, 6, 32, 1e-5, 10000, 1, false, OptionalInt.of(1), List.of(), OptionalInt.empty(), "float32");
    var texts = new ArrayList<List<Generation>>();
    for (var d : List.of(host.device(), device)) {
      try (var model = LanguageModel.scratch(d, config, words, Precision.F32, 3)) {
        long key = 0;
        for (var w : model.decoder().parameters().map().values()) {
          key++;
          if (w.shape().rank() == 1) continue;
          var values = new float[Math.toIntExact(w.elements())];
          for (int i = 0; i < values.length; i++) values[i] = (Dropout.uniform(key, i) - 0.5f) * 1.2f;
          LanguageModel.upload(d, w, values);
        }
        try (var generator = new Generator(d, model.decoder(), model.tokenizer(), 2, 32)) {
          texts.add(generator.generate(List.of(
              new Generator.Request(new int[] {5, 17, 200}, 6, Sampling.GREEDY, List.of(), Generator.Listener.NONE),
              new Generator.Request(new int[] {5, 90}, 12, Sampling.GREEDY, List.of(), Generator.Listener.NONE))));
        }
      }
      if (d != device) d.close();
    }
    for (int i = 0; i < 2; i++) assertThat(texts.get(1).get(i).ids()).isEqualTo(texts.get(0).get(i).ids());
    // 11 steps after the prompt: 5 with both, 6 with one; the first of each kind comes kernel by kernel
    assertThat(device.graphsLaunched()).isEqualTo(4 + 5);
  }
}
