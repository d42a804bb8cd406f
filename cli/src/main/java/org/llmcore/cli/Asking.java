package org.llmcore.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Optional;
import java.util.stream.IntStream;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import picocli.CommandLine.Option;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.eval.Task;
import org.llmcore.generate.Generator;

/// The options of an evaluation that generates answers, and the evaluation itself: a bar, a score with its 95 % interval, the
/// wrong answers, and a file of all of them.
final class Asking {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int SLOTS = 16;
  private static final int SHOWN = 20;

  @Option(names = "--items", paramLabel = "N",
      description = "only the first N questions (default: all; 200 of the embedded task)")
  private Optional<Integer> items = Optional.empty();

  @Option(names = {"-o", "--out"}, paramLabel = "FILE",
      description = "writes every prompt, gold answer and prediction as JSON lines")
  private Optional<Path> out = Optional.empty();

  Optional<Integer> items() {
    return items;
  }

  /// Refuses now what would fail after all the work.
  void check() {
    if (items.isPresent() && items.get() < 1) throw new InvalidInput("--items is " + items.get(), "expected at least 1");
    if (out.isEmpty()) return;
    var folder = out.get().toAbsolutePath().getParent();
    if (Files.isDirectory(out.get())) {
      throw new InvalidInput(out.get() + " is a folder", "name a file, for example " + out.get().resolve("predictions.jsonl"));
    }
    if (!Files.isDirectory(folder)) throw new InvalidInput("there is no folder " + folder, "make it first");
    if (!Files.isWritable(folder)) {
      throw new InvalidInput("no permission to write into " + folder, "choose another place for --out");
    }
  }

  void ask(Console console, Opening.Opened m, Task task) {
    fits(m, task);
    try (var generator = new Generator(m.device(), m.decoder(), m.model().tokenizer(), Math.min(SLOTS, task.items()),
        m.model().config().contextLength())) {
      Task.Result result;
      try (var progress = Progress.of(console, "answering", task.items())) {
        result = task.evaluate(generator, m.model().tokenizer(), done -> progress.advance(done, ""));
      }
      out.ifPresent(file -> AtomicFile.write(file, lines(result)));
      result.answers().stream().filter(a -> !a.right()).limit(SHOWN)
          .forEach(a -> console.say(console.dim(a.prompt() + "\n  gold  " + a.gold() + "\n  said  " + a.text())));
      if (!console.json()) console.print(task.name() + ": " + result.score() + "\n");
      var object = new LinkedHashMap<String, Object>();
      object.put("metric", task.name());
      object.put("accuracy", result.score().accuracy());
      object.put("low", result.score().low());
      object.put("high", result.score().high());
      object.put("right", result.score().right());
      object.put("items", task.items());
      out.ifPresent(file -> object.put("out", file.toString()));
      console.object(object);
    }
  }

  /// A prompt that does not fit is found out before the first is answered.
  private static void fits(Opening.Opened m, Task task) {
    int context = m.model().config().contextLength();
    var lengths = IntStream.range(0, task.items()).map(i -> task.ids(m.model().tokenizer(), i).length).filter(n -> n > context)
        .toArray();
    if (lengths.length == 0) return;
    int longest = Arrays.stream(lengths).max().getAsInt();
    throw new InvalidInput(
        lengths.length + " of " + task.items() + " prompts are longer than the model's context of " + context
            + " tokens; the longest has " + longest,
        "shorten or remove them, or use a model with a longer context");
  }

  private static String lines(Task.Result result) {
    var text = new StringBuilder();
    try {
      for (var a : result.answers()) {
        var line = JSON.createObjectNode().put("prompt", a.prompt()).put("gold", a.gold()).put("prediction", a.text())
            .put("right", a.right());
        text.append(JSON.writeValueAsString(line)).append('\n');
      }
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("a prediction that cannot be written", e);
    }
    return text.toString();
  }
}
