package org.llmcore.cli;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.ParentCommand;

import org.llmcore.InvalidInput;
import org.llmcore.eval.Task;
import org.llmcore.train.MemoryPlan;
import org.llmcore.train.Recipe;
import org.llmcore.train.RecipeFile;
import org.llmcore.train.Summary;
import org.llmcore.train.Trainer;
import org.llmcore.train.TrainingListener;
import org.llmcore.train.TrainingRun;

/// `train`: a recipe becomes a run.
@Command(
    name = "train",
    description = {
      "Trains a model as a recipe says: LoRA or full fine-tuning, continued pre-training, or from scratch.",
      "Without a recipe it fine-tunes the embedded base model to write SQL and shows what it learned, in about a minute."
    },
    footer = {
      "Examples:",
      "  train                                          the embedded default",
      "  train my.yaml --set training.learningRate=1e-4 a recipe, with one value changed",
      "  train my.yaml --max-steps 20                   start small",
      "  train --resume runs/sql-lora-1                 continue an interrupted run, bit for bit"
    })
final class Train implements Callable<Integer> {
  @ParentCommand private Main main;

  @Parameters(arity = "0..1", paramLabel = "RECIPE", description = "recipe file (YAML); see recipes/ and docs/recipes.md")
  private Optional<Path> recipe = Optional.empty();

  @Option(names = "--set", paramLabel = "KEY=VALUE", description = "changes one value of the recipe; may be repeated")
  private List<String> set = new ArrayList<>();

  @Option(names = "--max-steps", paramLabel = "N", description = "stop after N optimizer steps (training.maxSteps)")
  private Optional<Integer> maxSteps = Optional.empty();

  @Option(names = "--epochs", paramLabel = "X", description = "passes over the data, fractions allowed (training.epochs)")
  private Optional<Double> epochs = Optional.empty();

  @Option(names = "--name", paramLabel = "NAME", description = "name of the run's folder (output.name)")
  private Optional<String> name = Optional.empty();

  @Option(names = "--resume", paramLabel = "DIR", description = "continue this run from its newest checkpoint")
  private Optional<Path> resume = Optional.empty();

  @Mixin private OnDevice where = new OnDevice();

  @Override
  public Integer call() throws IOException {
    if (resume.isPresent() && recipe.isPresent()) throw new InvalidInput("both a recipe and --resume are given", "a run knows its recipe; give one of them");
    var overrides = new ArrayList<>(set);
    maxSteps.ifPresent(n -> overrides.add("training.maxSteps=" + n));
    epochs.ifPresent(x -> overrides.add("training.epochs=" + x));
    name.ifPresent(n -> overrides.add("output.name=" + n));
    var resolved = resolve(overrides);
    var folder = resume.orElseGet(() -> folder(resolved));
    var console = main.console();
    var stop = new Interrupt();
    Summary summary;
    var threads = resolved.training().threads();
    var device = where.open(threads.isPresent() ? Optional.of(threads.getAsInt()) : Optional.empty());
    try (device;
        var screen = new Screen(console)) {
      console.say(console.bold("llm-core") + " trains on " + device.name());
      summary = new TrainingRun(device, resolved, folder, resume.isPresent(), screen, stop).run();
      screen.close();
      report(console, screen, summary, folder);
    }
    if (summary.interrupted()) return Interrupt.CODE;
    return 0;
  }

  private Recipe resolve(List<String> overrides) throws IOException {
    if (resume.isPresent()) {
      var file = resume.get().resolve("recipe.yaml");
      if (!Files.exists(file)) throw new InvalidInput(resume.get() + " is no run: it has no recipe.yaml", "give the folder of an interrupted run");
      return RecipeFile.read(file, overrides);
    }
    if (recipe.isPresent()) return RecipeFile.read(recipe.get(), overrides);
    return RecipeFile.parse(embedded("sql-lora.yaml"), "the embedded recipe", overrides);
  }

