package org.llmcore.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParentCommand;

import org.llmcore.InvalidInput;
import org.llmcore.data.DataFile;
import org.llmcore.data.Examples;
import org.llmcore.data.Format;
import org.llmcore.data.TooLong;
import org.llmcore.data.sql.SqlTask;
import org.llmcore.eval.ExactMatch;
import org.llmcore.eval.Perplexity;
import org.llmcore.eval.SqlQuestions;
import org.llmcore.eval.SqlTaskEvaluation;
import org.llmcore.eval.Task;
import org.llmcore.train.Llama2ChatForm;

/// `eval`: how good a model is, by a metric of one's choice.
@Command(
    name = "eval",
    description = "Measures a model: perplexity of a text, exact match of answers, or execution accuracy of SQL.",
    subcommands = {Eval.OfPerplexity.class, Eval.OfExact.class, Eval.OfSql.class},
    footer = {
      "Examples:", "  eval perplexity --model DIR --file wiki.txt --window 2048",
          "  eval exact --run runs/my-lora-1 --data test.jsonl", "  eval sql --run runs/sql-lora-1 --items 500"
    })
final class Eval implements Runnable {
  @ParentCommand private Main main;
  @picocli.CommandLine.Spec private picocli.CommandLine.Model.CommandSpec spec;

  @Override
  public void run() {
    throw new InvalidInput("eval needs a metric", "expected one of " + spec.subcommands().keySet());
  }

  /// Perplexity of a text file.
  @Command(
      name = "perplexity",
      description = {
        "Perplexity of a text in windows of W tokens, every token of a window but its first scored once.",
        "With --stride S, windows start every S tokens and score what no earlier one has scored."
      })
  static final class OfPerplexity implements Callable<Integer> {
    @ParentCommand private Eval eval;
    @Mixin private Opening opening;

    @Option(names = {"-f", "--file"}, required = true, paramLabel = "FILE", description = "the text, UTF-8; tokenised as one")
    private Path file;

    @Option(names = {"-w", "--window"}, paramLabel = "W",
        description = "tokens per window (default: 2048, or the model's context if that is less)")
    private Optional<Integer> window = Optional.empty();

    @Option(names = "--stride", paramLabel = "S", description = "tokens between windows (default: the window)")
    private Optional<Integer> stride = Optional.empty();

