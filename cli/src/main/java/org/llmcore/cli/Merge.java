package org.llmcore.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParentCommand;

import org.llmcore.Devices;
import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AdapterConfig;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.QuantLinear;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.train.Embedded;
import org.llmcore.train.OpenModel;

/// `merge`: base and adapter become one model.
@Command(
    name = "merge",
    description = {
      "Adds a LoRA adapter to the weights of its base model and saves the result as a Hugging Face folder.",
      "Shows by how much the logits of the merged model differ from those of base and adapter.",
      "An adapter that was trained on weights in few bits (QLoRA) made up for their errors, which the merged weights do not "
          + "have: its merged model is also compared with the quantized base it was trained on, and the drift is shown.",
      "A base in few bits (GPTQ, GGUF) becomes dense: what is added to its codes would be rounded away."
    },
    footer = {"Example:", "  merge --model embedded:sql-base --adapter runs/sql-lora-1/adapter --out merged"})
final class Merge implements Callable<Integer> {
  private static final int PROBE = 16;

  @ParentCommand private Main main;

  @Option(names = {"-m", "--model"}, required = true, paramLabel = "PATH", description = "the base model")
  private String model;

  @Option(names = {"-a", "--adapter"}, required = true, paramLabel = "DIR", description = "the adapter, in PEFT's form")
  private Path adapter;

  @Option(names = {"-t", "--tokenizer"}, paramLabel = "PATH", description = "tokenizer, if it is not with the model")
  private Optional<String> tokenizer = Optional.empty();

  @Option(names = {"-o", "--out"}, required = true, paramLabel = "DIR", description = "the folder to write; must not exist")
  private Path out;

  @Option(names = "--trained-on", paramLabel = "P", description = "nf4, nf4-double, nf4-bf16 or nf4-double-bf16, if the adapter was trained on that (default: what the recipe beside the adapter says)")
  private Optional<String> trainedOn = Optional.empty();

  @Option(names = "--precision", paramLabel = "P", defaultValue = "f32", description = "f32 or bf16-weights: what the merged weights are saved in (default: ${DEFAULT-VALUE})")
  private String precision;

  @Override
  public Integer call() {
    var kept = Precision.parse(precision);
    if (kept.quantized()) throw new InvalidInput("an adapter cannot be merged into weights in " + kept, "merge into f32 or bf16-weights; the drift from the quantized base is then shown");
    var trained = trainedOn.map(Precision::parse).orElseGet(() -> OpenModel.Place.trainedOn(adapter));
    if (Files.exists(out)) throw new InvalidInput(out + " exists", "choose another folder; nothing is overwritten");
    var console = main.console();
    var stop = new Interrupt();
    try (var device = new Interruptible(Devices.open(), stop);
        var language = LanguageModel.open(device, Embedded.path(model), tokenizer.map(Embedded::path), kept, false);
        var region = device.growing("adapter")) {
      language.notes().forEach(console::warn);
      var held = language.decoder();
      boolean few = held.linears().stream().anyMatch(l -> l instanceof QuantLinear);
      var dense = few ? held.dense(device, region) : held;
      boolean parts = AdapterConfig.read(adapter.resolve("adapter_config.json")) instanceof LoraConfig c && c.parts();
      var base = parts ? dense.untied(device, region) : dense;
      var lora = PeftAdapter.load(device, base, adapter, region);
      var before = probe(device, few || base != dense ? PeftAdapter.load(device, held, adapter, region).decoder() : lora.decoder());
      lora.notes().forEach(console::warn);
      lora.merge(device);
      var after = probe(device, base);
      var change = Drift.between(before, after);
      var drift = trained.quantized() ? Optional.of(Drift.between(quantized(device, trained), after)) : Optional.<Drift>empty();
      language.save(base, out, 5_000_000_000L);
      if (!console.json()) {
        console.print(String.format(Locale.ROOT, "merged %d layers into %s; logits differ by at most %s%n", lora.layers().size(), out, change.text()));
        if (!lora.wholes().isEmpty()) {
          console.print(String.format(Locale.ROOT, "%d modules trained whole took their place%n", lora.wholes().size()));
        }
        if (base != dense) console.print(String.format("embedding and head, which were one, are two now%n"));
        if (few) console.print(String.format(Locale.ROOT,
            "the base was in few bits, the merged model is dense in %s; quantize it anew%n", kept));
        drift.ifPresent(d -> console.print(String.format(Locale.ROOT, "the adapter was trained on %s: from that model with the adapter on top logits differ by at most %s%n", trained, d.text())));
      }
      var result = new LinkedHashMap<String, Object>();
      result.put("out", out.toString());
      result.put("layers", lora.layers().size());
      result.put("whole_modules", lora.wholes().size());
      result.put("base_in_few_bits", few);
      result.put("largest_difference", change.difference);
      result.put("largest_logit", change.largest);
      drift.ifPresent(
          d -> {
            result.put("trained_on", trained.toString());
            result.put("drift_from_trained", d.difference);
            result.put("mean_drift_from_trained", d.mean);
          });
      console.object(result);
    } catch (Interrupt.Stopped _) {
      console.say("stopped; nothing was written");
      return Interrupt.CODE;
    }
    return 0;
  }

  /// How far two sets of logits are apart.
  private record Drift(double difference, double mean, double largest) {
    static Drift between(float[] before, float[] after) {
      double largest = 0;
      double difference = 0;
      double sum = 0;
      for (int i = 0; i < before.length; i++) {
        largest = Math.max(largest, Math.abs(before[i]));
        difference = Math.max(difference, Math.abs(before[i] - after[i]));
        sum += Math.abs(before[i] - after[i]);
      }
      return new Drift(difference, sum / before.length, largest);
    }

    String text() {
      return String.format(Locale.ROOT, "%.2g, %.2g on average (largest logit %.3g)", difference, mean, largest);
    }
  }

  /// Logits of the adapter on the base it was trained on.
  private float[] quantized(Device device, Precision trained) {
    try (var language = LanguageModel.open(device, Embedded.path(model), tokenizer.map(Embedded::path), trained, false);
        var region = device.growing("adapter")) {
      return probe(device, PeftAdapter.load(device, language.decoder(), adapter, region).decoder());
    }
  }

  /// Logits of a fixed sequence that visits the vocabulary.
  private static float[] probe(Device device, Decoder decoder) {
    try (var region = device.growing("probe")) {
      var p = Pass.inference(device, region);
      int n = Math.min(PROBE, decoder.config().contextLength());
      var ids = new int[n];
      for (int i = 0; i < n; i++) ids[i] = (int) ((long) i * 7919 % decoder.config().vocabulary());
      var tokens = Tokens.of(p, ids);
      return decoder.logits(p, decoder.hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>())).toFloats();
    }
  }
}
