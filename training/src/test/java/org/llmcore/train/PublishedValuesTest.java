package org.llmcore.train;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.Devices;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.data.Batch;
import org.llmcore.data.Example;
import org.llmcore.flags.Flags;
import org.llmcore.generate.Generator;
import org.llmcore.generate.Sampling;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;
import org.llmcore.text.Tokenizers;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.data.Offset.offset;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// The engine against values that other people's programs computed for a real model of 260K parameters (`data/stories260k`,
/// `data/peft`: transformers 5.18, peft 0.21 and torch 2.13 in float64; llama2.c for the texts).
class PublishedValuesTest {
  private static final Path DATA = Path.of(System.getProperty("llm.data", "../shared/data"));
  private static final Path STORIES = DATA.resolve("stories260k");
  private static final Path PEFT = DATA.resolve("peft/qv_r4");
  private static final ObjectMapper JSON = new ObjectMapper();

  /// With `-Dllm.device=cuda` the same values are asked of the GPU.
  private static final boolean CUDA = System.getProperty("llm.device", "cpu").equals("cuda");

  private final Device device = CUDA ? Devices.open(Flags.Kind.CUDA, 2) : new CpuDevice(true, 2);

  private LanguageModel open(Path model, boolean trainable) {
    assumeTrue(Files.exists(model), "skipped: " + model + " is not here");
    return LanguageModel.open(device, model, Optional.of(STORIES.resolve("tok512.model")), Precision.F32, trainable);
  }

  private static JsonNode json(Path file) throws IOException {
    return JSON.readTree(Files.readString(file));
  }

  @Test
  void greedyTextOfLlama2cIsReproducedByteForByte() throws IOException {
    for (var file : List.of("stories260K.bin", "hf")) {
      try (var model = open(STORIES.resolve(file), false);
          var generator = new Generator(device, model.decoder(), model.tokenizer(), 2, 512)) {
        var story = generator.generate(new Generator.Request(new int[] {1}, 200, Sampling.GREEDY, List.of(), Generator.Listener.NONE));
        assertThat(story.text().strip()).as(file).isEqualTo(Files.readString(STORIES.resolve("expected_stdout.txt")).strip());
        for (var g : json(STORIES.resolve("greedy-dev.json"))) {
          var prompt = JSON.convertValue(g.get("prompt_ids"), int[].class);
          var expected = JSON.convertValue(g.get("generated_ids"), int[].class);
          var out = generator.generate(new Generator.Request(prompt, expected.length, Sampling.GREEDY, List.of(), Generator.Listener.NONE));
          assertThat(out.ids()).as(file + " " + g.get("id")).isEqualTo(expected);
        }
      }
    }
  }

  @Test
  void llama2cTokenizerEncodesAsTheModelWasTrained() throws IOException {
    assumeTrue(Files.exists(STORIES), "skipped: " + STORIES + " is not here");
    var tokenizer = Tokenizers.open(STORIES.resolve("tok512.bin"), OptionalInt.of(512));
    for (var g : json(STORIES.resolve("greedy-dev.json"))) {
      var ids = JSON.convertValue(g.get("prompt_ids"), int[].class);
      assertThat(tokenizer.encode(g.get("prompt").asText())).isEqualTo(java.util.Arrays.copyOfRange(ids, 1, ids.length));
    }
  }

  @Test
  void logitsAndHiddenStatesAgreeWithTransformers() {
    try (var model = open(STORIES.resolve("hf"), false);
        var golden = Safetensors.open(STORIES.resolve("logits-dev.safetensors"));
        var region = device.growing("test")) {
      var p = Pass.inference(device, region);
      var tokens = Tokens.of(p, golden.get("input_ids").toInts());
      var states = new ArrayList<Tensor>();
      var hidden = model.decoder().hidden(p, tokens, new Mixing.Within(tokens.starts()), false, states);
      close(model.decoder().logits(p, hidden).toFloats(), golden.get("logits").toFloats(), 1e-3);
      assertThat(states).hasSize(6);
      for (int i = 0; i < states.size(); i++) close(states.get(i).toFloats(), golden.get("hidden." + i).toFloats(), 1e-4);
    }
  }