    @Override
    public Integer call() throws IOException {
      if (!Files.isRegularFile(file)) throw new InvalidInput("there is no file " + file, "check the path");
      var text = new String(Files.readAllBytes(file), StandardCharsets.UTF_8);
      var console = eval.main.console();
      try (var m = opening.open(eval.main.console())) {
        var ids = Task.withBos(m.model().tokenizer(), text);
        int w = window.orElse(Math.min(2048, m.model().config().contextLength()));
        Perplexity p;
        try (var progress = Progress.of(console, "scoring", ids.length)) {
          p = Perplexity.of(m.device(), m.decoder(), ids, w, stride.orElse(w), done -> progress.advance(done, ""));
        }
        if (!console.json()) {
          console.print(String.format(Locale.ROOT, "perplexity %.4f, mean nll %.6f nats over %,d tokens, window %d, stride %d%n",
              p.value(), p.meanNll(), p.tokens(), w, stride.orElse(w)));
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

  /// Exact match on a data file.
  @Command(
      name = "exact",
      description = {
        "Share of questions whose generated answer is the gold answer, character for character, white space at the ends aside.",
        "Data as training reads it: prompt and completion, question and answer, instructions, or chat, where the last answer "
            + "counts."
      },
      footer = {"Example:", "  eval exact --run runs/my-lora-1 --data test.jsonl --items 500 --out predictions.jsonl"})
  static final class OfExact implements Callable<Integer> {
    @ParentCommand private Eval eval;
    @Mixin private Opening opening;
    @Mixin private Asking asking;

    @Option(names = {"-d", "--data"}, required = true, paramLabel = "FILE", description = "JSON lines or a JSON list")
    private Path data;

    @Option(names = "--format", paramLabel = "F",
        description = "how the file is read: ${COMPLETION-CANDIDATES} (default: its first rows tell)")
    private Optional<Format> format = Optional.empty();

    @Option(names = "--too-long", paramLabel = "P", defaultValue = "refuse",
        description = "examples longer than the context: refuse (default) or skip")
    private TooLong tooLong = TooLong.REFUSE;

    @Option(names = "--ignore-case", description = "upper and lower case are the same")
    private boolean ignoreCase;

    @Option(names = "--ignore-whitespace", description = "any run of white space is one space")
    private boolean ignoreWhitespace;

    @Override
    public Integer call() {
      asking.check();
      var file = format.map(f -> DataFile.of(data, f)).orElseGet(() -> DataFile.detect(data));
      try (var m = opening.open(eval.main.console())) {
        var words = m.model().tokenizer();
        var loaded = file.load(new Examples(words, new Llama2ChatForm(words)), m.model().config().contextLength(), tooLong);
        if (loaded.dropped() > 0) eval.main.console()
            .say(loaded.dropped() + " examples are longer than the context and were left out");
        asking.ask(eval.main.console(), m, ExactMatch.of(loaded.data(), words, asking.items().orElse(Integer.MAX_VALUE),
            ignoreCase, ignoreWhitespace));
      }
      return 0;
    }
  }

  /// Execution accuracy, on the embedded task or on data of one's own.
  @Command(
      name = "sql",
      description = {
        "Share of questions whose generated SQL returns the rows of the gold query.",
        "Without --data: the embedded task, unseen schemas, every second question in an unseen phrasing. With --data: JSON "
            + "lines of question (or prompt), sql and db, the SQLite file of the row, relative to the data file. Databases are "
            + "opened read-only; queries are cut off after 10 s."
      },
      footer = {
        "Examples:", "  eval sql --run runs/sql-lora-1 --items 500",
            "  eval sql --model DIR --data dev.jsonl --databases databases/ --template \"{ddl} -- {question}\""
      })
  static final class OfSql implements Callable<Integer> {
    private static final int EMBEDDED_ITEMS = 200;

    @ParentCommand private Eval eval;
    @Mixin private Opening opening;
    @Mixin private Asking asking;

    @Option(names = {"-d", "--data"}, paramLabel = "FILE", description = "questions of one's own")
    private Optional<Path> data = Optional.empty();

    @Option(names = "--db", paramLabel = "FILE", description = "the SQLite file all questions are about")
    private Optional<Path> db = Optional.empty();

    @Option(names = "--databases", paramLabel = "DIR",
        description = "folder of SQLite files for rows with a db_id, as Spider has them")
    private Optional<Path> databases = Optional.empty();

    @Option(names = "--template", paramLabel = "TEXT",
        description = "the prompt, with {question} and {schema} or {ddl} (default: that of the embedded task)")
    private Optional<String> template = Optional.empty();

    @Option(names = {"-n", "--max-new-tokens"}, paramLabel = "N", defaultValue = "256",
        description = "with --data: most tokens of an answer (default: ${DEFAULT-VALUE})")
    private int maxNewTokens;

    @Option(names = "--stop", paramLabel = "TEXT",
        description = "with --data: ends an answer where this appears; may be repeated")
    private List<String> stop = new ArrayList<>();

    @Override
    public Integer call() {
      asking.check();
      if (data.isEmpty() && (db.isPresent() || databases.isPresent() || template.isPresent())) {
        throw new InvalidInput("--db, --databases and --template are for questions of your own", "name them with --data FILE");
      }
      var task =
          data.<Task>map(file -> SqlQuestions.read(file, new SqlQuestions.Places(db, databases, template),
              asking.items().orElse(Integer.MAX_VALUE), maxNewTokens, stop))
              .orElseGet(() -> new SqlTaskEvaluation(SqlTask.test(1, asking.items().orElse(EMBEDDED_ITEMS))));
      try (var m = opening.open(eval.main.console())) {
        asking.ask(eval.main.console(), m, task);
      }
      return 0;
    }
  }
}
