package org.llmcore.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

import picocli.CommandLine.Option;

import org.llmcore.Devices;
import org.llmcore.InvalidInput;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.tensor.Region;
import org.llmcore.train.Embedded;
import org.llmcore.train.Recipe;

/// The options with which a verb names a model: a path, an adapter on it, or a run that says both.
final class Opening {
  @Option(names = {"-m", "--model"}, paramLabel = "PATH", description = "Hugging Face folder, llama2.c .bin, or embedded:sql-base")
  private Optional<String> model = Optional.empty();

  @Option(names = {"-a", "--adapter"}, paramLabel = "DIR", description = "LoRA adapter in PEFT's form, used on the model")
  private Optional<Path> adapter = Optional.empty();

  @Option(names = {"-t", "--tokenizer"}, paramLabel = "PATH", description = "tokenizer file or folder, if it is not with the model")
  private Optional<String> tokenizer = Optional.empty();

  @Option(names = {"-r", "--run"}, paramLabel = "DIR", description = "folder of a finished training run: its model and adapter")
  private Optional<Path> run = Optional.empty();

  @Option(names = "--precision", paramLabel = "P", defaultValue = "f32", description = "f32, bf16-weights or bf16 (default: ${DEFAULT-VALUE})")
  private String precision = "f32";

  @Option(names = "--threads", paramLabel = "N", description = "worker threads (default: one per core); never changes a result")
  private Optional<Integer> threads = Optional.empty();

  /// A model ready to be asked.
  record Opened(Device device, LanguageModel model, Decoder decoder, Optional<Region> adapterRegion) implements AutoCloseable {
    @Override
    public void close() {
      adapterRegion.ifPresent(Region::close);
      model.close();
      device.close();
    }
  }

  private record Place(String model, Optional<String> tokenizer, Optional<Path> adapter) {}

  /// The device of this command.
  Device device() {
    return threads.map(Devices::open).orElseGet(Devices::open);
  }

  /// Opens what the options name.
  Opened open() {
    var place = place();
    var device = device();
    try {
      var path = Embedded.path(place.model);
      var language = LanguageModel.open(device, path, place.tokenizer.map(Embedded::path), Precision.parse(precision), false);
      if (place.adapter.isEmpty()) return new Opened(device, language, language.decoder(), Optional.empty());
      var region = Region.growing("adapter");
      var lora = PeftAdapter.load(device, language.decoder(), place.adapter.get(), region);
      return new Opened(device, language, lora.decoder(), Optional.of(region));
    } catch (RuntimeException e) {
      device.close();
      throw e;
    }
  }

  private Place place() {
    if (run.isEmpty()) {
      var m = model.orElseThrow(() -> new InvalidInput("no model is named", "give --model PATH, or --run DIR of a training run"));
      return new Place(m, tokenizer, adapter);
    }
    if (model.isPresent()) throw new InvalidInput("both --run and --model are given", "a run knows its model; give one of them");
    var folder = run.get();
    if (!Files.exists(folder.resolve("recipe.yaml"))) throw new InvalidInput(folder + " is no training run: it has no recipe.yaml", "give a folder such as runs/sql-lora-1");
    if (Files.isDirectory(folder.resolve("model"))) return new Place(folder.resolve("model").toString(), tokenizer, Optional.empty());
    if (!Files.isDirectory(folder.resolve("adapter"))) throw new InvalidInput(folder + " has no result yet", "continue it: train --resume " + folder);
    Recipe recipe;
    try {
      recipe = RecipeFile.read(folder.resolve("recipe.yaml"), List.of());
    } catch (java.io.IOException e) {
      throw new InvalidInput("cannot read the recipe of " + folder + ": " + e.getMessage(), "check its permissions", e);
    }
    if (!(recipe.model() instanceof Recipe.Pretrained base)) throw new InvalidInput(folder + " has an adapter but no base model", "name the model with --model");
    return new Place(base.source().text(), tokenizer.or(() -> recipe.tokenizer().map(Recipe.Source::text)), Optional.of(folder.resolve("adapter")));
  }

  /// Whether the run was tuned on the embedded SQL task, whose prompts have a form of their own.
  boolean sql() {
    try {
      return run.isPresent() && Files.readString(run.get().resolve("recipe.yaml")).contains("embedded:sql");
    } catch (java.io.IOException _) {
      return false;
    }
  }
}
