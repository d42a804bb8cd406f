package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.BooleanSupplier;
import java.util.function.Function;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AdapterConfig;
import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.checkpoint.PromptConfig;
import org.llmcore.data.Batch;
import org.llmcore.data.Batching;
import org.llmcore.data.Examples;
import org.llmcore.data.StepPlan;
import org.llmcore.eval.Task;
import org.llmcore.generate.Generator;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.op.Device;
import org.llmcore.peft.Adapter;
import org.llmcore.peft.Lora;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.peft.SoftPrompt;
import org.llmcore.tensor.Region;
import org.llmcore.text.Tokenizer;
import org.llmcore.text.Tokenizers;

/// A whole run: a recipe becomes a model, data, a memory plan, steps, evaluations, checkpoints and a result in a run folder.
///
/// | in `runs/<name>/`   | what                                                        |
/// |---------------------|-------------------------------------------------------------|
/// | `recipe.yaml`       | the recipe as resolved                                      |
/// | `adapter/` or `model/` | the result, as PEFT or transformers load it              |
/// | `checkpoints/`      | what `--resume` continues from                              |
/// | `metrics.jsonl`, `events.*`, `loss.png`, `summary.json` | what happened           |
public final class TrainingRun {
  private static final int SLOTS = 16;
  private static final List<String> LINEARS = List.of("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
      "down_proj");

  private final Device device;
  private final Recipe recipe;
  private final Path folder;
  private final TrainingListener listener;
  private final BooleanSupplier stop;
  private final boolean resume;
  private final List<String> notes = new ArrayList<>();
  private final long started = System.nanoTime();

  /// @param folder the run's folder; must not exist unless the run is resumed
  /// @param stop asked before every step: whether to save and leave
  public TrainingRun(Device device, Recipe recipe, Path folder, boolean resume, TrainingListener listener, BooleanSupplier stop) {
    this.device = device;
    this.recipe = recipe;
    this.folder = folder;
    this.resume = resume;
    this.listener = listener;
    this.stop = stop;
  }

  /// What a dry run found out: the plan and how long the run would be.
  public record Plan(MemoryPlan memory, int steps, long trainable, LlamaConfig config) {}

  /// The memory plan of the run; nothing large is allocated.
  public Plan plan() {
    try (var model = open()) {
      var corpus = corpus(model);
      var steps = steps(corpus);
      return new Plan(memory(model, corpus, steps), steps.steps(), trainable(model), model.config());
    }
  }

  private long trainable(LanguageModel model) {
    var adapter = adapter(model);
    if (adapter.isEmpty()) return model.config().parameters();
    return Tuning.adapter(model.decoder(), adapter.get(), Region.measuring("adapter")).trained().elements();
  }

  /// A run that nobody watches or stops.
  public TrainingRun(Device device, Recipe recipe, Path folder) {
    this(device, recipe, folder, false, TrainingListener.NONE, () -> false);
  }

  /// Runs it.
  public Summary run() {
    if (!resume && Files.exists(folder)) throw new InvalidInput(folder + " holds another run", "choose another name with --name, or continue it with --resume " + folder);
    if (resume && !Files.isDirectory(folder)) throw new InvalidInput("there is no run in " + folder, "give the folder of an interrupted run");
    try (var model = open()) {
      model.notes().forEach(this::note);
      var corpus = corpus(model);
      corpus.notes().forEach(this::note);
      var steps = steps(corpus);
      var plan = memory(model, corpus, steps);
      listener.planned(plan);
      if (!resume) create();
      return train(model, corpus, steps, plan);
    }
  }

  private void create() {
    try {
      Files.createDirectories(folder);
    } catch (IOException e) {
      throw new InvalidInput("cannot create " + folder + ": " + e.getMessage(), "choose another folder with --set output.folder=…", e);
    }
    AtomicFile.write(folder.resolve("recipe.yaml"), RecipeFile.toYaml(recipe));
  }

  private void note(String line) {
    notes.add(line);
    listener.note(line);
  }

