package org.llmcore.cuda;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.generate.Generator;
import org.llmcore.generate.Sampling;
import org.llmcore.model.Decoder;
import org.llmcore.model.DenseLinear;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.model.QuantLinear;
import org.llmcore.model.Tokens;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.op.Gradients;
import org.llmcore.op.Pass;
import org.llmcore.peft.Lora;
import org.llmcore.quant.RoundToNearest;
import org.llmcore.reference.ReferenceDevice;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.text.BpeTrainer;

import static org.assertj.core.api.Assertions.assertThat;

/// LoRA over weights in few bits, a whole small Llama: loss, gradients of the adapter, and text, which a single row a step writes.
class QloraOnCudaTest {
  private static final int[] TEXT = {1, 17, 200, 33, 4, 90, 17, 123, 9, 14, 8, 77, 201, 3, 5, 6, 99, 100, 41, 2}; // more than the rows of the fused kernels
  private static final LoraConfig LORA = LoraConfig.of(4, 8, 0, false, List.of("all-linear"));

  /// How the base is held.
  private enum Base {
    NF4_DOUBLE,
    GPTQ_4
  }

  @TempDir private Path folder;
  private HostCuda host;
  private CudaDevice cuda;
  private Path saved;

  @BeforeEach
  void aSavedModel() {
    host = HostCuda.open();
    host.shuffle(7);
    cuda = host.device();
    saved = folder.resolve("m");
    var words = BpeTrainer.train(List.of("select name from users"), 280);
    var config = new LlamaConfig(words.size(), 64, 96, 2, 4, 2, 16, 48, 1e-5, 10000, 1, true, OptionalInt.of(1), List.of(2), OptionalInt.empty(), "float32");
    try (var device = new CpuDevice(true, 1); var model = LanguageModel.scratch(device, config, words, Precision.F32, 1)) {
      long key = 0;
      for (var w : model.decoder().parameters().map().values()) {
        key++;
        if (w.shape().rank() > 1) LanguageModel.upload(device, w, uniform(key, Math.toIntExact(w.elements()), 0.6f));
      }
      model.save(saved, 1L << 30);
    }
  }

  @AfterEach
  void close() {
    if (cuda != null) cuda.close();
  }

  private static float[] uniform(long key, int n, float size) {
    var values = new float[n];
    for (int i = 0; i < n; i++) values[i] = (Dropout.uniform(key, i) - 0.5f) * size;
    return values;
  }

  /// The model with its linear layers in few bits, over weights of `model`.
  private static Decoder few(Device device, LanguageModel model, Base base, Region region) {
    if (base == Base.NF4_DOUBLE) return model.decoder();
    return model.decoder().mapped(linear -> {
      var w = ((DenseLinear) linear).w().toFloats();
      var codes = RoundToNearest.quantize(w, linear.outputs(), linear.inputs(), 4, 32, false, true);
      return new QuantLinear(linear.name(), codes.upload(device, region, DType.F16));
    });
  }

  private LanguageModel open(Device device, Base base) {
    return LanguageModel.open(device, saved, Optional.empty(), base == Base.NF4_DOUBLE ? Precision.NF4_DOUBLE : Precision.F32, false);
  }

  private Map<String, float[]> step(Device device, Base base) {
    var out = new LinkedHashMap<String, float[]>();
    try (var model = open(device, base); var region = device.growing("step"); var codes = device.growing("codes")) {
      var lora = Lora.attach(few(device, model, base, codes), LORA, region);
      long key = 50;
      for (var w : lora.parameters().map().values()) LanguageModel.upload(device, w, uniform(key++, Math.toIntExact(w.elements()), 0.3f));
      var gradients = new Gradients(region, lora.parameters().trainable());
      gradients.begin();
      var p = Pass.training(device, region, gradients);
      var targets = Arrays.copyOfRange(TEXT, 1, TEXT.length + 1);
      targets[TEXT.length - 1] = CrossEntropy.IGNORE;
      out.put("loss", lora.decoder().loss(p, Tokens.of(p, TEXT), Tokens.upload(p, targets), 1f / TEXT.length, false).toFloats());
      p.backward();
      lora.parameters().map().forEach((name, w) -> out.put(name, gradients.of(w, device).toFloats()));
    }
    return out;
  }

  private static double distance(float[] a, float[] b) {
    double d = 0;
    for (int i = 0; i < a.length; i++) d = Math.max(d, Math.abs(a[i] - b[i]));
    return d;
  }

  /// As near to the reference as the CPU is, up to 8 times or 8 roundings of the largest value, as `LlamaOnCudaTest`.
  @ParameterizedTest
  @EnumSource
  void aStepIsAsNearToTheReferenceAsTheCpuIs(Base base) {
    var expected = step(new ReferenceDevice(), base);
    Map<String, float[]> cpu;
    try (var device = new CpuDevice(true, 1)) {
      cpu = step(device, base);
    }
    var found = step(cuda, base);
    assertThat(found.keySet()).isEqualTo(expected.keySet()).hasSize(1 + 2 * 14);
    expected.forEach((name, e) -> {
      double largest = distance(e, new float[e.length]);
      assertThat(largest).as(name).isPositive();
      assertThat(distance(found.get(name), e)).as(name).isLessThanOrEqualTo(8 * Math.max(distance(cpu.get(name), e), 0x1p-24 * largest));
    });
  }

  @ParameterizedTest
  @EnumSource
  void writesTheSameTextAsTheCpu(Base base) {
    List<Integer> expected;
    try (var device = new CpuDevice(true, 1)) {
      expected = text(device, base);
    }
    assertThat(text(cuda, base)).isEqualTo(expected).hasSizeGreaterThan(3);
  }

  private List<Integer> text(Device device, Base base) {
    try (var model = open(device, base); var codes = device.growing("codes");
        var generator = new Generator(device, few(device, model, base, codes), model.tokenizer(), 1, 32)) {
      var request = new Generator.Request(new int[] {1, 17, 200}, 8, Sampling.GREEDY, List.of(), Generator.Listener.NONE);
      return Arrays.stream(generator.generate(request).ids()).boxed().toList();
    }
  }
}
