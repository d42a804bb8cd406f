package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParentCommand;

import org.llmcore.Devices;
import org.llmcore.InvalidInput;
import org.llmcore.flags.Flags;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.quantize.Calibration;
import org.llmcore.quantize.Comparison;
import org.llmcore.quantize.ModelQuantizer;
import org.llmcore.quantize.Receipt;
import org.llmcore.quantize.Settings;
import org.llmcore.quantize.Source;
import org.llmcore.quantize.Team;
import org.llmcore.train.Embedded;

/// `quantize`: a model in 8, 4, 3 or 2 bits per weight, and what that cost.
@Command(
    name = "quantize",
    description = {
      "Quantizes the linear layers of a model, by GPTQ on calibration text or by rounding to nearest, and writes a checkpoint in",
      "GPTQ's format, which this program, AutoGPTQ, GPTQModel, transformers and vLLM read. The model is streamed block by block.",
      "In the folder lie quantize-report.json and .html: the error of each layer, and on text apart perplexity, KL divergence",
      "and agreement with the original."
    },
    footer = {
      "Examples:", "  quantize --model DIR --bits 4 --group 128 --calibration c4.jsonl --out DIR-4bit",
          "  quantize --model DIR --bits 3 --group 64 --act-order --calibration chat.jsonl --eval wiki.txt --out DIR-3bit",
          "  quantize --model DIR --method rtn --bits 8 --out DIR-8bit", "",
          "Four bits in groups of 128 are the usual choice. Three need a large model; two are rarely usable, and the report",
          "says so."
    })
final class Quantize implements Callable<Integer> {
  @ParentCommand private Main main;

  @Option(names = {"-m", "--model"}, required = true, paramLabel = "PATH",
      description = "Hugging Face folder, GGUF file, llama2.c .bin, or embedded:sql-base")
  private String model;

  @Option(names = {"-t", "--tokenizer"}, paramLabel = "PATH",
      description = "tokenizer file or folder, if it is not with the model")
  private Optional<String> tokenizer = Optional.empty();

  @Option(names = "--method", paramLabel = "M", defaultValue = "gptq",
      description = "gptq or rtn, round to nearest (default: ${DEFAULT-VALUE})")
  private Settings.Method method;

  @Option(names = {"-b", "--bits"}, paramLabel = "B", defaultValue = "4",
      description = "2, 3, 4 or 8 (default: ${DEFAULT-VALUE})")
  private int bits;

  @Option(names = {"-g", "--group"}, paramLabel = "G", defaultValue = "128",
      description = "inputs that share a scale: 32, 64, 128, or -1 for whole rows (default: ${DEFAULT-VALUE})")
  private int group;

  @Option(names = "--sym", description = "symmetric grids: what the fastest serving kernels ask for")
  private boolean symmetric;

  @Option(names = "--act-order", description = "columns with large inputs first: better, above all with few bits")
  private boolean actOrder;

  @Option(names = "--static-groups",
      description = "with --act-order: groups stay neighbours, so that inference need not look them up")
  private boolean staticGroups;

  @Option(names = "--mse", description = "grids by least error instead of by range; slower")
  private boolean mse;

  @Option(names = "--damp", paramLabel = "D", defaultValue = "0.01",
      description = "damping, relative to the mean diagonal of the Hessian; raised where needed (default: ${DEFAULT-VALUE})")
  private double damp;

  @Option(names = {"-c", "--calibration"}, paramLabel = "FILE",
      description = "text, or JSON lines of chat or documents, like what the model will see")
  private Optional<Path> calibration = Optional.empty();

  @Option(names = {"-n", "--samples"}, paramLabel = "N", defaultValue = "128",
      description = "calibration sequences (default: ${DEFAULT-VALUE})")
  private int samples;

  @Option(names = {"-l", "--length"}, paramLabel = "L",
      description = "tokens per sequence (default: 2048, or the model's context if that is less)")
  private Optional<Integer> length = Optional.empty();

  @Option(names = "--eval", paramLabel = "FILE",
      description = "text to judge the result by (default: sequences of the calibration file that were not used)")
  private Optional<Path> eval = Optional.empty();

  @Option(names = "--seed", paramLabel = "S", defaultValue = "1",
      description = "chooses the sequences (default: ${DEFAULT-VALUE})")
  private long seed;

