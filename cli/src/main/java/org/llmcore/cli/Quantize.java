package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParentCommand;

import org.llmcore.Devices;
import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.flags.Flags;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.quantize.Calibration;
import org.llmcore.quantize.Comparison;
import org.llmcore.quantize.MixedBits;
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
      "Quantizes the linear layers of a model, by GPTQ on calibration text or by rounding to nearest, and writes a "
          + "checkpoint in GPTQ's format, which this program, AutoGPTQ, GPTQModel, transformers and vLLM read.",
      "The model is streamed block by block.",
      "In the folder lie quantize-report.json and .html: the error of each layer, and on text apart perplexity, KL "
          + "divergence and agreement with the original, of the result and of rounding to nearest at the same bits.",
      "With --budget or --max-kl layers get 2, 3, 4 or 8 bits each, where they help most."
    },
    footer = {
      "Examples:", "  quantize --model DIR --bits 4 --group 128 --calibration c4.jsonl --out DIR-4bit",
          "  quantize --model DIR --bits 3 --group 64 --act-order --calibration chat.jsonl --eval wiki.txt --out DIR-3bit",
          "  quantize --model DIR --budget 3.5 --group 64 --calibration c4.jsonl --out DIR-mixed",
          "  quantize --model DIR --max-kl 0.05 --calibration c4.jsonl --out DIR-good",
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

  @Option(names = {"-b", "--bits"}, paramLabel = "B", description = "2, 3, 4 or 8 for all layers (default: 4)")
  private Optional<Integer> bits = Optional.empty();

  @Option(names = "--budget", paramLabel = "B",
      description = "mixed bits: the least error with at most B stored bits per weight, scales and zeros included")
  private Optional<Double> budget = Optional.empty();

  @Option(names = "--max-kl", paramLabel = "X",
      description = "mixed bits: the smallest model whose KL divergence on the held-out text is at most X nats per token; several trials")
  private Optional<Double> maxKl = Optional.empty();

  @Option(names = "--no-baseline", description = "leave out the comparison with round to nearest")
  private boolean alone;

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
  public Integer call() {
    if (Files.exists(out)) throw new InvalidInput(out + " exists", "choose another folder; nothing is overwritten");
    var asked = new Settings(method, bits.orElse(4), group, symmetric, actOrder, staticGroups, mse, damp);
    if ((bits.isPresent() ? 1 : 0) + (budget.isPresent() ? 1 : 0) + (maxKl.isPresent() ? 1 : 0) > 1) {
      throw new InvalidInput("more than one of --bits, --budget and --max-kl", "choose one of them");
    }
    maxKl.ifPresent(MixedBits::checkKl);
    int workers = threads.orElseGet(Flags::threads);
    var stop = new Interrupt();
    try (var device = new Interruptible(Devices.open(workers), stop); var team = new Team(workers);
        var source = Source.open(Embedded.path(model), tokenizer.map(Embedded::path))) {
      if (budget.isPresent()) MixedBits.checkBudget(source, asked, budget.get());
      var text = text(source);
      if (maxKl.isPresent() && text.heldOut().isEmpty()) {
        throw new InvalidInput("--max-kl needs text to judge by", "give --eval FILE, or more calibration text");
      }
      var receipts = new ArrayList<Receipt>();
      AtomicFile.folder(out, temp -> receipts.add(write(device, team, source, asked, text, temp)));
      show(receipts.getFirst());
    } catch (Interrupt.Stopped _) {
      main.console().say("stopped; nothing was written");
      return Interrupt.CODE;
    }
    return 0;
  }

  /// Fills the new folder, in which trials and the baseline come and go.
  private Receipt write(Device device, Team team, Source source, Settings asked, Calibration text, Path folder)
      throws IOException {
    long start = System.nanoTime();
    var path = Embedded.path(model);
    var settings = asked;
    var notes = new ArrayList<String>();
    Map<String, Integer> mixed = Map.of();
    if (budget.isPresent() || maxKl.isPresent()) {
      var chosen = choose(device, team, source, path, asked, text, folder);
      mixed = chosen.bits();
      settings = asked.withBits(usual(mixed));
      notes.add(describe(chosen));
    }
    var result = quantize(device, team, source, settings, mixed, text.text(), folder, "quantizing");
    var nearest = settings.method() == Settings.Method.GPTQ && !alone && !text.heldOut().isEmpty()
        ? Optional.of(trial(device, team, source, path, settings.nearest(), mixed, List.of(), text.heldOut(),
            folder.resolve("baseline")))
        : Optional.<Comparison>empty();
    double seconds = (System.nanoTime() - start) / 1e9;
    var comparison = text.heldOut().isEmpty() ? Optional.<Comparison>empty()
        : Optional.of(compare(device, team, path, folder, text.heldOut()));
    if (text.text().isEmpty()) notes.add("errors of layers are unknown: they are measured on calibration text, and there was none");
    notes.addAll(result.notes());
    var receipt = new Receipt(model, settings, text.tokens(), result.layers(), comparison, nearest, weights(path),
        weights(folder), seconds, notes);
    receipt.write(folder);
    return receipt;
  }

  private MixedBits.Chosen choose(Device device, Team team, Source source, Path path, Settings settings, Calibration text,
      Path folder) {
    MixedBits errors;
    try (var progress = Progress.of(main.console(), "measuring", 4L * source.config().layers())) {
      errors = MixedBits.measure(device, team, source, settings, text.text(), (done, _) -> progress.advance(done, ""));
    }
    if (budget.isPresent()) return errors.within(budget.get());
    return errors.reaching(maxKl.orElseThrow(), bits ->
        trial(device, team, source, path, settings.withBits(usual(bits)), bits, text.text(), text.heldOut(),
            folder.resolve("trial")).kl());
  }

  /// The commonest width: what the configuration says where it says nothing else.
  private static int usual(Map<String, Integer> bits) {
    var counts = new TreeMap<Integer, Integer>();
    bits.values().forEach(b -> counts.merge(b, 1, Integer::sum));
    return counts.entrySet().stream()
        .max(Map.Entry.<Integer, Integer>comparingByValue().thenComparing(Map.Entry.comparingByKey())).orElseThrow().getKey();
  }

  private String describe(MixedBits.Chosen chosen) {
    var counts = new TreeMap<Integer, Integer>();
    chosen.bits().values().forEach(b -> counts.merge(b, 1, Integer::sum));
    var words = new ArrayList<String>();
    counts.forEach((b, n) -> words.add(n + " of " + b + " bits"));
    return String.format(Locale.ROOT, "mixed bits, %s: layers %s, %.3f stored bits per weight%s",
        budget.isPresent() ? "at most " + budget.get() + " per weight" : "KL at most " + maxKl.orElseThrow()
            + " on the held-out text",
        String.join(", ", words), chosen.average(), chosen.trials() > 0 ? ", found in " + chosen.trials() + " trials" : "");
  }

  private ModelQuantizer.Result quantize(Device device, Team team, Source source, Settings settings, Map<String, Integer> bits,
      List<int[]> text, Path folder, String what) throws IOException {
    try (var progress = Progress.of(main.console(), what, 7L * source.config().layers())) {
      return ModelQuantizer.write(device, team, source, settings, bits, text, folder,
          (done, _, l) -> progress.advance(done, describe(l)));
    }
  }

  /// A quantized model that is measured beside the original and thrown away.
  private Comparison trial(Device device, Team team, Source source, Path path, Settings settings, Map<String, Integer> bits,
      List<int[]> text, List<int[]> heldOut, Path folder) {
    try {
      Files.createDirectory(folder);
      quantize(device, team, source, settings, bits, text, folder, folder.getFileName().toString());
      var found = compare(device, team, path, folder, heldOut);
      AtomicFile.delete(folder);
      return found;
    } catch (IOException e) {
      throw new InvalidInput("cannot write " + folder + ": " + e.getMessage(),
          "free space, or leave the baseline out: --no-baseline", e);
    }
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

  private Comparison compare(Device device, Team team, Path path, Path quantized, List<int[]> heldOut) {
    try (var before = LanguageModel.open(device, path, tokenizer.map(Embedded::path), Precision.F32, false);
        var after = LanguageModel.open(device, quantized, Optional.empty(), Precision.F32, false);
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
      receipt.gain().ifPresent(g -> console.print(g + "\n"));
    }
    var object = new LinkedHashMap<String, Object>();
    object.put("out", out.toString());
    object.putAll(receipt.toMap());
    console.object(object);
  }
}
