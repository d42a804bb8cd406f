package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.PromptConfig;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.generate.Generator;
import org.llmcore.generate.Sampling;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Embedding;
import org.llmcore.op.Pass;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.peft.SoftPrompt;
import org.llmcore.reference.ReferenceDevice;
import org.llmcore.tensor.Region;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.data.Offset.offset;

/// Prompt tuning from the recipe to the answer.
class SoftPromptTest {
  private static final int[] IDS = {5, 200, 17, 33, 42, 250, 99};

  @TempDir Path folder;
  private Path text;

  @BeforeEach
  void writeText() throws IOException {
    var s = new StringBuilder();
    for (int i = 0; i < 300; i++) {
      s.append("{\"prompt\":\"colour of ").append(i % 5).append("\",\"completion\":\"")
          .append(List.of("red", "blue", "green", "black", "white").get(i % 5)).append("\"}\n");
    }
    text = Files.writeString(folder.resolve("pairs.jsonl"), s);
  }

  private Recipe recipe(int microBatch, boolean checkpointing, int steps) {
    return RecipeFile.parse(
        """
        model: {path: embedded:sql-base}
        method: {type: prompt, virtualTokens: 6, init: "colour of the house"}
        data: {path: %s, validation: 0.1}
        training: {epochs: 50, maxSteps: %d, batch: 8, microBatch: %d, learningRate: 3e-2, warmupSteps: 2, checkpointing: %s}
        evaluation: {every: 4, items: 24}
        checkpoints: {every: 3}
        """.formatted(text, steps, microBatch, checkpointing));
  }

  private Summary run(String name, Recipe recipe, int threads) {
    try (Device device = new CpuDevice(true, threads)) {
      return new TrainingRun(device, recipe, folder.resolve(name)).run();
    }
  }

  private static LanguageModel base(Device device) {
    return LanguageModel.open(device, Embedded.path("embedded:sql-base"), Optional.empty(), Precision.F32, false);
  }

