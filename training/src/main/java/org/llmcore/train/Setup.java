package org.llmcore.train;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AdapterConfig;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.checkpoint.PromptConfig;
import org.llmcore.data.Batch;
import org.llmcore.data.Batching;
import org.llmcore.data.Examples;
import org.llmcore.data.StepPlan;
import org.llmcore.generate.Generator;
import org.llmcore.model.LanguageModel;
import org.llmcore.op.Device;
import org.llmcore.tensor.Region;
import org.llmcore.text.Tokenizer;
import org.llmcore.text.Tokenizers;

/// What a recipe asks for, opened: all that is known before the first step. Owns the model.
///
/// @param adapter what is tuned beside a frozen model, or empty for full fine-tuning
/// @param validation the batches of the evaluation loss; may be empty
/// @param memory what the run will hold; only the model's share is held yet
record Setup(
    Recipe recipe, LanguageModel model, Optional<AdapterConfig> adapter, Corpus corpus, StepPlan steps, List<Batch> validation, MemoryPlan memory)
    implements AutoCloseable {
  /// Sequences that an evaluation generates at once.
  static final int SLOTS = 16;

  private static final List<String> LINEARS = List.of("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
      "down_proj");

  static Setup of(Device device, Recipe recipe) {
    var model = open(device, recipe);
    try {
      var adapter = adapter(recipe, model);
      int virtual = adapter.map(c -> c instanceof PromptConfig p ? p.virtualTokens() : 0).orElse(0);
      int context = Math.min(model.config().contextLength() - virtual, recipe.data().maxLength().orElse(Integer.MAX_VALUE));
      var corpus = Corpus.of(recipe, new Examples(model.tokenizer(), new Llama2ChatForm(model.tokenizer())), context);
      var steps = steps(recipe, corpus);
      var validation = validation(recipe, corpus);
      return new Setup(recipe, model, adapter, corpus, steps, validation, memory(recipe, model, adapter, corpus, steps, validation));
    } catch (RuntimeException | Error e) {
      model.close();
      throw e;
    }
  }

  /// How many numbers are trained.
  long trainable() {
    if (adapter.isEmpty()) return model.config().parameters();
    return Tuning.adapter(model.decoder(), adapter.get(), Region.measuring("adapter")).trained().elements();
  }

  @Override
  public void close() {
    model.close();
  }

  private static LanguageModel open(Device device, Recipe recipe) {
    boolean full = recipe.method() instanceof Recipe.Full;
    return switch (recipe.model()) {
      case Recipe.Pretrained m ->
          LanguageModel.open(device, Embedded.path(m.source().text()), recipe.tokenizer().map(t -> Embedded.path(t.text())), m.precision(), full);
      case Recipe.Scratch m -> {
        var source = recipe.tokenizer().orElseThrow(() -> new InvalidInput("a model from scratch needs a tokenizer", "add tokenizer: <file or folder>, or bpe:<vocabulary> to train one"));
        var tokenizer = source.text().startsWith("bpe:") ? Corpus.tokenizer(recipe, source.text().substring(4)) : Tokenizers.open(Embedded.path(source.text()), m.architecture().vocabulary());
        yield LanguageModel.scratch(device, config(m.architecture(), tokenizer), tokenizer, m.precision(), recipe.training().seed());
      }
    };
  }

  private static LlamaConfig config(Recipe.Architecture a, Tokenizer tokenizer) {
    return new LlamaConfig(
        a.vocabulary().orElse(tokenizer.size()), a.hidden(), a.intermediate(), a.layers(), a.heads(), a.kvHeads(), a.headDim(), a.contextLength(),
        a.normEps(), a.ropeTheta(), 1, a.tiedHead(), tokenizer.bos(), tokenizer.eos().stream().boxed().toList(), OptionalInt.empty(), "float32");
  }

  private static Optional<AdapterConfig> adapter(Recipe recipe, LanguageModel model) {
    var base = recipe.model() instanceof Recipe.Pretrained p ? p.source().text() : "scratch";
    return switch (recipe.method()) {
      case Recipe.Full _ -> Optional.empty();
      case Recipe.SoftPrompt m -> Optional.of(PromptConfig.of(model.config(), m.virtualTokens(),
          m.init()).startingAsNumbers(m.start() == Recipe.SoftPrompt.Start.RANDOM).onBase(base));
      case Recipe.LowRank m -> Optional.of(lora(m).withPatterns(m.rankPattern(),
          m.alphaPattern()).saving(m.modulesToSave()).onBase(base).withDora(m.dora()));
    };
  }

  private static LoraConfig lora(Recipe.LowRank m) {
    // PEFT takes numbers of layers only beside a list of names.
    boolean some = !m.layers().isEmpty();
    var config = switch (m.targets()) {
      case Recipe.AllLinear _ -> LoraConfig.of(m.r(), m.alpha(), m.dropout(), m.rslora(), some ? LINEARS : List.of("all-linear"));
      case Recipe.Suffixes s -> LoraConfig.of(m.r(), m.alpha(), m.dropout(), m.rslora(), s.names());
      case Recipe.Matching x ->
          new LoraConfig(m.r(), m.alpha(), m.dropout(), List.of(x.pattern()), true, m.rslora(), Map.of(), Map.of(), "",
              List.of());
    };
    return config.in(new LoraConfig.Blocks(m.layers(), m.layersPattern()));
  }

  private static StepPlan steps(Recipe recipe, Corpus corpus) {
    var t = recipe.training();
    int accumulation = t.batch() / t.microBatch();
    int longest = Arrays.stream(corpus.train().lengths()).max().orElse(1);
    Batching batching =
        recipe.data().pack() ? new Batching.Packed(Math.multiplyExact(longest, t.microBatch()), accumulation) : new Batching.Sequences(t.microBatch(), accumulation);
    return new StepPlan(corpus.train(), batching, t.seed(), t.epochs(), t.maxSteps());
  }

  private static List<Batch> validation(Recipe recipe, Corpus corpus) {
    if (corpus.validation().size() == 0) return List.of();
    int longest = Arrays.stream(corpus.validation().lengths()).max().orElse(1);
    int micro = recipe.training().microBatch();
    var all = StepPlan.inOrder(corpus.validation(), micro, longest * micro);
    int batches = Math.max(1, recipe.evaluation().items() / micro);
    return all.subList(0, Math.min(all.size(), batches));
  }

  private static MemoryPlan memory(
      Recipe recipe, LanguageModel model, Optional<AdapterConfig> adapter, Corpus corpus, StepPlan steps, List<Batch> validation) {
    int tokens = steps.largest().tokens();
    int sequences = steps.largest().sequences();
    for (var b : validation) {
      tokens = Math.max(tokens, b.ids().length);
      sequences = Math.max(sequences, b.sequences());
    }
    var shape = new MemoryPlan.Shape(model.config(), model.form(), adapter, recipe.training().checkpointing());
    var plan = MemoryPlan.of(shape, tokens, sequences);
    if (corpus.task().isEmpty()) return plan;
    var decoder = adapter.map(c -> Tuning.adapter(model.decoder(), c, Region.measuring("adapter")).decoder()).orElse(model.decoder());
    return plan.generating(Generator.bytes(decoder, SLOTS, model.config().contextLength()));
  }
}