  /// A recipe in the jar.
  static String embedded(String name) throws IOException {
    try (InputStream in = Train.class.getResourceAsStream("/org/llmcore/recipes/" + name)) {
      if (in == null) throw new IllegalStateException("the jar lacks the recipe " + name);
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
  }

  private static Path folder(Recipe recipe) {
    var runs = Path.of(recipe.output().folder());
    if (recipe.output().name().isPresent()) return runs.resolve(recipe.output().name().get());
    var method = switch (recipe.method()) {
      case Recipe.LowRank _ -> "lora";
      case Recipe.SoftPrompt _ -> "prompt";
      case Recipe.Full _ -> "full";
    };
    var source = recipe.data().source();
    var file = Path.of(source.embedded().orElse(source.text())).getFileName().toString();
    return TrainingRun.free(runs, file.replaceAll("\\.[A-Za-z0-9]+$", "").replaceAll("[^A-Za-z0-9_-]", "-") + "-" + method);
  }

  private void report(Console console, Screen screen, Summary s, Path folder) {
    if (s.interrupted()) {
      console.say("stopped after step " + s.steps() + "; everything is saved. Continue with");
      console.say(console.bold("  java -jar llm-core.jar train --resume " + folder));
    } else {
      screen.examples();
      console.say("");
      s.evalLossAfter().ifPresent(after -> console.say(String.format(Locale.ROOT, "evaluation loss %.4f before, %.4f after", s.evalLossBefore().orElse(Double.NaN), after)));
      if (s.accuracyAfter().isPresent()) {
        console.say(String.format(Locale.ROOT, "accuracy %s before, %s after", screen.percent(s.accuracyBefore().orElse(Double.NaN)), console.green(screen.percent(s.accuracyAfter().getAsDouble()))));
      }
      console.say(String.format(Locale.ROOT, "%d steps, loss %.4f → %.4f, %,.0f tokens/s, %.1f s; peak memory %s of %s planned", s.steps(), s.firstLoss(), s.lastLoss(),
          s.tokensPerSecond(), s.wallSeconds(), MemoryPlan.megabytes(s.peakBytes()).strip(), MemoryPlan.megabytes(s.plannedPeakBytes()).strip()));
      console.say("");
      console.say("result       " + s.result());
      console.say("in " + folder + ": recipe.yaml, metrics.jsonl, TensorBoard events, loss.png, checkpoints/");
      console.say("");
      console.say("now try");
      console.say(console.bold("  java -jar llm-core.jar generate --run " + folder + " " + screen.suggestion()));
      console.say("");
    }
    console.print("summary      " + folder.resolve("summary.json") + "\n");
    console.object(s.json().put("run", folder.toString()).put("summary", folder.resolve("summary.json").toString()));
  }

  /// What a person sees of a run.
  private static final class Screen implements TrainingListener, AutoCloseable {
    private final Console console;
    private Optional<Progress> progress = Optional.empty();
    private Optional<Task.Result> before = Optional.empty();
    private Optional<Task.Result> after = Optional.empty();

    Screen(Console console) {
      this.console = console;
    }

    @Override
    public void note(String line) {
      console.say(line);
    }

    @Override
    public void planned(MemoryPlan plan) {
      console.say(console.bold("memory plan"));
      plan.lines().forEach(l -> console.say("  " + l));
      long memory = Machine.total();
      if (plan.total() <= memory) return;
      throw new InvalidInput(
          "the run needs " + MemoryPlan.megabytes(plan.total()).strip() + ", this machine has " + MemoryPlan.megabytes(memory).strip(),
          "lower training.microBatch or data.maxLength, or set training.checkpointing: true or model.precision: bf16");
    }

    @Override
    public void begins(int from, int steps) {
      close();
      if (from > 0) console.say("continuing after step " + from);
      progress = Optional.of(Progress.of(console, "training", steps));
    }

    @Override
    public void step(int step, Trainer.Report r, double rate, double speed) {
      progress.ifPresent(p -> p.step(step, r.loss(), rate, r.gradientNorm(), speed));
    }

    @Override
    public void evaluated(int step, double loss) {
      if (!console.animated()) console.say(String.format(Locale.ROOT, "evaluation loss after step %d: %.4f", step, loss));
    }

    @Override
    public void judging(String when, int done, int items) {
      if (progress.isEmpty()) progress = Optional.of(Progress.of(console, "evaluating " + when, items));
      progress.get().advance(done, "");
    }

    @Override
    public void judged(String when, Task.Result result) {
      close();
      console.say("accuracy " + when + " training: " + console.bold(result.score().toString()));
      if (when.equals("before")) before = Optional.of(result);
      else after = Optional.of(result);
    }

    String percent(double accuracy) {
      return String.format(Locale.ROOT, "%.1f %%", 100 * accuracy);
    }

    /// Three questions with the answers before and after.
    void examples() {
      if (before.isEmpty() || after.isEmpty()) return;
      console.say("");
      for (int i = 0; i < Math.min(3, after.get().answers().size()); i++) {
        var a = after.get().answers().get(i * 5 % after.get().answers().size());
        console.say(console.bold(a.prompt()));
        console.say("  before  " + console.dim(before.get().answers().get(i * 5 % after.get().answers().size()).text()));
        console.say("  after   " + (a.right() ? console.green(a.text()) : console.red(a.text())));
      }
    }

    String suggestion() {
      return after.isPresent() ? "\"singers(name text, age number) | how many singers are there with age above 30\"" : "\"Once upon a time\"";
    }

    @Override
    public void close() {
      progress.ifPresent(Progress::close);
      progress = Optional.empty();
    }
  }
}