  @Test
  void decodingWithTheCacheGivesTheBitsOfAFullPass() {
    assumeTrue(!CUDA, "a promise of the CPU: on a GPU one row and many are summed in other orders");
    try (var model = open(STORIES.resolve("hf"), false);
        var golden = Safetensors.open(STORIES.resolve("logits-dev.safetensors"));
        var region = device.growing("test")) {
      var ids = golden.get("input_ids").toInts();
      var p = Pass.inference(device, region);
      var tokens = Tokens.of(p, ids);
      var full = model.decoder().logits(p, model.decoder().hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>())).toFloats();
      var cache = new org.llmcore.model.KvCache(region, model.config(), model.decoder().activations(), 8, 4);
      try (var sequence = cache.open()) {
        for (int i = 0; i < ids.length; i++) {
          var at = cache.append(p, List.of(sequence), new int[] {1});
          var one = new Tokens(Tokens.upload(p, ids[i]), Tokens.upload(p, i), at.starts());
          var z = model.decoder().logits(p, model.decoder().hidden(p, one, new Mixing.Cached(cache, at), false, new ArrayList<>())).toFloats();
          assertThat(z).as("token " + i).isEqualTo(java.util.Arrays.copyOfRange(full, i * 512, (i + 1) * 512));
        }
      }
    }
  }

  /// The four sequences of the training batch, split into micro-batches of `size`.
  static List<Batch> batches(int size) {
    try (var file = Safetensors.open(STORIES.resolve("train-dev/batch.safetensors"))) {
      var ids = file.get("input_ids").toInts();
      var labels = file.get("labels").toInts();
      int n = file.get("input_ids").shape()[1];
      var out = new ArrayList<Batch>();
      for (int from = 0; from < 4; from += size) {
        var examples = new ArrayList<Example>();
        for (int s = from; s < from + size; s++) {
          var learn = new boolean[n];
          for (int i = 1; i < n; i++) learn[i] = labels[s * n + i] >= 0;
          examples.add(new Example(java.util.Arrays.copyOfRange(ids, s * n, (s + 1) * n), learn, "batch:" + s));
        }
        out.add(Batch.of(examples));
      }
      return out;
    }
  }

  @Test
  void fiveStepsOfAdamWFollowTorch() throws IOException {
    try (var model = open(STORIES.resolve("hf"), true);
        var region = device.growing("test")) {
      var tuning = Tuning.full(model.decoder());
      var trainer = trainer(tuning, region, 0);
      int number = 0;
      for (var s : json(STORIES.resolve("train-dev/trajectory.json")).at("/adamw_lr1e-3_wd0/steps")) {
        var report = trainer.step(++number, batches(4), 1e-3);
        assertThat(report.loss()).isCloseTo(s.get("loss").asDouble(), offset(1e-4));
        assertThat(report.gradientNorm()).isCloseTo(s.get("grad_norm").asDouble(), offset(1e-3));
      }
    }
  }

  private Trainer trainer(Tuning tuning, Region region, double clip) {
    var optimizer = new Optimizer(device, region, tuning.trained(), new Optimizer.Settings(0.9, 0.999, 1e-8, 0, clip));
    return new Trainer(device, tuning, optimizer, device.growing("step"), false, 0);
  }

  @Test
  void adapterOfPeftGivesPeftsLogits() {
    try (var model = open(STORIES.resolve("hf"), false);
        var golden = Safetensors.open(PEFT.resolve("expected_logits.safetensors"));
        var region = device.growing("test")) {
      var lora = PeftAdapter.load(device, model.decoder(), PEFT.resolve("trained"), region);
      for (int i = 0; i < 2; i++) {
        var p = Pass.inference(device, region);
        var tokens = Tokens.of(p, golden.get("input_ids_" + i).toInts());
        var hidden = lora.decoder().hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>());
        close(lora.decoder().logits(p, hidden).toFloats(), golden.get("logits_" + i).toFloats(), 2e-3);
      }
    }
  }

  @Test
  void thirtyLoraStepsFollowPeft() throws IOException {
    try (var model = open(STORIES.resolve("hf"), false);
        var region = device.growing("test")) {
      var lora = PeftAdapter.load(device, model.decoder(), PEFT.resolve("init"), region);
      var tuning = new Tuning(lora.decoder(), lora.parameters(), Optional.of(lora));
      assertThat(lora.parameters().elements()).isEqualTo(4480);
      var trainer = trainer(tuning, region, 0);
      int number = 0;
      for (var s : json(PEFT.resolve("summary.json")).get("steps")) {
        var report = trainer.step(++number, batches(4), 5e-3);
        assertThat(report.loss()).as("step " + number).isCloseTo(s.get("loss").asDouble(), offset(1e-3));
        assertThat(report.gradientNorm()).as("step " + number).isCloseTo(s.get("grad_norm").asDouble(), offset(1e-2));
      }
    }
  }

  @Test
  void adapterWeightsSurviveTheRoundTripBitForBit(@TempDir Path work) throws IOException {
    var folder = work.resolve("a");
    try (var model = open(STORIES.resolve("hf"), false);
        var region = device.growing("test")) {
      PeftAdapter.save(device, PeftAdapter.load(device, model.decoder(), PEFT.resolve("trained"), region), folder);
      try (var ours = Safetensors.open(folder.resolve("adapter_model.safetensors"));
          var theirs = Safetensors.open(PEFT.resolve("trained/adapter_model.safetensors"))) {
        assertThat(ours.entries().keySet()).isEqualTo(theirs.entries().keySet());
        theirs.entries().forEach((name, e) -> assertThat(MemorySegment.ofArray(ours.get(name).toFloats()).mismatch(MemorySegment.ofArray(e.toFloats()))).as(name).isEqualTo(-1));
      }
    }
  }

  private static void close(float[] found, float[] expected, double tolerance) {
    assertThat(found).hasSameSizeAs(expected);
    for (int i = 0; i < found.length; i++) assertThat((double) found[i]).as("element " + i).isCloseTo(expected[i], offset(tolerance));
  }
}
