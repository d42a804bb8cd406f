package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

import org.llmcore.InvalidInput;
import org.llmcore.data.sql.SqlTask;
import org.llmcore.eval.Task;
import org.llmcore.generate.Generator;
import org.llmcore.generate.Sampling;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.tensor.Region;

/// A model ready to be asked: a base, and an adapter on it if there is one.
///
/// @param decoder the base's, decorated by the adapter
/// @param sql whether prompts are `schema | question`, the form of the embedded SQL task
/// @param adapter where the adapter's weights lie
/// @param notes what was found in the files and is good to know
public record OpenModel(Device device, LanguageModel base, Decoder decoder, boolean sql, Region adapter, List<String> notes) implements AutoCloseable {
  /// What to open.
  /// @param model path of a model, or `embedded:sql-base`
  /// @param tokenizer where the tokenizer is, if not with the model
  /// @param adapter folder of a PEFT adapter
  /// @param sql see the model
  /// @param precision what the adapter was trained on, if that is in few bits; else f32
  public record Place(String model, Optional<String> tokenizer, Optional<Path> adapter, boolean sql, Precision precision) {
    /// Where a finished run left its result.
    /// @throws InvalidInput if the folder is no run, or has no result yet
    public static Place ofRun(Path run) {
      var file = run.resolve("recipe.yaml");
      if (!Files.exists(file)) throw new InvalidInput(run + " is no training run: it has no recipe.yaml", "give a folder such as runs/sql-lora-1");
      var recipe = recipe(file);
      boolean sql = recipe.data().source().embedded().equals(Optional.of("sql"));
      if (Files.isDirectory(run.resolve("model"))) return new Place(run.resolve("model").toString(), Optional.empty(), Optional.empty(), sql, Precision.F32);
      if (!Files.isDirectory(run.resolve("adapter"))) throw new InvalidInput(run + " has no result yet", "continue it: train --resume " + run);
      if (!(recipe.model() instanceof Recipe.Pretrained base)) throw new InvalidInput(run + " has an adapter but no base model", "name the model with --model");
      return new Place(base.source().text(), recipe.tokenizer().map(Recipe.Source::text), Optional.of(run.resolve("adapter")), sql, trainedOn(recipe));
    }

    /// What the adapter of a run was trained on: `f32` unless that is in few bits.
    /// @param adapter the adapter's folder; where it is not that of a run, f32
    public static Precision trainedOn(Path adapter) {
      var file = adapter.toAbsolutePath().resolveSibling("recipe.yaml");
      return adapter.endsWith("adapter") && Files.exists(file) ? trainedOn(recipe(file)) : Precision.F32;
    }

    private static Precision trainedOn(Recipe recipe) {
      var held = recipe.model().precision();
      return held.quantized() ? held : Precision.F32;
    }

    private static Recipe recipe(Path file) {
      try {
        return RecipeFile.read(file, List.of());
      } catch (IOException e) {
        throw new InvalidInput("cannot read " + file + ": " + e.getMessage(), "check its permissions", e);
      }
    }
  }

  /// Opens the result of a finished run; the device stays the caller's.
  public static OpenModel ofRun(Device device, Path run) {
    var place = Place.ofRun(run);
    return of(device, place, place.precision, false);
  }

  /// Opens what a place names; the device stays the caller's.
  /// @param int8 whether activations are rounded to eight bits where they meet weights in few (`Decoder.withInt8`)
  /// @throws InvalidInput if they nowhere do
  public static OpenModel of(Device device, Place place, Precision precision, boolean int8) {
    var base = LanguageModel.open(device, Embedded.path(place.model), place.tokenizer.map(Embedded::path), precision, false);
    var region = device.growing("adapter");
    try {
      if (int8 && !base.decoder().fewBits()) {
        throw new InvalidInput("activations cannot be in eight bits: the model has no weights in few bits", "leave --int8-activations out, or open a quantized model");
      }
      var decoder = int8 ? base.decoder().withInt8() : base.decoder();
      var notes = new ArrayList<>(base.notes());
      if (place.adapter.isPresent()) {
        var attached = PeftAdapter.attach(device, decoder, place.adapter.get(), region);
        decoder = attached.decoder();
        notes.addAll(attached.notes());
      }
      return new OpenModel(device, base, decoder, place.sql, region, List.copyOf(notes));
    } catch (RuntimeException e) {
      region.close();
      base.close();
      throw e;
    }
  }

  /// Ids of a prompt as this model wants it.
  public int[] prompt(String text) {
    return Task.withBos(base.tokenizer(), sql ? SqlTask.prompt(text) : text);
  }

  /// A generator that answers `slots` requests at a time.
  public Generator generator(int slots) {
    return new Generator(device, decoder, base.tokenizer(), slots, base.config().contextLength());
  }

  /// The likeliest continuation of a prompt. To ask many times, keep a `generator`.
  public String complete(String prompt, int maxNewTokens) {
    try (var generator = generator(1)) {
      return generator.generate(new Generator.Request(prompt(prompt), maxNewTokens, Sampling.GREEDY, List.of(), Generator.Listener.NONE)).text().strip();
    }
  }

  @Override
  public void close() {
    adapter.close();
    base.close();
  }
}
