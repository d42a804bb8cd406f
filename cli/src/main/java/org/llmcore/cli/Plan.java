package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.ParentCommand;

import org.llmcore.Devices;
import org.llmcore.train.RecipeFile;
import org.llmcore.train.TrainingListener;
import org.llmcore.train.TrainingRun;

/// `plan`: what a recipe would need.
@Command(
    name = "plan",
    description = {"Says before anything is trained how much memory a recipe needs, by lifetime, how many steps it takes and what share of the parameters it trains.", "The run keeps the plan: it reserves exactly this."},
    footer = {"Example:", "  plan my.yaml --set training.microBatch=4 --set training.checkpointing=true"})
final class Plan implements Callable<Integer> {
  @ParentCommand private Main main;

  @Parameters(arity = "0..1", paramLabel = "RECIPE", description = "recipe file; without one, the embedded default")
  private Optional<Path> recipe = Optional.empty();

  @Option(names = "--set", paramLabel = "KEY=VALUE", description = "changes one value of the recipe; may be repeated")
  private List<String> set = new ArrayList<>();

  @Override
  public Integer call() throws IOException {
    var resolved = recipe.isPresent() ? RecipeFile.read(recipe.get(), set) : RecipeFile.parse(Train.embedded("sql-lora.yaml"), "the embedded recipe", set);
    var console = main.console();
    try (var device = Devices.open()) {
      var plan = new TrainingRun(device, resolved, Path.of("."), false, TrainingListener.NONE, () -> false).plan();
      long all = plan.config().parameters();
      if (!console.json()) {
        console.print(String.format(Locale.ROOT, "model     %,d parameters; %,d trained (%.3f %%)%n", all, plan.trainable(), 100.0 * plan.trainable() / all));
        console.print("steps     " + plan.steps() + "\n");
        for (var line : plan.memory().lines()) console.print(line + "\n");
      }
      var out = new LinkedHashMap<String, Object>();
      out.put("parameters", all);
      out.put("trainable", plan.trainable());
      out.put("steps", plan.steps());
      out.put("weights_bytes", plan.memory().weights());
      out.put("training_bytes", plan.memory().training());
      out.put("step_bytes", plan.memory().step());
      out.put("generation_bytes", plan.memory().generation());
      out.put("peak_bytes", plan.memory().total());
      console.object(out);
    }
    return 0;
  }
}
