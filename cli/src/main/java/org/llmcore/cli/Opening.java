package org.llmcore.cli;

import java.nio.file.Path;
import java.util.Optional;

import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

import org.llmcore.InvalidInput;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.train.OpenModel;

/// The options with which a verb names a model: a path, an adapter on it, or a run that says both.
final class Opening {
  @Option(names = {"-m", "--model"}, paramLabel = "PATH", description = "Hugging Face folder, GGUF file, llama2.c .bin, or embedded:sql-base")
  private Optional<String> model = Optional.empty();

  @Option(names = {"-a", "--adapter"}, paramLabel = "DIR", description = "LoRA adapter or soft prompt in PEFT's form, used on the model")
  private Optional<Path> adapter = Optional.empty();

  @Option(names = {"-t", "--tokenizer"}, paramLabel = "PATH", description = "tokenizer file or folder, if it is not with the model")
  private Optional<String> tokenizer = Optional.empty();

  @Option(names = {"-r", "--run"}, paramLabel = "DIR", description = "folder of a finished training run: its model and adapter")
  private Optional<Path> run = Optional.empty();

  @Option(names = "--precision", paramLabel = "P", description = "f32, bf16-weights, bf16, nf4, nf4-double, nf4-bf16 or nf4-double-bf16 (default: f32, or what the run was trained on if that is in few bits)")
  private Optional<String> precision = Optional.empty();

  @Option(names = "--int8-activations", description = "where weights are in few bits, round activations to eight (32 neighbours share a scale): decodes faster on CPUs with AVX-512 VNNI, moves logits a little")
  private boolean int8;

  @Option(names = "--threads", paramLabel = "N", description = "worker threads (default: one per core); never changes a result")
  private Optional<Integer> threads = Optional.empty();

  @Mixin private OnDevice where = new OnDevice();

  /// The same options, where a model need not be named.
  Opening or(String usual) {
    if (model.isEmpty() && run.isEmpty()) model = Optional.of(usual);
    return this;
  }

  /// The device of this command.
  Device device() {
    return where.open(threads);
  }

  /// A model and the device it runs on.
  record Opened(OpenModel open) implements AutoCloseable {
    Device device() {
      return open.device();
    }

    LanguageModel model() {
      return open.base();
    }

    Decoder decoder() {
      return open.decoder();
    }

    @Override
    public void close() {
      open.close();
      open.device().close();
    }
  }

  /// Opens what the options name, and tells what is odd about the files.
  Opened open(Console console) {
    var place = place();
    var device = device();
    try {
      var opened = new Opened(OpenModel.of(device, place, precision.map(Precision::parse).orElse(place.precision()), int8));
      opened.open().notes().forEach(console::warn);
      return opened;
    } catch (RuntimeException e) {
      device.close();
      throw e;
    }
  }

  private OpenModel.Place place() {
    if (run.isPresent() && model.isPresent()) throw new InvalidInput("both --run and --model are given", "a run knows its model; give one of them");
    if (run.isPresent() && tokenizer.isPresent()) {
      throw new InvalidInput("both --run and --tokenizer are given", "a run knows its tokenizer; name the model by --model to use another");
    }
    if (run.isPresent() && adapter.isPresent()) {
      throw new InvalidInput("both --run and --adapter are given", "a run knows its adapter; name the model by --model to use another");
    }
    if (run.isPresent()) return OpenModel.Place.ofRun(run.get());
    var m = model.orElseThrow(() -> new InvalidInput("no model is named", "give --model PATH, or --run DIR of a training run"));
    return new OpenModel.Place(m, tokenizer, adapter, false, adapter.map(OpenModel.Place::trainedOn).orElse(Precision.F32));
  }
}
