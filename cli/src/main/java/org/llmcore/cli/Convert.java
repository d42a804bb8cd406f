package org.llmcore.cli;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParentCommand;

import org.llmcore.Devices;
import org.llmcore.convert.Agreement;
import org.llmcore.convert.Conversion;
import org.llmcore.convert.Disagreement;
import org.llmcore.convert.Format;
import org.llmcore.flags.Flags;
import org.llmcore.model.Precision;
import org.llmcore.tensor.DType;
import org.llmcore.train.Embedded;

/// `convert`: a model in another format.
@Command(
    name = "convert",
    description = {
      "Writes a model in another format: a Hugging Face folder (also GPTQ's), a GGUF file or a llama2.c checkpoint becomes "
          + "any of the three.",
      "Tensors are streamed; a few rows are in memory at a time. Before the result appears under its name, every weight is "
          + "read back, the tokenizers are compared, and both models are run: without --dtype every bit must agree.",
      "GPTQ's codes are dequantized, exactly; into GGUF symmetric ones of 4 and 8 bits go as they are, as Q4_0 and Q8_0."
    },
    footer = {
      "Examples:",
      "  convert --from my-llama/ --to my-llama.gguf --dtype q4_k     for llama.cpp",
      "  convert --from model.gguf --to model/ --dtype bf16           for transformers and for training",
      "  convert --from base/ --adapter runs/my-run/adapter --to tuned.gguf --dtype q8_0",
      "  convert --from stories15M.bin --tokenizer tokenizer.bin --to stories/",
      "",
      "Exit code 1: the result did not agree with the source; nothing is left of it."
    })
final class Convert implements Callable<Integer> {
  private static final double ROOM = 0.8;

  @ParentCommand private Main main;

  @Option(names = "--from", required = true, paramLabel = "PATH", description =
      "Hugging Face folder, GGUF file, llama2.c .bin, or embedded:sql-base")
  private String from;

  @Option(names = {"--to", "-o", "--out"}, required = true, paramLabel = "PATH", description = "what to write; must not exist")
  private Path to;

  @Option(names = "--format", paramLabel = "F", description =
      "hf, gguf or llama2c (default: as the name ends, .gguf or .bin; else hf)")
  private Optional<String> format = Optional.empty();

  @Option(names = "--dtype", paramLabel = "T", description = "f32, bf16, f16, q8_0, q4_0 or q4_k (default: what loses nothing)")
  private Optional<String> dtype = Optional.empty();

  @Option(names = {"-t", "--tokenizer"}, paramLabel = "PATH", description =
      "tokenizer file or folder, if it is not with the model")
  private Optional<String> tokenizer = Optional.empty();

  @Option(names = {"-a", "--adapter"}, paramLabel = "DIR", description =
      "LoRA adapter to add to the weights; the model is then held in memory, in f32")
  private Optional<Path> adapter = Optional.empty();

  @Option(names = "--check", paramLabel = "TEXT", description =
      "text to run both models on (default: ids from all over the vocabulary), or none: nothing is read back")
  private Optional<String> check = Optional.empty();

  @Option(names = "--threads", paramLabel = "N", description = "worker threads (default: one per core); never changes a result")
  private Optional<Integer> threads = Optional.empty();

  @Override
  public Integer call() {
    var console = main.console();
    var stop = new Interrupt();
    var wanted = new Conversion(Embedded.path(from), to, format.map(Format::parse).orElseGet(() -> Format.of(to)),
        dtype.map(Conversion::dtype), tokenizer.map(Embedded::path), adapter, Conversion.Check.NONE);
    try (var device = new Interruptible(Devices.open(threads.orElseGet(Flags::threads)), stop);
        var screen = new Screen(console, stop)) {
      show(console, wanted.with(checked(wanted, console)).run(device, screen), screen);
    } catch (Disagreement e) {
      console.warn(console.red("error: ") + e.getMessage());
      console.warn("  ---> " + to + " was not written; please report it, with the two formats");
      return Failure.OURS;
    } catch (Interrupt.Stopped _) {
      console.say("stopped; nothing was written");
      return Interrupt.CODE;
    }
    return 0;
  }