  private static float[] logits(Device device, Decoder model, int... ids) {
    try (var region = device.growing("test")) {
      var p = Pass.inference(device, region);
      var tokens = model.tokens(p, ids);
      return model.logits(p, model.hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>())).toFloats();
    }
  }

  @Test
  void theLossFallsAndThePlanIsKept() {
    var s = run("falls", recipe(8, false, 40), 2);
    assertThat(s.lastLoss()).isLessThan(0.6 * s.firstLoss());
    assertThat(s.evalLossAfter().getAsDouble()).isLessThan(s.evalLossBefore().getAsDouble());
    assertThat((double) s.peakBytes()).isCloseTo(s.plannedPeakBytes(), org.assertj.core.data.Percentage.withPercentage(1));
  }

  @Test
  void aPromptThatStartsAsSqlIsFarBetterThanTheBaseOnTheEmbeddedTask() {
    var s = run("sql", RecipeFile.parse(
        """
        model: {path: embedded:sql-base}
        method: {type: prompt, virtualTokens: 12, init: "select name from table where x = 1"}
        data: {path: embedded:sql, validation: 0.002}
        training: {maxSteps: 30, batch: 8, learningRate: 3e-2, warmupSteps: 4, weightDecay: 0}
        evaluation: {items: 24}
        """), 2);
    assertThat(s.evalLossAfter().getAsDouble()).isLessThan(0.7 * s.evalLossBefore().getAsDouble());
  }

  @Test
  void aPromptStartsAsWordsOrAsNumbers() {
    try (Device device = new CpuDevice(true, 1); var model = base(device); var region = device.growing("prompt")) {
      var config = PromptConfig.of(model.config(), 40, Optional.empty());
      var words = SoftPrompt.attach(model.decoder(), config, region);
      words.initialise(device, model.tokenizer(), 3);
      var rows = model.decoder().embedding().toFloats();
      int c = model.config().hidden();
      var first = java.util.Arrays.copyOf(words.parameters().get("prompt_embeddings").toFloats(), c);
      assertThat(java.util.stream.IntStream.range(0, model.config().vocabulary()))
          .anyMatch(i -> java.util.Arrays.equals(first, java.util.Arrays.copyOfRange(rows, i * c, (i + 1) * c)));
      var numbers = SoftPrompt.attach(model.decoder(), config.startingAsNumbers(true), region);
      numbers.initialise(device, model.tokenizer(), 3);
      double squares = 0;
      var values = numbers.parameters().get("prompt_embeddings").toFloats();
      for (float v : values) squares += (double) v * v / values.length;
      // the mean of n squares of normal numbers has a deviation of √(2/n); five of them
      assertThat(squares).isCloseTo(1, offset(5 * Math.sqrt(2.0 / values.length)));
      PeftAdapter.save(device, numbers, folder.resolve("numbers"));
      assertThat(PeftAdapter.attach(device, model.decoder(), folder.resolve("numbers"),
          region).config()).isEqualTo(numbers.config());
      assertThat(numbers.config().toJson()).contains("\"RANDOM\"");
      assertThat(config.toJson()).contains("SAMPLE_VOCAB");
    }
    var recipe = RecipeFile.parse("model: {path: m}\nmethod: {type: prompt, start: random}\ndata: {path: d}\n");
    assertThat(((Recipe.SoftPrompt) recipe.method()).start()).isEqualTo(Recipe.SoftPrompt.Start.RANDOM);
    assertThat(RecipeFile.parse(RecipeFile.toYaml(recipe))).isEqualTo(recipe);
    assertThatThrownBy(() ->
        RecipeFile.parse("model: {path: m}\nmethod: {type: prompt, start: random, init: words}\ndata: {path: d}\n"))
        .isInstanceOf(InvalidInput.class).hasMessageContaining("method.start");
  }

  @Test
  void threadsMicroBatchesAndRecomputationDoNotChangeABit() {
    var whole = run("whole", recipe(8, false, 5), 2);
    assertThat(run("threads", recipe(8, false, 5), 3).weightsSha256()).isEqualTo(whole.weightsSha256());
    assertThat(run("micro", recipe(2, false, 5), 2).weightsSha256()).isEqualTo(whole.weightsSha256());
    assertThat(run("again", recipe(8, true, 5), 2).weightsSha256()).isEqualTo(whole.weightsSha256());
  }

  @Test
  void anInterruptedRunEndsWithTheSameBits() {
    var r = recipe(8, false, 8);
    var whole = run("uninterrupted", r, 2);
    var asked = new AtomicInteger();
    try (Device device = new CpuDevice(true, 2)) {
      var stopped = folder.resolve("stopped");
      new TrainingRun(device, r, stopped, false, TrainingListener.NONE, () -> asked.incrementAndGet() > 4).run();
      var resumed = new TrainingRun(device, r, stopped, true, TrainingListener.NONE, () -> false).run();
      assertThat(resumed.weightsSha256()).isEqualTo(whole.weightsSha256());
    }
  }

  /// Virtual tokens that are the embeddings of words must act as those words.
  @Test
  void aPromptOfWordsActsAsTheseWordsBeforeTheText() {
    try (Device device = new CpuDevice(true, 2); var model = base(device); var region = device.growing("prompt")) {
      var words = model.tokenizer().encode("how many singers are there");
      var prompt = SoftPrompt.attach(model.decoder(), PromptConfig.of(model.config(), words.length, Optional.empty()), region);
      var ids = Tokens.upload(Pass.inference(device, region), words);
      device.run(new Embedding.Forward(prompt.parameters().get("prompt_embeddings"), ids, model.decoder().embedding()));
      var both = new int[words.length + IDS.length];
      System.arraycopy(words, 0, both, 0, words.length);
      System.arraycopy(IDS, 0, both, words.length, IDS.length);
      int v = model.config().vocabulary();
      var expected = java.util.Arrays.copyOfRange(logits(device, model.decoder(), both), words.length * v, both.length * v);
      assertThat(logits(device, prompt.decoder(), IDS)).containsExactly(expected);

      var request = new Generator.Request(IDS, 12, Sampling.GREEDY, List.of(), Generator.Listener.NONE);
      var plain = new Generator.Request(both, 12, Sampling.GREEDY, List.of(), Generator.Listener.NONE);
      try (var cached = new Generator(device, prompt.decoder(), model.tokenizer(), 2, 64);
          var usual = new Generator(device, model.decoder(), model.tokenizer(), 2, 64)) {
        var found = cached.generate(List.of(request, request));
        assertThat(found.getFirst().ids()).isEqualTo(usual.generate(plain).ids());
        assertThat(found.getLast().ids()).isEqualTo(found.getFirst().ids());
      }
    }
  }

  @Test
  void theGradientIsThatOfCentralDifferences() {
    try (Device device = new ReferenceDevice(); var model = base(device); var region = Region.growing("prompt")) {
      var prompt = SoftPrompt.attach(model.decoder(), PromptConfig.of(model.config(), 3, Optional.of("show me")), region);
      prompt.initialise(device, model.tokenizer(), 1);
      var w = prompt.parameters().get("prompt_embeddings");
      int[] starts = {0, 4, IDS.length};
      int[] targets = {200, 17, -100, 1, 250, 99, 3};
      float[] gradient;
      try (var step = Region.growing("step")) {
        var p = Pass.training(device, step);
        prompt.decoder().loss(p, prompt.decoder().tokens(p, IDS, starts), Tokens.upload(p, targets), 1, false);
        p.backward();
        gradient = p.grad(w).toFloats();
      }
      var values = w.toFloats();
      float h = 1f / 64;
      for (int i = 0; i < values.length; i += 61) {
        double slope = (loss(device, prompt, values, i, h, starts, targets) - loss(device, prompt, values, i, -h, starts, targets)) / (2.0 * h);
        // losses are stored in f32: 7 of about 10 nats each, over 2h; and the third derivative's h²/6
        assertThat((double) gradient[i]).as("element " + i).isCloseTo(slope, offset(1e-3 + 1e-2 * Math.abs(slope)));
      }
    }
  }

  private static double loss(Device device, SoftPrompt prompt, float[] values, int i, float h, int[] starts, int[] targets) {
    var moved = values.clone();
    moved[i] += h;
    prompt.parameters().get("prompt_embeddings").set(moved);
    try (var step = Region.growing("step")) {
      var p = Pass.inference(device, step);
      double sum = 0;
      for (float l : prompt.decoder().loss(p, prompt.decoder().tokens(p, IDS, starts), Tokens.upload(p, targets), 0, false).toFloats()) sum += l;
      prompt.parameters().get("prompt_embeddings").set(values);
      return sum;
    }
  }

  @Test
  void theFilesComeBackAsTheyWereAndAWrongBaseIsRefused() {
    try (Device device = new CpuDevice(true, 1); var model = base(device); var region = device.growing("prompt")) {
      var prompt = SoftPrompt.attach(model.decoder(), PromptConfig.of(model.config(), 4, Optional.empty()).onBase("somewhere"), region);
      prompt.initialise(device, model.tokenizer(), 9);
      PeftAdapter.save(device, prompt, folder.resolve("adapter"));
      var back = (SoftPrompt) PeftAdapter.attach(device, model.decoder(), folder.resolve("adapter"), region);
      assertThat(back.config()).isEqualTo(prompt.config());
      assertThat(logits(device, back.decoder(), IDS)).containsExactly(logits(device, prompt.decoder(), IDS));
      assertThatThrownBy(() -> PeftAdapter.load(device, model.decoder(), folder.resolve("adapter"), region))
          .isInstanceOf(InvalidInput.class).hasMessageContaining("PROMPT_TUNING");
      var wide = new PromptConfig(4, 64, 4, 5, Optional.empty(), "", List.of());
      assertThatThrownBy(() -> SoftPrompt.attach(model.decoder(), wide, region)).isInstanceOf(InvalidInput.class).hasMessageContaining("64");
    }
  }

  /// PEFT on the same base, where `-Dllm.peers=` names a Python that has it: its logits with our file, ours with its file.
  @Test
  void peftReadsOurFilesAndWeReadIts() throws IOException, InterruptedException {
    var python = System.getProperty("llm.peers");
    org.junit.jupiter.api.Assumptions.assumeTrue(python != null, "no Python of peers is named by -Dllm.peers");
    try (Device device = new CpuDevice(true, 1); var model = base(device); var region = device.growing("prompt")) {
      model.save(folder.resolve("base"), Long.MAX_VALUE);
      var prompt = SoftPrompt.attach(model.decoder(), PromptConfig.of(model.config(), 4, Optional.empty()), region);
      prompt.initialise(device, model.tokenizer(), 9);
      PeftAdapter.save(device, prompt, folder.resolve("ours"));
      var program = """
          import json, torch
          from transformers import LlamaForCausalLM
          from peft import PeftModel, PromptTuningConfig, get_peft_model
          ids = torch.tensor([%s])
          def logits(m):
              return m(input_ids=ids).logits[0, -ids.shape[1]:].flatten().tolist()
          ours = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained("base"), "ours").eval()
          torch.manual_seed(1)
          theirs = get_peft_model(LlamaForCausalLM.from_pretrained("base"), PromptTuningConfig(
              task_type="CAUSAL_LM", num_virtual_tokens=5, prompt_tuning_init="RANDOM")).eval()
          theirs.save_pretrained("theirs")
          print(json.dumps([logits(ours), logits(theirs)]))
          """.formatted(java.util.Arrays.toString(IDS));
      var errors = folder.resolve("errors");
      var process = new ProcessBuilder(python, "-c", program).directory(folder.toFile()).redirectError(errors.toFile()).start();
      var said = new com.fasterxml.jackson.databind.ObjectMapper().readTree(process.getInputStream().readAllBytes());
      assertThat(process.waitFor()).as(Files.readString(errors)).isZero();
      close(logits(device, prompt.decoder(), IDS), said.get(0));
      close(logits(device, PeftAdapter.attach(device, model.decoder(), folder.resolve("theirs"), region).decoder(), IDS), said.get(1));
    }
  }

  private static void close(float[] found, com.fasterxml.jackson.databind.JsonNode expected) {
    assertThat(found).hasSize(expected.size());
    for (int i = 0; i < found.length; i++) assertThat((double) found[i]).as("logit " + i).isCloseTo(expected.get(i).asDouble(), offset(2e-3));
  }
}
