package org.llmcore.train;

import java.io.IOException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.BooleanSupplier;
import java.util.function.Function;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.checkpoint.LlamaConfig;
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

/// A whole run: a recipe becomes a model, data, a memory plan, steps, evaluations, checkpoints and a result in a run folder.
///
/// | in `runs/<name>/`   | what                                                        |
/// |---------------------|-------------------------------------------------------------|
/// | `recipe.yaml`       | the recipe as resolved                                      |
/// | `lock`              | empty; held while a process works in the folder             |
/// | `adapter/` or `model/` | the result, as PEFT or transformers load it              |
/// | `checkpoints/`      | what `--resume` continues from                              |
/// | `metrics.jsonl`, `events.*`, `loss.png`, `summary.json` | what happened           |
public final class TrainingRun {
  private final Device device;
  private final Recipe recipe;
  private final Path folder;
  private final TrainingListener listener;
  private final BooleanSupplier stop;
  private final boolean resume;
  private final List<String> notes = new ArrayList<>();
  private final long started = System.nanoTime();
  private long passing; // bytes that steps or evaluations held at most

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
    try (var setup = Setup.of(device, recipe)) {
      return new Plan(setup.memory(), setup.steps().steps(), setup.trainable(), setup.model().config());
    }
  }

  /// A run that nobody watches or stops.
  public TrainingRun(Device device, Recipe recipe, Path folder) {
    this(device, recipe, folder, false, TrainingListener.NONE, () -> false);
  }

  /// Runs it.
  public Summary run() {
    if (!resume && Files.exists(folder)) throw another();
    if (resume && !Files.isDirectory(folder)) throw new InvalidInput("there is no run in " + folder, "give the folder of an interrupted run");
    if (resume) {
      try (var _ = RunLock.of(folder); var setup = opened()) {
        return train(setup);
      }
    }
    try (var setup = opened()) {
      create();
      try (var _ = RunLock.of(folder)) {
        AtomicFile.write(folder.resolve("recipe.yaml"), RecipeFile.toYaml(recipe));
        return train(setup);
      }
    }
  }

  private Setup opened() {
    var setup = Setup.of(device, recipe);
    setup.model().notes().forEach(this::note);
    setup.corpus().notes().forEach(this::note);
    listener.planned(setup.memory());
    return setup;
  }

  private InvalidInput another() {
    return new InvalidInput(folder + " holds another run", "choose another name with --name, or continue it with --resume " + folder);
  }

  private void create() {
    try {
      Files.createDirectories(folder.toAbsolutePath().getParent());
      Files.createDirectory(folder);
    } catch (FileAlreadyExistsException _) {
      throw another();
    } catch (IOException e) {
      throw new InvalidInput("cannot create " + folder + ": " + e.getMessage(), "choose another folder with --set output.folder=…", e);
    }
  }

  private void note(String line) {
    notes.add(line);
    listener.note(line);
  }

  private Summary train(Setup setup) {
    var model = setup.model();
    boolean frozen = setup.adapter().isPresent();
    var checkpoint = resume ? Checkpoint.newest(checkpoints()) : Optional.<Checkpoint>empty(); // none if it was killed before its first
    var before = setup.corpus().task().filter(_ -> checkpoint.isEmpty() && !frozen).map(t -> judge(t, model.decoder(), model, "before"));
    try (var training = device.reserve("training", setup.memory().training())) {
      var tuning = setup.adapter().map(c -> Tuning.adapter(model.decoder(), c, training)).orElseGet(() -> Tuning.full(model.decoder()));
      var loop = loop(setup, tuning, training, accuracy(before), checkpoint);
      loop.note().ifPresent(this::note);
      var task = setup.corpus().task().filter(_ -> !loop.interrupted());
      // An adapter leaves the base as it was: it can be asked when everything is warm, and the first step comes sooner.
      if (frozen) before = task.map(t -> judge(t, model.decoder(), model, "before"));
      var after = task.map(t -> judge(t, tuning.decoder(), model, "after"));
      var result = save(model, tuning, loop.interrupted());
      var summary =
          new Summary(
              frozen ? accuracy(before) : loop.accuracyBefore(), accuracy(after), loop.lossBefore(), loop.lossAfter(), loop.firstLoss(), loop.lastLoss(),
              loop.steps(), loop.tokensPerSecond(), setup.memory().total(), model.bytes() + training.high() + passing, seconds(System.nanoTime()),
              loop.firstStepDone() == 0 ? 0 : seconds(loop.firstStepDone()), device.name(), Checkpoint.sha256(device, tuning.trained().map()),
              result.toString(), loop.interrupted(), notes);
      summary.write(folder.resolve("summary.json"));
      return summary;
    }
  }

  private double seconds(long time) {
    return (time - started) / 1e9;
  }

  private static OptionalDouble accuracy(Optional<Task.Result> result) {
    return result.map(r -> OptionalDouble.of(r.score().accuracy())).orElse(OptionalDouble.empty());
  }

  private Task.Result judge(Task task, Decoder decoder, LanguageModel model, String when) {
    try (var generator = new Generator(device, decoder, model.tokenizer(), Setup.SLOTS, model.config().contextLength())) {
      var result = task.evaluate(generator, model.tokenizer(), done -> listener.judging(when, done, task.items()));
      passing = Math.max(passing, generator.bytes());
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

  private TrainingLoop.Result loop(Setup setup, Tuning tuning, Region training, OptionalDouble accuracy, Optional<Checkpoint> checkpoint) {
    var t = recipe.training();
    tuning.adapter().ifPresent(a -> initialise(a, setup.model(), t.seed()));
    var optimizer = new Optimizer(device, training, tuning.trained(), new Optimizer.Settings(t.beta1(), t.beta2(), t.eps(), t.weightDecay(), t.clip()));
    checkpoint.ifPresent(c -> c.restore(device, tuning, optimizer));
    var state = checkpoint.map(Checkpoint::state);
    var around = new TrainingLoop.Surroundings(device, checkpoints(), listener, stop);
    try (var step = device.reserve("step", setup.memory().step());
        var log = resume ? RunLog.resume(folder, listener, state.map(Checkpoint.State::step)) : RunLog.create(folder, listener)) {
      var trainer = new Trainer(device, tuning, optimizer, step, t.checkpointing(), t.seed());
      var result = new TrainingLoop(around, setup, trainer, tuning, optimizer, log, accuracy, state).run();
      log.plot();
      passing = Math.max(passing, step.high());
      return result;
    } catch (IOException e) {
      throw new InvalidInput("cannot write into " + folder + ": " + e.getMessage(), "free space; the last checkpoint is unharmed", e);
    }
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

  /// A free folder `<base>-1`, `<base>-2`, … below `runs`.
  public static Path free(Path runs, String base) {
    Function<Integer, Path> numbered = i -> runs.resolve(base + "-" + i);
    int i = 1;
    while (Files.exists(numbered.apply(i))) i++;
    return numbered.apply(i);
  }
}
