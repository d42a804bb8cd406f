package org.llmcore.model;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Optional;
import java.util.function.UnaryOperator;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.tensor.Region;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assumptions.assumeThat;

/// A checkpoint made by GPTQ's reference code and packed by AutoGPTQ's (`data/gptq/w4_g32_asym`).
class GptqModelTest {
  private static final Path DATA = Path.of(System.getProperty("llm.data", "../shared/data"));
  private static final Path GOLDEN = DATA.resolve("gptq/w4_g32_asym");

  @TempDir private Path folder;
  private final Device device = new CpuDevice(true, 2);

  @BeforeEach
  void theGoldenIsHere() throws IOException {
    assumeThat(Files.exists(GOLDEN)).as("no data/gptq: set llm.data").isTrue();
    for (var name : new String[] {"config.json", "quantize_config.json", "model.safetensors"}) copy(name, name);
  }

  private void copy(String from, String to) throws IOException {
    Files.write(folder.resolve(to), Files.readAllBytes(GOLDEN.resolve(from)));
  }

  @AfterEach
  void close() {
    device.close();
  }

  private LanguageModel open() {
    return LanguageModel.open(device, folder, Optional.of(DATA.resolve("stories260k/tok512.model")), Precision.F32, false);
  }

  @Test
  void weightsAndLogitsAreThoseOfTheReferenceCode() throws IOException {
    try (var model = open(); var expected = Safetensors.open(GOLDEN.resolve("expected.safetensors")); var region =
        Region.growing("test")) {
      assertThat(model.notes()).isEmpty();
      int layers = 0;
      for (var l : model.decoder().linears()) {
        if (!expected.entries().containsKey(l.name() + ".weight")) continue;
        layers++;
        var w = expected.get(l.name() + ".weight").toFloats();
        var q = ((QuantLinear) l).w();
        for (int o = 0; o < l.outputs(); o++) {
          var row = q.row(o);
          for (int i = 0; i < row.length; i++) {
            assertThat(row[i]).isCloseTo(w[o * l.inputs() + i],
                org.assertj.core.data.Offset.offset(Math.abs(w[o * l.inputs() + i]) * 1e-6f));
          }
        }
      }
      assertThat(layers).isEqualTo(7);
      var p = Pass.inference(device, region);
      var tokens = Tokens.of(p, expected.get("input_ids").toInts());
      var hidden = model.decoder().hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>());
      var logits = model.decoder().logits(p, hidden).toFloats();
      var golden = expected.get("logits").toFloats();
      assertThat(logits).hasSameSizeAs(golden);
      for (int i = 0; i < golden.length; i++) assertThat(logits[i])
          .isCloseTo(golden[i], org.assertj.core.data.Offset.offset(1e-2f));
    }
  }

  @Test
  void theReferencesGreedyTextIsSpoken() throws IOException {
    var ids = new ObjectMapper().readTree(GOLDEN.resolve("expected.json").toFile()).path("greedy_ids");
    try (var model = open();
        var generator = new org.llmcore.generate.Generator(device, model.decoder(), model.tokenizer(), 1, model.config()
            .contextLength())) {
      var request = new org.llmcore.generate.Generator.Request(
          new int[] {1}, ids.size() - 1, org.llmcore.generate.Sampling.GREEDY, java.util.List.of(),
              org.llmcore.generate.Generator.Listener.NONE);
      var expected = new int[ids.size() - 1];
      for (int i = 0; i < expected.length; i++) expected[i] = ids.get(i + 1).asInt();
      assertThat(generator.generate(request).ids()).isEqualTo(expected);
    }
  }

  @Test
  void oldFileNamesAreFound() throws IOException {
    Files.move(folder.resolve("model.safetensors"), folder.resolve("gptq_model-4bit-32g.safetensors"));
    try (var model = open()) {
      assertThat(model.decoder().linears()).allMatch(l -> l instanceof QuantLinear);
    }
    Files.copy(folder.resolve("gptq_model-4bit-32g.safetensors"), folder.resolve("gptq_model-4bit-128g.safetensors"));
    assertThatThrownBy(this::open).isInstanceOf(InvalidInput.class).hasMessageContaining("2 GPTQ files");
    Files.delete(folder.resolve("gptq_model-4bit-128g.safetensors"));
    Files.move(folder.resolve("gptq_model-4bit-32g.safetensors"), folder.resolve("my-llama.safetensors"));
    change("quantize_config.json", c -> c.replaceFirst("\"model_file_base_name\": [^,\\n]*", "\"model_file_base_name\": \"my-llama\""));
    open().close();
  }

  @Test
  void oldShardsAreFoundByTheirIndex() throws IOException {
    var shard = "gptq_model-4bit-32g-00001-of-00001.safetensors";
    Files.move(folder.resolve("model.safetensors"), folder.resolve(shard));
    try (var f = Safetensors.open(folder.resolve(shard))) {
      var index = new ObjectMapper().createObjectNode();
      f.entries().keySet().forEach(name -> index.withObject("weight_map").put(name, shard));
      Files.writeString(folder.resolve("gptq_model-4bit-32g.safetensors.index.json"), index.toString());
    }
    open().close();
    Files.delete(folder.resolve(shard));
    assertThatThrownBy(this::open).isInstanceOf(InvalidInput.class).hasMessageContainingAll(shard, "missing");
  }

  @Test
  void theMethodNeedNotBeNamedNorInSmallLetters() throws IOException {
    change("config.json", c -> c.replace("\"quant_method\": \"gptq\"", "\"quant_method\": \"GPTQ\"").replaceFirst("\"damp_percent\": [0-9.]*", "\"damp_percent\": \"0.01\""));
    open().close();
    change("config.json", c -> c.replace("\"quant_method\": \"GPTQ\",", ""));
    open().close();
  }

  @Test
  void truncatedFilesAndWrongConfigurationsAreRefused() throws IOException {
    var whole = Files.readAllBytes(folder.resolve("model.safetensors"));
    for (int n = 0; n < whole.length; n += 16 << 10) {
      Files.write(folder.resolve("model.safetensors"), java.util.Arrays.copyOf(whole, n));
      assertThatThrownBy(this::open).isInstanceOf(InvalidInput.class);
    }
    Files.write(folder.resolve("model.safetensors"), whole);
    both("\"bits\": 4", "\"bits\": 8");
    assertThatThrownBy(this::open).isInstanceOf(InvalidInput.class).hasMessageContaining("qweight");
    both("\"bits\": 8", "\"bits\": 4");
    both("\"group_size\": 32", "\"group_size\": 64");
    assertThatThrownBy(this::open).isInstanceOf(InvalidInput.class).hasMessageContaining("scales");
    both("\"group_size\": 64", "\"group_size\": 32");
    change("config.json", c -> c.replace("\"intermediate_size\": 192", "\"intermediate_size\": 4194304"));
    assertThatThrownBy(this::open).isInstanceOf(InvalidInput.class).hasMessageContaining("qweight");
  }

  private void both(String from, String to) throws IOException {
    for (var file : new String[] {"config.json", "quantize_config.json"}) change(file, c -> c.replace(from, to));
  }

  private void change(String file, UnaryOperator<String> change) throws IOException {
    var before = Files.readString(folder.resolve(file));
    var after = change.apply(before);
    assertThat(after).isNotEqualTo(before);
    Files.writeString(folder.resolve(file), after);
  }

  @Test
  void theyAreNotTrainedNorHeldInOtherBits() {
    var words = Optional.of(DATA.resolve("stories260k/tok512.model"));
    assertThatThrownBy(() -> LanguageModel.open(device, folder, words, Precision.F32, true)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("adapter");
    assertThatThrownBy(() -> LanguageModel.open(device, folder, words, Precision.NF4, false)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("GPTQ");
    try (var model = open()) {
      assertThatThrownBy(() -> model.save(folder.resolve("x"), 1 << 20)).isInstanceOf(InvalidInput.class)
          .hasMessageContaining("4 bits");
    }
  }
}
