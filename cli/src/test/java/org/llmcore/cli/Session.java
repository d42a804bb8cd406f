package org.llmcore.cli;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.text.BpeTrainer;

/// Command lines without a process, and what they print.
final class Session {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  /// Runs one command line; what the one before printed is forgotten.
  int run(Object... arguments) {
    out.reset();
    err.reset();
    var surroundings = new Surroundings(new PrintStream(out, false, StandardCharsets.UTF_8), false,
        new PrintStream(err, true, StandardCharsets.UTF_8), false, 100, false);
    return Main.run(surroundings, List.of(arguments).stream().map(Object::toString).toList());
  }

  String out() {
    return out.toString(StandardCharsets.UTF_8);
  }

  String err() {
    return err.toString(StandardCharsets.UTF_8);
  }

  /// The one object that `--json` printed.
  JsonNode object() throws IOException {
    return new ObjectMapper().readTree(out.toByteArray());
  }

  /// A model of 2 layers and some 30,000 parameters with its tokenizer, as a Hugging Face folder.
  static Path model(Path folder) {
    var words = BpeTrainer.train(List.of("two and two are four, the sky is blue ".repeat(30)), 300);
    var config = new LlamaConfig(words.size(), 32, 48, 2, 4, 2, 8, 64, 1e-5, 1e4, 1, true, words.bos(),
        words.eos().stream().boxed().toList(), OptionalInt.empty(), "float32");
    try (var device = new CpuDevice(true, 1); var model = LanguageModel.scratch(device, config, words, Precision.F32, 1)) {
      model.save(folder, 1 << 30);
    }
    return folder;
  }
}
