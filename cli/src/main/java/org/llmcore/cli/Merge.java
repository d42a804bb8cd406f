package org.llmcore.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParentCommand;

import org.llmcore.Devices;
import org.llmcore.InvalidInput;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.train.Embedded;

/// `merge`: base and adapter become one model.
@Command(
    name = "merge",
    description = {"Adds a LoRA adapter to the weights of its base model and saves the result as a Hugging Face folder.", "Shows by how much the logits of the merged model differ from those of base and adapter."},
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

  @Option(names = "--precision", paramLabel = "P", defaultValue = "f32", description = "f32 or bf16-weights: what the merged weights are saved in (default: ${DEFAULT-VALUE})")
  private String precision;

  @Override
  public Integer call() {
    if (Files.exists(out)) throw new InvalidInput(out + " exists", "choose another folder; nothing is overwritten");
    var console = main.console();
    try (var device = Devices.open();
        var language = LanguageModel.open(device, Embedded.path(model), tokenizer.map(Embedded::path), Precision.parse(precision), false);
        var region = device.growing("adapter")) {
      var lora = PeftAdapter.load(device, language.decoder(), adapter, region);
      var before = probe(device, lora.decoder());
      lora.merge(device);
      var after = probe(device, language.decoder());
      double largest = 0;
      double difference = 0;
      for (int i = 0; i < before.length; i++) {
        largest = Math.max(largest, Math.abs(before[i]));
        difference = Math.max(difference, Math.abs(before[i] - after[i]));
      }
      language.save(out, 5_000_000_000L);
      if (!console.json()) {
        console.print(String.format(Locale.ROOT, "merged %d layers into %s; logits differ by at most %.2g (largest logit %.3g)%n", lora.layers().size(), out, difference, largest));
      }
      console.object(Map.of("out", out.toString(), "layers", lora.layers().size(), "largest_difference", difference, "largest_logit", largest));
    }
    return 0;
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
