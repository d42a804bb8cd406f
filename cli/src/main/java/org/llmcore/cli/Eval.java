package org.llmcore.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParentCommand;

import org.llmcore.InvalidInput;
import org.llmcore.data.sql.SqlTask;
import org.llmcore.eval.Perplexity;
import org.llmcore.eval.SqlTaskEvaluation;
import org.llmcore.eval.Task;
import org.llmcore.generate.Generator;

/// `eval`: how good a model is, by a metric of one's choice.
@Command(
    name = "eval",
    description = "Measures a model: perplexity of a text, or execution accuracy of the SQL it writes.",
    subcommands = {Eval.OfPerplexity.class, Eval.OfSql.class},
    footer = {
      "Examples:", "  eval perplexity --model DIR --file wiki.txt --window 2048", "  eval sql --run runs/sql-lora-1 --items 500"
    })
final class Eval implements Runnable {
  @ParentCommand private Main main;
  @picocli.CommandLine.Spec private picocli.CommandLine.Model.CommandSpec spec;

  @Override
  public void run() {
    throw new InvalidInput("eval needs a metric", "expected one of " + spec.subcommands().keySet());
  }

  /// Perplexity of a text file.
  @Command(name = "perplexity", description = {"Perplexity of a text in windows of W tokens, every token of a window but its first scored once.", "With --stride S, windows start every S tokens and score what no earlier one has scored."})
  static final class OfPerplexity implements Callable<Integer> {
    @ParentCommand private Eval eval;
    @Mixin private Opening opening;

    @Option(names = {"-f", "--file"}, required = true, paramLabel = "FILE", description = "the text, UTF-8; tokenised as one")
    private Path file;

    @Option(names = {"-w", "--window"}, paramLabel = "W", description = "tokens per window (default: 2048, or the model's context if that is less)")
    private Optional<Integer> window = Optional.empty();

    @Option(names = "--stride", paramLabel = "S", description = "tokens between windows (default: the window)")
    private Optional<Integer> stride = Optional.empty();

    @Override
    public Integer call() throws IOException {
      if (!Files.isRegularFile(file)) throw new InvalidInput("there is no file " + file, "check the path");
      var text = new String(Files.readAllBytes(file), StandardCharsets.UTF_8);
      var console = eval.main.console();
      try (var m = opening.open()) {
        var ids = Task.withBos(m.model().tokenizer(), text);
        int w = window.orElse(Math.min(2048, m.model().config().contextLength()));
        Perplexity p;
        try (var progress = Progress.of(console, "scoring", ids.length)) {
          p = Perplexity.of(m.device(), m.decoder(), ids, w, stride.orElse(w), done -> progress.advance(done, ""));
        }
        if (!console.json()) {
          console.print(String.format(Locale.ROOT, "perplexity %.4f, mean nll %.6f nats over %,d tokens, window %d, stride %d%n", p.value(), p.meanNll(), p.tokens(), w, stride.orElse(w)));
        }
        var out = new LinkedHashMap<String, Object>();
        out.put("mean_nll", p.meanNll());
        out.put("perplexity", p.value());
        out.put("tokens", p.tokens());
        out.put("window", w);
        out.put("stride", stride.orElse(w));
        console.object(out);
      }
      return 0;
    }
  }

  /// Execution accuracy on the embedded task.
  @Command(name = "sql", description = "Execution accuracy on the embedded SQL task: unseen schemas, every second question in an unseen phrasing.")
  static final class OfSql implements Callable<Integer> {
    @ParentCommand private Eval eval;
    @Mixin private Opening opening;

    @Option(names = "--items", defaultValue = "200", paramLabel = "N", description = "questions (default: ${DEFAULT-VALUE})")
    private int items;

    @Override
    public Integer call() {
      if (items < 1) throw new InvalidInput("--items is " + items, "expected at least 1");
      var console = eval.main.console();
      try (var m = opening.open();
          var generator = new Generator(m.device(), m.decoder(), m.model().tokenizer(), 16, m.model().config().contextLength())) {
        var task = new SqlTaskEvaluation(SqlTask.test(1, items));
        Task.Result result;
        try (var progress = Progress.of(console, "answering", items)) {
          result = task.evaluate(generator, m.model().tokenizer(), done -> progress.advance(done, ""));
        }
        if (!console.json()) console.print(task.name() + ": " + result.score() + "\n");
        for (var a : result.answers()) if (!a.right()) console.say(console.dim(a.prompt() + "\n  gold  " + a.gold() + "\n  said  " + a.text()));
        var out = new LinkedHashMap<String, Object>();
        out.put("accuracy", result.score().accuracy());
        out.put("low", result.score().low());
        out.put("high", result.score().high());
        out.put("items", items);
        console.object(out);
      }
      return 0;
    }
  }
}