  @Option(names = "--threads", paramLabel = "N", description = "worker threads (default: one per core); never changes a result")
  private Optional<Integer> threads = Optional.empty();

  @Option(names = {"-o", "--out"}, required = true, paramLabel = "DIR", description = "the folder to write; must not exist")
  private Path out;

  @Override
  public Integer call() throws IOException {
    if (Files.exists(out)) throw new InvalidInput(out + " exists", "choose another folder; nothing is overwritten");
    var settings = new Settings(method, bits, group, symmetric, actOrder, staticGroups, mse, damp);
    int workers = threads.orElseGet(Flags::threads);
    long start = System.nanoTime();
    var path = Embedded.path(model);
    try (var device = Devices.open(workers); var team = new Team(workers)) {
      Calibration text;
      ModelQuantizer.Result result;
      try (var source = Source.open(path, tokenizer.map(Embedded::path))) {
        text = text(source);
        try (var progress = Progress.of(main.console(), "quantizing", 7L * source.config().layers())) {
          result = ModelQuantizer.quantize(device, team, source, settings, text.text(), out, (done, _, l) ->
              progress.advance(done, describe(l)));
        }
      }
      double seconds = (System.nanoTime() - start) / 1e9;
      var comparison = text.heldOut().isEmpty() ? Optional.<Comparison>empty()
          : Optional.of(compare(device, team, path, text.heldOut()));
      var receipt = new Receipt(model, settings, text.tokens(), result.layers(), comparison, weights(path), weights(out), seconds,
          result.notes());
      receipt.write(out);
      show(receipt);
    }
    return 0;
  }

  private Calibration text(Source source) {
    int l = Math.min(length.orElse(2048), source.config().contextLength());
    var held = eval.map(f -> {
      var all = Calibration.sequences(f, source.tokenizer(), l);
      return all.subList(0, Math.min(16, all.size()));
    });
    if (calibration.isEmpty()) return new Calibration(List.of(), held.orElse(List.of()));
    var text = Calibration.of(calibration.get(), source.tokenizer(), l, samples, held.isEmpty(), seed);
    int widest = Math.max(source.config().hidden(), source.config().intermediate());
    if (text.tokens() < widest) {
      main.console().say(String.format(Locale.ROOT,
          "%,d calibration tokens for layers of %,d inputs: more text gives a better model", text.tokens(), widest));
    }
    return new Calibration(text.text(), held.orElse(text.heldOut()));
  }

  private static String describe(ModelQuantizer.Layer l) {
    var name = l.name().replace("model.layers.", "");
    if (l.error().isEmpty()) return name;
    return String.format(Locale.ROOT, "%s  error %.2e (nearest %.2e)", name, l.error().getAsDouble(), l.roundToNearest()
        .getAsDouble());
  }

  private Comparison compare(Device device, Team team, Path path, List<int[]> heldOut) {
    try (var before = LanguageModel.open(device, path, tokenizer.map(Embedded::path), Precision.F32, false);
        var after = LanguageModel.open(device, out, Optional.empty(), Precision.F32, false);
        var progress = Progress.of(main.console(), "comparing", heldOut.size())) {
      return Comparison.of(device, team, before.decoder(), after.decoder(), heldOut, done -> progress.advance(done, ""));
    }
  }

  private static long weights(Path path) throws IOException {
    if (Files.isRegularFile(path)) return Files.size(path);
    try (var files = Files.list(path)) {
      long sum = 0;
      for (var f : (Iterable<Path>) files::iterator) if (f.toString().endsWith(".safetensors")) sum += Files.size(f);
      return sum;
    }
  }

  private void show(Receipt receipt) {
    var console = main.console();
    var notes = new ArrayList<>(receipt.notes());
    notes.forEach(console::say);
    if (!console.json()) {
      console.print(String.format(Locale.ROOT, "%s: %,d → %,d bytes in %.1f s, %s%n", out, receipt.bytesBefore(),
          receipt.bytesAfter(), receipt.seconds(), receipt.verdict()));
    }
    var object = new LinkedHashMap<String, Object>();
    object.put("out", out.toString());
    object.putAll(receipt.toMap());
    console.object(object);
  }
}