  private LanguageModel open() {
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
        a.normEps(), a.ropeTheta(), 1, a.tiedHead(), tokenizer.bos(), tokenizer.eos().stream().boxed().toList(), java.util.OptionalInt.empty(), "float32");
  }

  private Optional<AdapterConfig> adapter(LanguageModel model) {
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

  private Corpus corpus(LanguageModel model) {
    int context = Math.min(model.config().contextLength() - virtualTokens(model), recipe.data().maxLength().orElse(Integer.MAX_VALUE));
    return Corpus.of(recipe, new Examples(model.tokenizer(), new Llama2ChatForm(model.tokenizer())), context);
  }

  private int virtualTokens(LanguageModel model) {
    return adapter(model).map(c -> c instanceof PromptConfig p ? p.virtualTokens() : 0).orElse(0);
  }

  private StepPlan steps(Corpus corpus) {
    var t = recipe.training();
    int accumulation = t.batch() / t.microBatch();
    int longest = java.util.Arrays.stream(corpus.train().lengths()).max().orElse(1);
    Batching batching =
        recipe.data().pack() ? new Batching.Packed(Math.multiplyExact(longest, t.microBatch()), accumulation) : new Batching.Sequences(t.microBatch(), accumulation);
    return new StepPlan(corpus.train(), batching, t.seed(), t.epochs(), t.maxSteps());
  }

  private List<Batch> validation(Corpus corpus) {
    if (corpus.validation().size() == 0) return List.of();
    int longest = java.util.Arrays.stream(corpus.validation().lengths()).max().orElse(1);
    int micro = recipe.training().microBatch();
    var all = StepPlan.inOrder(corpus.validation(), micro, longest * micro);
    int batches = Math.max(1, recipe.evaluation().items() / micro);
    return all.subList(0, Math.min(all.size(), batches));
  }

  private MemoryPlan memory(LanguageModel model, Corpus corpus, StepPlan steps) {
    int tokens = steps.largest().tokens();
    int sequences = steps.largest().sequences();
    for (var b : validation(corpus)) {
      tokens = Math.max(tokens, b.ids().length);
      sequences = Math.max(sequences, b.sequences());
    }
    var shape = new MemoryPlan.Shape(model.config(), model.form(), adapter(model), recipe.training().checkpointing());
    var plan = MemoryPlan.of(shape, tokens, sequences);
    if (corpus.task().isEmpty()) return plan;
    var adapter = adapter(model);
    var decoder = adapter.isEmpty() ? model.decoder() : Tuning.adapter(model.decoder(), adapter.get(), Region.measuring("adapter")).decoder();
    return plan.generating(Generator.bytes(decoder, SLOTS, model.config().contextLength()));
  }

  private Summary train(LanguageModel model, Corpus corpus, StepPlan steps, MemoryPlan plan) {
    var method = adapter(model);
    boolean frozen = method.isPresent();
    var before = corpus.task().filter(_ -> resumed().isEmpty() && !frozen).map(t -> judge(t, model.decoder(), model, "before"));
    try (var training = device.reserve("training", plan.training())) {
      var tuning = method.map(c -> Tuning.adapter(model.decoder(), c, training)).orElseGet(() -> Tuning.full(model.decoder()));
      var loop = loop(model, corpus, steps, plan, tuning, training, accuracy(before));
      var task = corpus.task().filter(_ -> !loop.interrupted);
      // An adapter leaves the base as it was: it can be asked when everything is warm, and the first step comes sooner.
      if (frozen) before = task.map(t -> judge(t, model.decoder(), model, "before"));
      var after = task.map(t -> judge(t, tuning.decoder(), model, "after"));
      var result = save(model, tuning, loop.interrupted);
      var summary =
          new Summary(
              frozen ? accuracy(before) : loop.accuracyBefore, accuracy(after), loop.before, loop.after, loop.firstLoss, loop.lastLoss, loop.steps, loop.tokensPerSecond, plan.total(),
              model.bytes() + training.high() + Math.max(loop.stepBytes, generating), (System.nanoTime() - started) / 1e9, loop.firstStepSeconds,
              device.name(), Checkpoint.sha256(device, tuning.trained().map()), result.toString(), loop.interrupted, notes);
      summary.write(folder.resolve("summary.json"));
      return summary;
    }
  }

  private long generating;

  private static OptionalDouble accuracy(Optional<Task.Result> result) {
    return result.map(r -> OptionalDouble.of(r.score().accuracy())).orElse(OptionalDouble.empty());
  }

  private Task.Result judge(Task task, Decoder decoder, LanguageModel model, String when) {
    try (var generator = new Generator(device, decoder, model.tokenizer(), SLOTS, model.config().contextLength())) {
      var result = task.evaluate(generator, model.tokenizer(), done -> listener.judging(when, done, task.items()));
      generating = Math.max(generating, generator.bytes());
      listener.judged(when, result);
      return result;
    }
  }

  private Path save(LanguageModel model, Tuning tuning, boolean interrupted) {
    if (interrupted) return folder.resolve("checkpoints");
    var place = folder.resolve(tuning.adapter().isPresent() ? "adapter" : "model");
    tuning.adapter().ifPresentOrElse(a -> PeftAdapter.save(device, a, place), () -> model.save(place, 5_000_000_000L));
    return place;
  }

  /// What the loop leaves behind.
  private record Looped(
      OptionalDouble accuracyBefore, OptionalDouble before, OptionalDouble after, double firstLoss, double lastLoss, int steps, double tokensPerSecond, double firstStepSeconds,
      long stepBytes, boolean interrupted) {}

  private Looped loop(LanguageModel model, Corpus corpus, StepPlan steps, MemoryPlan plan, Tuning tuning, Region training, OptionalDouble accuracy) {
    var t = recipe.training();
    var settings = new Optimizer.Settings(t.beta1(), t.beta2(), t.eps(), t.weightDecay(), t.clip());
    tuning.adapter().ifPresent(a -> initialise(a, model, t.seed()));
    var optimizer = new Optimizer(device, training, tuning.trained(), settings);
    var resumed = resumed();
    resumed.ifPresent(c -> c.restore(device, tuning, optimizer));
    int from = resumed.map(c -> c.state().step()).orElse(0);
    try (var step = device.reserve("step", plan.step());
        var metrics = resume ? Metrics.resume(folder.resolve("metrics.jsonl"), resumed.isPresent() ? from : -1) : Metrics.create(folder.resolve("metrics.jsonl"));
        var events = EventFile.create(folder, from, InstantSource.system())) {
      var trainer = new Trainer(device, tuning, optimizer, step, t.checkpointing(), t.seed());
      var loop = new Loop(model.decoder(), trainer, tuning, optimizer, steps, validation(corpus), metrics, events, accuracy, resumed.map(Checkpoint::state));
      var done = loop.run(from, step);
      LossCurve.write(folder.resolve("loss.png"), folder.getFileName().toString(), Metrics.read(folder.resolve("metrics.jsonl")));
      return done;
    } catch (IOException e) {
      throw new InvalidInput("cannot write into " + folder + ": " + e.getMessage(), "free space; the last checkpoint is unharmed", e);
    }
  }

  /// What `--resume` continues from: nothing where the run was killed before its first checkpoint, so that it begins again.
  private Optional<Checkpoint> resumed() {
    return resume ? Checkpoint.newest(checkpoints()) : Optional.empty();
  }

  private void initialise(Adapter adapter, LanguageModel model, long seed) {
    switch (adapter) {
      case Lora l -> l.initialise(device, seed);
      case SoftPrompt s -> s.initialise(device, model.tokenizer(), seed);
    }
  }

  private Path checkpoints() {
    return folder.resolve("checkpoints");
  }

  /// The loop over steps with its evaluations and checkpoints.
  private final class Loop {
    final Decoder base;
    final Trainer trainer;
    final Tuning tuning;
    final Optimizer optimizer;
    final StepPlan plan;
    final List<Batch> validation;
    final Metrics metrics;
    final EventFile events;
    double firstLoss;
    double lastLoss;
    double bestLoss;
    int bestStep;
    int stale;
    int saved;
    final boolean continued;
    OptionalDouble accuracyBefore;
    OptionalDouble lossBefore;
    OptionalDouble lastEvaluated = OptionalDouble.empty();

    Loop(
        Decoder base, Trainer trainer, Tuning tuning, Optimizer optimizer, StepPlan plan, List<Batch> validation, Metrics metrics, EventFile events,
        OptionalDouble accuracy, Optional<Checkpoint.State> state) {
      this.base = base;
      this.trainer = trainer;
      this.tuning = tuning;
      this.optimizer = optimizer;
      this.plan = plan;
      this.validation = validation;
      this.metrics = metrics;
      this.events = events;
      this.continued = state.isPresent();
      this.saved = state.map(Checkpoint.State::step).orElse(-1);
      this.lastLoss = continued ? lastLoss() : Double.NaN;
      this.firstLoss = state.map(Checkpoint.State::firstLoss).orElse(Double.NaN);
      this.bestLoss = state.map(Checkpoint.State::bestLoss).orElse(Double.POSITIVE_INFINITY);
      this.bestStep = state.map(Checkpoint.State::bestStep).orElse(0);
      this.stale = state.map(Checkpoint.State::stale).orElse(0);
      this.accuracyBefore = state.map(s -> number(s.accuracyBefore())).orElse(accuracy);
      this.lossBefore = state.map(s -> number(s.lossBefore())).orElse(OptionalDouble.empty());
    }

    Looped run(int from, Region step) {
      var t = recipe.training();
      int steps = plan.steps();
      var schedule = new LrSchedule(t.schedule(), t.learningRate(), t.minLearningRate(), t.warmup(steps), steps);
      // An adapter leaves the base as it was: where there is one, the base is evaluated after the first step, which comes sooner.
      boolean frozen = tuning.adapter().isPresent();
      if (!continued && !frozen) lossBefore = evaluate(0, tuning.decoder());
      var after = lossBefore;
      listener.begins(from, steps);
      long begun = System.nanoTime();
      long tokens = 0;
      double firstStep = 0;
      int s = from;
      boolean early = false;
      while (s < steps && !early && !stop.getAsBoolean()) {
        double rate = schedule.at(s);
        var report = trainer.step(++s, plan.batches(s), rate);
        check(report, s);
        if (s == from + 1) firstStep = (System.nanoTime() - started) / 1e9;
        if (s == 1 && frozen && lossBefore.isEmpty()) lossBefore = evaluate(0, base);
        tokens += report.tokens();
        double speed = tokens / ((System.nanoTime() - begun) / 1e9);
        record(s, report, rate, speed);
        if (recipe.evaluation().every() > 0 && s % recipe.evaluation().every() == 0 && s < steps) {
          after = evaluate(s, tuning.decoder());
          early = recipe.evaluation().patience().isPresent() && stale >= recipe.evaluation().patience().getAsInt();
        }
        if (recipe.checkpoints().every() > 0 && s % recipe.checkpoints().every() == 0 && s < steps) save(s);
      }
      double speed = tokens / ((System.nanoTime() - begun) / 1e9);
      boolean interrupted = s < steps && !early;
      if (!interrupted && !early) after = evaluate(s, tuning.decoder());
      save(s);
      if (early) after = best(s);
      return new Looped(accuracyBefore, lossBefore, after, firstLoss, lastLoss, s, speed, firstStep, step.high(), interrupted);
    }

    /// Early stopping gives back the best checkpoint's parameters and their evaluation loss.
    private OptionalDouble best(int s) {
      var best = Checkpoint.list(checkpoints()).stream().filter(c -> c.state().step() == bestStep).findFirst();
      note("no better evaluation loss for " + stale + " evaluations: stopped after step " + s
          + (best.isPresent() ? ", taking step " + bestStep : "; no step was better than none, keeping the last"));
      best.ifPresent(c -> c.restore(device, tuning));
      return best.isPresent() ? OptionalDouble.of(bestLoss) : lastEvaluated;
    }

    /// The loss of the step a resumed run continues after.
    private double lastLoss() {
      return Metrics.read(folder.resolve("metrics.jsonl")).stream().map(l -> l.values().get("loss")).filter(Objects::nonNull).reduce((_, last) -> last).orElse(Double.NaN);
    }

    private void check(Trainer.Report report, int s) {
      if (Double.isFinite(report.loss()) && Double.isFinite(report.gradientNorm())) return;
      var last = saved >= 0 ? "the last good checkpoint is that of step " + saved : "there is no checkpoint yet";
      throw new InvalidInput(
          "step " + s + ": loss " + report.loss() + ", gradient norm " + report.gradientNorm() + "; the parameters were not changed, " + last,
          "lower training.learningRate, add warm-up, or look at the data of this step; --resume continues from the checkpoint");
    }

    private void record(int s, Trainer.Report report, double rate, double speed) {
      if (Double.isNaN(firstLoss)) firstLoss = report.loss();
      lastLoss = report.loss();
      var values = new LinkedHashMap<String, Double>();
      values.put("loss", report.loss());
      values.put("learning_rate", rate);
      values.put("gradient_norm", report.gradientNorm());
      values.put("tokens_per_second", speed);
      metrics.add(new Metrics.Line(s, values));
      events.add(s, Map.of("train/loss", report.loss(), "train/learning_rate", rate, "train/gradient_norm", report.gradientNorm()));
      listener.step(s, report, rate, speed);
    }

    private OptionalDouble evaluate(int s, Decoder decoder) {
      if (validation.isEmpty()) return OptionalDouble.empty();
      double loss = trainer.evaluate(decoder, validation);
      metrics.add(new Metrics.Line(s, Map.of("eval_loss", loss)));
      events.add(s, Map.of("eval/loss", loss));
      listener.evaluated(s, loss);
      lastEvaluated = OptionalDouble.of(loss);
      if (loss < bestLoss) {
        bestLoss = loss;
        bestStep = s;
        stale = 0;
        if (s > 0 && s < plan.steps()) save(s);
      } else {
        stale++;
      }
      return OptionalDouble.of(loss);
    }

    private void save(int s) {
      if (saved == s) return;
      var state = new Checkpoint.State(
              s, recipe.training().seed(), firstLoss, bestLoss, bestStep, stale, accuracyBefore.orElse(Double.NaN), lossBefore.orElse(Double.NaN));
      Checkpoint.write(checkpoints(), device, tuning, optimizer, state, recipe.checkpoints().keep());
      saved = s;
      listener.saved(checkpoints().resolve("step-%08d".formatted(s)));
    }
  }

  private static OptionalDouble number(double x) {
    return Double.isNaN(x) ? OptionalDouble.empty() : OptionalDouble.of(x);
  }

  /// A free folder `<base>-1`, `<base>-2`, … below `runs`.
  public static Path free(Path runs, String base) {
    Function<Integer, Path> numbered = i -> runs.resolve(base + "-" + i);
    int i = 1;
    while (Files.exists(numbered.apply(i))) i++;
    return numbered.apply(i);
  }
}
