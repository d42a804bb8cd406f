package org.llmcore.peft;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Random;
import java.util.function.Consumer;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.checkpoint.PromptConfig;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.model.Decoder;
import org.llmcore.op.Device;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class PeftAdapterTest {
  private static final String Q = "base_model.model.model.layers.0.self_attn.q_proj.";
  private static final String DOWN = "base_model.model.model.layers.0.mlp.down_proj.";

  @TempDir private Path folder;
  private final Device device = new CpuDevice(true, 1);
  private final Region region = Region.growing("test");
  private Decoder base;
  private Lora saved;

  @BeforeEach
  void anAdapterOfTwoRanks() {
    var config = new LlamaConfig(16, 8, 12, 1, 2, 1, 4, 16, 1e-5, 10000, 1, true, OptionalInt.of(1), List.of(2),
        OptionalInt.empty(), "float32");
    base = Decoder.carve(config, region, DType.F32, DType.F32, false);
    var lora = new LoraConfig(2, 6, 0.25, List.of("q_proj", "down_proj"), false, true, Map.of("down_proj", 3),
        Map.of("q_proj", 5.0), "base", List.of());
    saved = Lora.attach(base, lora, region);
    var random = new Random(3);
    saved.parameters().map().values().forEach(t -> {
      for (int i = 0; i < t.elements(); i++) t.segment().setAtIndex(ValueLayout.JAVA_FLOAT, i, (float) random.nextGaussian());
    });
    PeftAdapter.save(device, saved, folder.resolve("a"));
  }

  @AfterEach
  void close() {
    region.close();
  }

  private Path weights() {
    return folder.resolve("a/adapter_model.safetensors");
  }

  /// Rewrites the weights with their items by name changed.
  private void rewrite(Consumer<Map<String, Safetensors.Item>> change) {
    var items = new LinkedHashMap<String, Safetensors.Item>();
    try (var file = Safetensors.open(weights())) {
      file.entries()
          .forEach((name, e) -> items.put(name, new Safetensors.Item(name, e.dtype(), e.shape(),
          MemorySegment.ofArray(e.data().toArray(ValueLayout.JAVA_BYTE)))));
    }
    change.accept(items);
    Safetensors.write(weights(), new ArrayList<>(items.values()));
  }

  private static Safetensors.Item item(String name, String dtype, int width, int... shape) {
    int n = width;
    for (int d : shape) n *= d;
    return new Safetensors.Item(name, dtype, shape, MemorySegment.ofArray(new byte[n]));
  }

  private void refused(String... words) {
    long before = region.used();
    assertThatThrownBy(() -> PeftAdapter.load(device, base, folder.resolve("a"), region)).isInstanceOf(InvalidInput.class)
        .hasMessageContainingAll(words).hasMessageContaining("---> ");
    assertThat(region.used()).as("memory taken").isEqualTo(before);
  }

  @Test
  void filesHoldNamesAndShapesOfPeft() {
    assertThat(PeftAdapter.in(folder.resolve("a"))).isTrue();
    assertThat(PeftAdapter.in(folder)).isFalse();
    try (var file = Safetensors.open(weights())) {
      assertThat(file.entries().values().stream().map(e -> e.name() + " " + e.describe()))
          .containsExactly(
              DOWN + "lora_A.weight F32(3, 12)", DOWN + "lora_B.weight F32(8, 3)", Q + "lora_A.weight F32(2, 8)", Q
                  + "lora_B.weight F32(8, 2)");
      assertThat(file.metadata()).containsEntry("format", "pt");
      var b = file.get(Q + "lora_B.weight").toFloats();
      Tensor held = saved.parameters().map().get(Q + "lora_B.weight");
      for (int out = 0; out < 8; out++) for (int r = 0; r < 2; r++) assertThat(b[out * 2 + r]).isEqualTo(held.get(r * 8 + out));
    }
  }

  @Test
  void whatIsSavedIsLoadedBitForBit() {
    var loaded = PeftAdapter.load(device, base, folder.resolve("a"), region);
    assertThat(loaded.config()).isEqualTo(saved.config());
    assertThat(loaded.parameters().map().keySet()).isEqualTo(saved.parameters().map().keySet());
    loaded.parameters().map().forEach((name, t) -> assertThat(t.toFloats()).as(name)
        .isEqualTo(saved.parameters().map().get(name).toFloats()));
    assertThat(loaded.layers().stream().map(LoraLinear::scale))
        .containsExactly((float) (5 / Math.sqrt(2)), (float) (6 / Math.sqrt(3)));
  }

  @Test
  void bf16AdaptersBecomeF32() {
    rewrite(items -> items.put(Q + "lora_A.weight",
        new Safetensors.Item(Q + "lora_A.weight", "BF16", new int[] {2, 8}, MemorySegment.ofArray(new byte[32])
        .fill((byte) 0x3f))));
    var loaded = PeftAdapter.load(device, base, folder.resolve("a"), region);
    assertThat(loaded.parameters().map().get(Q + "lora_A.weight").toFloats()).containsOnly(Float.intBitsToFloat(0x3f3f_0000));
  }

  @Test
  void whatDoesNotBelongToThisModelIsRefusedByNameAndTakesNoMemory() {
    rewrite(items -> items.remove(Q + "lora_B.weight"));
    refused("no tensor " + Q + "lora_B.weight");
    rewrite(items -> items.put(Q + "lora_B.weight", item(Q + "lora_B.weight", "F32", 4, 2, 8)));
    refused(Q + "lora_B.weight", "F32(2, 8)", "(8, 2)");
    rewrite(items -> items.put(Q + "lora_B.weight", item(Q + "lora_B.weight", "F32", 4, 16)));
    refused("F32(16)");
    rewrite(items -> items.put(Q + "lora_B.weight", item(Q + "lora_B.weight", "F32", 4, 8, 2)));
    rewrite(items -> items.put(Q + "base_layer.bias", item(Q + "base_layer.bias", "F32", 4, 8)));
    refused(Q + "base_layer.bias", "no place");
  }

  @Test
  void integersAreNoAdapter() {
    rewrite(items -> items.put(Q + "lora_B.weight", item(Q + "lora_B.weight", "I8", 1, 8, 2)));
    assertThatThrownBy(() -> PeftAdapter.load(device, base, folder.resolve("a"), region)).isInstanceOf(InvalidInput.class)
        .hasMessageContainingAll(Q + "lora_B.weight", "I8");
  }

  @Test
  void aRankThatTheWeightsDoNotHaveIsRefusedBeforeMemoryIsTaken() throws IOException {
    var config = folder.resolve("a/adapter_config.json");
    var text = Files.readString(config);
    Files.writeString(config, text.replace("\"r\" : 2", "\"r\" : 65536"));
    refused("F32(2, 8)", "(65536, 8)");
    Files.writeString(config, text.replace("q_proj", "x_proj").replace("down_proj", "y_proj"));
    refused("targets no layer of this model: [x_proj, y_proj]");
    Files.writeString(config, text.replace("q_proj", "embed_tokens"));
    refused("embed_tokens, which is not supported");
    Files.writeString(config, text.replaceFirst("\"target_modules\" : \\[[^]]*]", "\"target_modules\" : \".*_tokens\""));
    refused("embed_tokens, which is not supported");
  }

  private static Safetensors.Item matrix(String name, float first, int rows, int columns) {
    var values = new float[rows * columns];
    for (int i = 0; i < values.length; i++) values[i] = first + i;
    var bytes = MemorySegment.ofArray(new byte[4 * values.length]).copyFrom(MemorySegment.ofArray(values));
    return Safetensors.Item.of(name, DType.F32, new int[] {rows, columns}, bytes);
  }

  @Test
  void spellingsOfNamesThatPeftLoadsAreLoaded() {
    rewrite(items -> {
      for (var name : new String[] {Q + "lora_A", Q + "lora_B", DOWN + "lora_B"}) {
        var i = items.remove(name + ".weight");
        items.put(name, new Safetensors.Item(name + ".default.weight", i.dtype(), i.shape(), i.pieces()));
      }
      items.put("inv_freq", item("base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq", "F32", 4, 2));
    });
    var loaded = PeftAdapter.load(device, base, folder.resolve("a"), region);
    loaded.parameters().map().forEach((name, t) -> assertThat(t.toFloats()).as(name).isEqualTo(saved.parameters().get(name).toFloats()));
    rewrite(items -> items.put("twice", item(Q + "lora_A.weight", "F32", 4, 2, 8)));
    refused(Q + "lora_A.weight twice");
  }

  @Test
  void magnitudesMayEndInWeight() {
    var dora = Lora.attach(base, LoraConfig.of(2, 4, 0, false, List.of("q_proj")).withDora(true), region);
    dora.parameters().map().values().forEach(t -> t.set(new float[(int) t.elements()]));
    dora.parameters().get(Q + "lora_magnitude_vector").set(new float[] {1, 2, 3, 4, 5, 6, 7, 8});
    PeftAdapter.save(device, dora, folder.resolve("dora"));
    Path file = folder.resolve("dora/adapter_model.safetensors");
    try (var read = Safetensors.open(file)) {
      var items = read.entries().values().stream().map(e -> new Safetensors.Item(
          e.name().replace("vector", "vector.weight"), e.dtype(), e.shape(), MemorySegment.ofArray(e.data().toArray(ValueLayout.JAVA_BYTE)))).toList();
      Safetensors.write(file, items);
    }
    var loaded = PeftAdapter.load(device, base, folder.resolve("dora"), region);
    assertThat(loaded.parameters().get(Q + "lora_magnitude_vector").toFloats()).containsExactly(1, 2, 3, 4, 5, 6, 7, 8);
  }

  @ParameterizedTest
  @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
  void whatIsNoNumberIsRefusedByName(float value) {
    saved.parameters().get(Q + "lora_A.weight").segment().setAtIndex(ValueLayout.JAVA_FLOAT, 5, value);
    PeftAdapter.save(device, saved, folder.resolve("b"));
    assertThatThrownBy(() -> PeftAdapter.load(device, base, folder.resolve("b"), region)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining(Q + "lora_A.weight holds " + value);
  }

  @Test
  void anEmbeddingInTheFileStandsInPlaceOfTheBasesAndOfItsHead() {
    base.embedding().set(new float[16 * 8]);
    rewrite(items -> items.put("e", matrix("base_model.model.model.embed_tokens.weight", 1, 16, 8)));
    var loaded = PeftAdapter.load(device, base, folder.resolve("a"), region);
    assertThat(loaded.decoder().embedding().get(127)).isEqualTo(128);
    assertThat(loaded.decoder().head()).isSameAs(loaded.decoder().embedding());
    assertThat(base.embedding().get(127)).as("the base").isZero();
    // Of a tied model PEFT writes both names; they are one tensor, and what is read last counts.
    rewrite(items -> items.put("h", matrix("base_model.model.lm_head.weight", 1001, 16, 8)));
    loaded = PeftAdapter.load(device, base, folder.resolve("a"), region);
    assertThat(loaded.decoder().embedding().get(0)).isEqualTo(1001);
    loaded.merge(device);
    assertThat(base.embedding().get(0)).isEqualTo(1001);
    var untied = base.untied(device, region);
    loaded = PeftAdapter.load(device, untied, folder.resolve("a"), region);
    assertThat(loaded.decoder().embedding().get(0)).isEqualTo(1);
    assertThat(((Tensor) loaded.decoder().head()).get(0)).isEqualTo(1001);
  }

  @Test
  void anEmbeddingThatIsTheBasesTakesNoMemory() {
    rewrite(items -> items.put("e", matrix("base_model.model.model.embed_tokens.weight", 1, 16, 8)));
    var values = new float[16 * 8];
    for (int i = 0; i < values.length; i++) values[i] = 1 + i;
    base.embedding().set(values);
    var loaded = PeftAdapter.load(device, base, folder.resolve("a"), region);
    assertThat(loaded.wholes()).isEmpty();
    assertThat(loaded.decoder().embedding()).isSameAs(base.embedding());
  }

  @ParameterizedTest
  @ValueSource(strings = {"model.embed_tokens.weight", "lm_head.weight"})
  void aResizedVocabularyHasASentence(String module) {
    rewrite(items -> items.put("e", matrix("base_model.model." + module, 1, 17, 8)));
    refused(module + " has 17 rows, the model a vocabulary of 16", "resized");
  }

  @Test
  void aModuleToSaveThatTheModelDoesNotHaveIsSaidWhereItIsLoadedAndRefusedWhereItIsTrained() throws IOException {
    var config = folder.resolve("a/adapter_config.json");
    Files.writeString(config, Files.readString(config).replace("\"modules_to_save\" : null", "\"modules_to_save\" : [\"nonsense\"]"));
    var loaded = PeftAdapter.load(device, base, folder.resolve("a"), region);
    assertThat(loaded.notes()).containsExactly("modules_to_save names nonsense, which this model does not have");
    assertThatThrownBy(loaded::checked).isInstanceOf(InvalidInput.class).hasMessageContaining("nonsense");
    assertThat(saved.notes()).isEmpty();
  }

  @Test
  void aTargetThatTheModelDoesNotHaveIsSaidWhereItIsLoadedAndRefusedWhereItIsTrained() {
    var config = LoraConfig.of(2, 4, 0, false, List.of("q_proj", "query_key_value"));
    var lora = Lora.attach(base, config, region);
    assertThat(lora.notes()).containsExactly("LoRA targets query_key_value, which this model does not have");
    assertThatThrownBy(lora::checked).isInstanceOf(InvalidInput.class).hasMessageContaining("query_key_value");
  }

  @Test
  void aPromptOfAnotherLengthIsNotExplainedByRanks() {
    var prompt = SoftPrompt.attach(base, PromptConfig.of(base.config(), 3, Optional.empty()), region);
    prompt.parameters().map().values().forEach(t -> t.set(new float[(int) t.elements()]));
    PeftAdapter.save(device, prompt, folder.resolve("prompt"));
    AtomicFile.write(folder.resolve("prompt/adapter_config.json"), PromptConfig.of(base.config(), 4, Optional.empty()).toJson());
    assertThatThrownBy(() -> PeftAdapter.attach(device, base, folder.resolve("prompt"), region)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("F32(3, 8), num_virtual_tokens and token_dim ask for (4, 8)");
  }

  @Test
  void aTyingThatChangesNothingIsTaken() throws IOException {
    var config = folder.resolve("a/adapter_config.json");
    var text = Files.readString(config).replace("\"ensure_weight_tying\" : false", "\"ensure_weight_tying\" : true");
    Files.writeString(config, text);
    assertThat(PeftAdapter.load(device, base, folder.resolve("a"), region).config().weightTying()).isTrue();
    Files.writeString(config, text.replace("\"modules_to_save\" : null", "\"modules_to_save\" : [\"lm_head\"]"));
    refused("ensure_weight_tying is true");
    Files.writeString(config, text.replace("\"modules_to_save\" : null", "\"modules_to_save\" : [\"embed_tokens\"]"));
    rewrite(items -> items.put("e", matrix("base_model.model.model.embed_tokens.weight", 1, 16, 8)));
    var loaded = PeftAdapter.load(device, base, folder.resolve("a"), region);
    assertThat(loaded.decoder().head()).as("one tensor, trained").isSameAs(loaded.decoder().embedding());
    loaded.merge(device);
    assertThat(base.embedding().get(127)).isEqualTo(128);
    Files.writeString(config, text.replace("\"modules_to_save\" : null", "\"modules_to_save\" : [\"embed_tokens\", \"lm_head\"]"));
    rewrite(items -> items.put("h", matrix("base_model.model.lm_head.weight", 1, 16, 8)));
    assertThat(PeftAdapter.load(device, base, folder.resolve("a"), region).notes()).isEmpty();
  }

  @Test
  void theHeadAloneIsAdaptedAndSaved() {
    var lora = Lora.attach(base, LoraConfig.of(2, 4, 0, false, List.of("lm_head")), region).checked();
    assertThat(lora.parameters().map().keySet()).containsExactly("base_model.model.lm_head.lora_A.weight", "base_model.model.lm_head.lora_B.weight");
    assertThat(lora.decoder().linears()).noneMatch(l -> l instanceof LoraLinear);
    lora.initialise(1);
    PeftAdapter.save(device, lora, folder.resolve("head"));
    var loaded = PeftAdapter.load(device, base, folder.resolve("head"), region);
    assertThat(loaded.layers()).singleElement().satisfies(l -> assertThat(l.name()).isEqualTo("lm_head"));
    assertThatThrownBy(() -> loaded.merge(device)).isInstanceOf(InvalidInput.class).hasMessageContaining("not the embedding");
    assertThat(Lora.attach(base, LoraConfig.of(2, 4, 0, false, List.of("all-linear")), region).layers()).hasSize(7);
  }

  @Test
  void picklesAndMissingWeightsAreRefused() throws IOException {
    Files.delete(weights());
    refused("adapter_model.safetensors");
    Files.write(folder.resolve("a/adapter_model.bin"), new byte[] {(byte) 0x80, 2});
    refused("adapter_model.bin", "pickle", "use safetensors");
    Files.delete(folder.resolve("a/adapter_config.json"));
    refused("adapter_config.json");
  }

  @Test
  void truncatedWeightsAreRefused() throws IOException {
    var bytes = Files.readAllBytes(weights());
    for (int n = 0; n < bytes.length; n += 37) {
      Files.write(weights(), Arrays.copyOf(bytes, n));
      refused("adapter_model.safetensors");
    }
  }
}