  /// Logits are compared in f32, or in bf16 where f32 does not fit into memory.
  private Conversion.Check checked(Conversion wanted, Console console) {
    if (check.equals(Optional.of("none"))) return Conversion.Check.NONE;
    double room = ROOM * Machine.total();
    if (wanted.memory(DType.F32) < room) return new Conversion.Check(true, Optional.of(Precision.F32), check);
    if (wanted.memory(DType.BF16) < room) return new Conversion.Check(true, Optional.of(Precision.BF16_WEIGHTS), check);
    console.warn("the model is too large to run here: weights are read back, logits are not compared");
    return new Conversion.Check(true, Optional.empty(), check);
  }

  private void show(Console console, Conversion.Report r, Screen screen) {
    screen.close();
    r.notes().forEach(n -> console.say("note: " + n.replace("\n  ---> ", "; ")));
    if (!console.json()) {
      console.print(String.format(Locale.ROOT, "%s: %,d bytes, %d tensors as %s, from a %s%n", to, r.bytes(), r.tensors(),
          r.types(), r.source()));
      r.tokenizer().ifPresent(t -> console.print(t + ": its tokenizer\n"));
      r.merge().ifPresent(m -> console.print(String.format(Locale.ROOT, "merging the adapter changed logits by at most %.2g%n",
          m)));
      console.print((r.lost().isEmpty() ? "not checked" : r.lost().get() == 0 ? "every weight agrees, bit for bit"
          : String.format(Locale.ROOT, "weights lost at most %.2g of a matrix", r.lost().get())) + r.logits().map(Convert::words)
              .orElse("") + "\n");
    }
    console.object(object(r));
  }

  private static String words(Agreement a) {
    if (a.difference() == 0) return String.format(Locale.ROOT, "; so do the logits of %d tokens", a.tokens());
    return String.format(Locale.ROOT,
        "; logits %s, and differ from the source's by at most %.2g (largest %.3g), KL %.2g nats per token; likeliest token the same %d of %d times",
        a.exact() ? "are those of these weights, bit for bit" : "were run in bf16", a.difference(), a.largest(), a.kl(), a.same(), a.tokens());
  }

  private LinkedHashMap<String, Object> object(Conversion.Report r) {
    var o = new LinkedHashMap<String, Object>();
    o.put("from", from);
    o.put("source", r.source());
    o.put("to", to.toString());
    o.put("types", r.types());
    o.put("tensors", r.tensors());
    o.put("bytes", r.bytes());
    o.put("lossless", r.lossless());
    r.tokenizer().ifPresent(t -> o.put("tokenizer", t.toString()));
    r.merge().ifPresent(m -> o.put("merge_difference", m));
    r.lost().ifPresent(l -> o.put("weights_lost", l));
    r.logits().ifPresent(
        a -> {
          o.put("largest_difference", a.difference());
          o.put("largest_logit", a.largest());
          o.put("kl_nats_per_token", a.kl());
          o.put("exact", a.exact());
          o.put("same_top", a.same());
          o.put("tokens", a.tokens());
        });
    o.put("notes", r.notes());
    return o;
  }

  /// A bar for writing and one for reading back.
  private static final class Screen implements Conversion.Listener, AutoCloseable {
    private static final int MEGABYTE = 1 << 20;

    private final Console console;
    private final Interrupt stop;
    private String what = "";
    private Optional<Progress> progress = Optional.empty();

    Screen(Console console, Interrupt stop) {
      this.console = console;
      this.stop = stop;
    }

    @Override
    public void at(String task, long done, long all) {
      stop.check();
      if (all < 64L * MEGABYTE) return; // over before anyone could look
      if (!task.equals(what)) {
        close();
        what = task;
        progress = Optional.of(Progress.of(console, task, all / MEGABYTE));
      }
      progress.ifPresent(p -> p.advance(done / MEGABYTE, ""));
    }

    @Override
    public void close() {
      progress.ifPresent(Progress::close);
      progress = Optional.empty();
    }
  }
}
