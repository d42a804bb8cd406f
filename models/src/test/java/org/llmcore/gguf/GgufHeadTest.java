package org.llmcore.gguf;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.convert.Conversion;
import org.llmcore.convert.Format;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.op.Gradients;
import org.llmcore.op.Pass;
import org.llmcore.peft.Lora;
import org.llmcore.tensor.Blocks;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// A head that stays in the bits of its file does what the dense matrix of its values does: stories260K, whose embedding is its head, in Q8_0.
class GgufHeadTest {
  private static final Path STORIES = Path.of(System.getProperty("llm.data", "../shared/data")).resolve("stories260k");

  @TempDir private Path folder;
  private final Device device = new CpuDevice(true, 2);
  private LanguageModel model;

  @BeforeEach
  void convert() {
    assumeTrue(Files.exists(STORIES), "skipped: " + STORIES + " is not here");
    var file = folder.resolve("small.gguf");
    new Conversion(STORIES.resolve("hf"), file, Format.GGUF, Optional.of(Conversion.dtype("q8_0")), Optional.of(STORIES.resolve("tok512.model")),
        Optional.empty(), Conversion.Check.NONE).run(device, Conversion.Listener.NONE);
    model = LanguageModel.open(device, file, Optional.empty(), Precision.F32, false);
  }

  @AfterEach
  void close() {
    if (model != null) model.close();
    device.close();
  }

  private static int[] ids(int n) {
    var ids = new int[n];
    for (int i = 0; i < n; i++) ids[i] = 1 + i * 37 % 500;
    return ids;
  }

  private float[] logits(Decoder decoder, int n) {
    try (var region = device.growing("test")) {
      var p = Pass.inference(device, region);
      var tokens = decoder.tokens(p, ids(n));
      return decoder.logits(p, decoder.hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>())).toFloats();
    }
  }

  @Test
  void itsLogitsAreThoseOfItsValues() {
    assertThat(model.config().tiedHead()).isTrue();
    assertThat(model.decoder().head()).isInstanceOf(Blocks.class);
    try (var region = device.growing("dense")) {
      var dense = model.decoder().dense(device, region);
      assertThat(dense.head()).isInstanceOf(Tensor.class);
      for (int n : new int[] {1, 3, 40}) assertThat(logits(model.decoder(), n)).as(n + " tokens").isEqualTo(logits(dense, n));
    }
  }

  /// Loss and gradients of an adapter.
  private Map<String, float[]> gradients(Decoder base, LoraConfig config) {
    var out = new LinkedHashMap<String, float[]>();
    try (var training = device.growing("training");
        var step = device.growing("step")) {
      var lora = Lora.attach(base, config, training);
      lora.initialise(device, 3);
      var gradients = new Gradients(training, new ArrayList<>(lora.parameters().map().values()));
      gradients.begin();
      var p = Pass.training(device, step, gradients);
      var tokens = lora.decoder().tokens(p, ids(33));
      var targets = step.carve(DType.I32, Shape.of(33));
      var next = ids(34);
      for (int i = 0; i < 33; i++) targets.segment().setAtIndex(java.lang.foreign.ValueLayout.JAVA_INT, i, next[i + 1]);
      out.put("loss", lora.decoder().loss(p, tokens, targets, 0.1f, false).toFloats());
      p.backward();
      lora.parameters().map().forEach((name, w) -> out.put(name, p.grad(w).toFloats()));
    }
    return out;
  }

  @Test
  void adaptersOverItGetTheGradientsOfItsValues() {
    var config = LoraConfig.of(4, 8, 0, false, List.of("q_proj", "down_proj"));
    try (var region = device.growing("dense")) {
      var expected = gradients(model.decoder().dense(device, region), config);
      var found = gradients(model.decoder(), config);
      assertThat(found.keySet()).isEqualTo(expected.keySet());
      expected.forEach((name, g) -> assertThat(found.get(name)).as(name).isEqualTo(g));
    }
  }

  @Test
  void itIsTrainedWholeFromItsValues() {
    var config = LoraConfig.of(4, 8, 0, false, List.of("q_proj")).saving(List.of("lm_head"));
    try (var training = device.growing("training")) {
      var lora = Lora.attach(model.decoder(), config, training).checked();
      lora.initialise(device, 3);
      assertThat(lora.decoder().head()).isInstanceOf(Tensor.class);
      assertThat(logits(lora.decoder(), 20)).isEqualTo(logits(model.decoder(), 20));
      assertThat(gradients(model.decoder(), config).keySet()).anyMatch(name -> name.contains("lm_head"));
    }
  }

  @Test
  void itIsNotSavedAsIfItWereDense() {
    assertThatThrownBy(() -> model.save(folder.resolve("saved"), 1 << 30)).isInstanceOf(InvalidInput.class).hasMessageContaining("Q8_0");
    assertThat(folder.resolve("saved")).doesNotExist();
  }
}
