package org.llmcore.cuda;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.generate.Generator;
import org.llmcore.generate.Sampling;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.Tokens;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.op.Gradients;
import org.llmcore.op.Pass;
import org.llmcore.reference.ReferenceDevice;
import org.llmcore.tensor.DType;
import org.llmcore.text.BpeTrainer;
import org.llmcore.text.Tokenizer;

import static org.assertj.core.api.Assertions.assertThat;

/// A whole small Llama on the CUDA device: loss, the gradient of every weight, and text from the paged cache.
class LlamaOnCudaTest {
  private static final int VOCABULARY = 270;
  private static final Tokenizer WORDS = BpeTrainer.train(List.of("select name from users where age > 21"), VOCABULARY);
  private static final LlamaConfig CONFIG =
      new LlamaConfig(VOCABULARY, 24, 40, 2, 4, 2, 6, 32, 1e-5, 10000, 1, false, OptionalInt.of(1), List.of(2),
          OptionalInt.empty(), "float32");
  private static final int[] TEXT = {1, 17, 200, 33, 4, 90, 17, 123, 9};

  private HostCuda host;
  private CudaDevice cuda;

  @BeforeEach
  void open() {
    host = HostCuda.open();
    host.shuffle(5);
    cuda = host.device();
  }

  @AfterEach
  void close() {
    if (cuda != null) cuda.close();
  }

  /// Weights of one size everywhere, the same on every device; larger than those a training begins with, so that logits differ.
  private static LanguageModel model(Device device, Precision precision) {
    var model = LanguageModel.scratch(device, CONFIG, WORDS, precision, 3);
    long key = 0;
    for (var w : model.decoder().parameters().map().values()) {
      key++;
      if (w.shape().rank() == 1) continue;
      var values = new float[Math.toIntExact(w.elements())];
      for (int i = 0; i < values.length; i++) values[i] = (Dropout.uniform(key, i) - 0.5f) * 1.2f;
      LanguageModel.upload(device, w, values);
    }
    return model;
  }

  /// Logits, losses, and the gradient of Σ loss/T for every weight, by name.
  private static Map<String, float[]> step(Device device, Precision precision) {
    var out = new LinkedHashMap<String, float[]>();
    try (var model = model(device, precision); var region = device.growing("step")) {
      var decoder = model.decoder();
      var gradients = new Gradients(region, List.copyOf(decoder.parameters().map().values()));
      gradients.begin();
      var p = Pass.training(device, region, gradients);
      var tokens = Tokens.of(p, TEXT);
      try (var other = device.growing("logits")) {
        var q = Pass.inference(device, other);
        var seen = Tokens.of(q, TEXT);
        out.put("logits", decoder.logits(q, decoder.hidden(q, seen, new Mixing.Within(seen.starts()), false, new ArrayList<>()))
            .toFloats());
      }
      var targets = new int[TEXT.length];
      System.arraycopy(TEXT, 1, targets, 0, TEXT.length - 1);
      targets[TEXT.length - 1] = CrossEntropy.IGNORE;
      out.put("loss", decoder.loss(p, tokens, Tokens.upload(p, targets), 1f / TEXT.length, false).toFloats());
      p.backward();
      decoder.parameters().map().forEach((name, w) -> out.put(name, gradients.of(w, device).toFloats()));
    }
    return out;
  }

  private static double distance(float[] a, float[] b) {
    double d = 0;
    for (int i = 0; i < a.length; i++) d = Math.max(d, Math.abs(a[i] - b[i]));
    return d;
  }

  private static double largest(float[] a) {
    return distance(a, new float[a.length]);
  }

  /// Errors grow through the layers as they do on the CPU: the GPU may be 8 times as far from the reference, or 8 roundings of
  /// the largest value.
  @ParameterizedTest
  @EnumSource(value = Precision.class, names = {"F32", "BF16_WEIGHTS", "BF16"})
  void aTrainingStepIsAsNearToTheReferenceAsTheCpuIs(Precision precision) {
    double unit = precision.activations() == DType.BF16 ? 0x1p-8 : 0x1p-24;
    var expected = step(new ReferenceDevice(), precision);
    Map<String, float[]> cpu;
    try (var device = new CpuDevice(true, 1)) {
      cpu = step(device, precision);
    }
    var found = step(cuda, precision);
    assertThat(found.keySet()).isEqualTo(expected.keySet()).hasSizeGreaterThan(20);
    expected.forEach((name, e) -> {
      double tolerance = 8 * Math.max(distance(cpu.get(name), e), unit * largest(e));
      assertThat(largest(e)).as(name).isPositive();
      assertThat(distance(found.get(name), e)).as(name).isLessThanOrEqualTo(tolerance);
    });
  }

  @Test
  void writesTheSameTextAsTheCpuFromItsPagedCache() {
    List<Integer> expected;
    try (var device = new CpuDevice(true, 1); var model = model(device, Precision.F32)) {
      expected = text(device, model);
    }
    try (var model = model(cuda, Precision.F32)) {
      assertThat(text(cuda, model)).isEqualTo(expected).hasSizeGreaterThan(3);
    }
  }

  /// Logits that the host changes for a penalty, draws among the likeliest and such that reach beyond them, side by side.
  @Test
  void drawsTheSameTokensAsTheCpu() {
    List<List<Integer>> expected;
    try (var device = new CpuDevice(true, 1); var model = model(device, Precision.F32)) {
      expected = drawn(device, model);
    }
    try (var model = model(cuda, Precision.F32)) {
      assertThat(drawn(cuda, model)).isEqualTo(expected).doesNotHaveDuplicates();
    }
  }

  private static List<List<Integer>> drawn(Device device, LanguageModel model) {
    var samplings = List.of(new Sampling(0.9, 50, 0.95, 0.01, 1.3, 7), new Sampling(20, 0, 1, 0, 1, 8), new Sampling(1, 0, 0.9, 0, 1, 9), new Sampling(1, 0, 1, 0.05, 1, 10));
    try (var generator = new Generator(device, model.decoder(), model.tokenizer(), 3, 32)) {
      var requests = samplings.stream().map(s -> new Generator.Request(new int[] {1, 17, 200}, 8, s, List.of(), Generator.Listener.NONE)).toList();
      return generator.generate(requests).stream().map(g -> Arrays.stream(g.ids()).boxed().toList()).toList();
    }
  }

  private static List<Integer> text(Device device, LanguageModel model) {
    try (var generator = new Generator(device, model.decoder(), model.tokenizer(), 1, 32)) {
      var request = new Generator.Request(new int[] {1, 17, 200}, 8, Sampling.GREEDY, List.of(), Generator.Listener.NONE);
      return Arrays.stream(generator.generate(request).ids()).boxed().toList();
    }
  }
}
