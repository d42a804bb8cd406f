package org.llmcore.train;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.IntFunction;
import java.util.stream.IntStream;

import org.llmcore.InvalidInput;
import org.llmcore.data.DataFile;
import org.llmcore.data.DataSet;
import org.llmcore.data.Example;
import org.llmcore.data.Examples;
import org.llmcore.data.MaskReport;
import org.llmcore.data.Objective;
import org.llmcore.data.Problems;
import org.llmcore.data.Sample;
import org.llmcore.data.sql.SqlTask;
import org.llmcore.eval.ExactMatch;
import org.llmcore.eval.SqlTaskEvaluation;
import org.llmcore.eval.Task;
import org.llmcore.text.BpeTrainer;
import org.llmcore.text.Tokenizer;

/// The examples a recipe names, tokenised and divided, and the task they can be judged by.
///
/// | source                | examples                                                              | task |
/// |-----------------------|-----------------------------------------------------------------------|------|
/// | `embedded:sql`        | pairs of question and SQL (`SqlTask`)                                 | SQL  |
/// | `embedded:sql-corpus` | documents of the base model's corpus, in four languages, never SQL; the schema is given, the rest learned | none |
/// | a path                | what `DataFile` finds there                                           | none |
///
/// With `evaluation.task: exact` the task is exact match on the validation split, whatever the source.
///
/// @param validation examples kept apart for the evaluation loss; may be empty
/// @param notes what should be said about the data
record Corpus(DataSet train, DataSet validation, Optional<Task> task, List<String> notes) {
  private static final int SQL_EXAMPLES = 12_000;
  private static final int TOKENIZER_DOCUMENTS = 20_000;
  private static final int CORPUS_DOCUMENTS = 200_000;
  private static final long SEED = 1;

  static Corpus of(Recipe recipe, Examples examples, int context) {
    var notes = new ArrayList<String>();
    var data = recipe.data();
    var task = Optional.<Task>empty();
    DataSet all;
    var embedded = data.source().embedded();
    if (embedded.isPresent()) {
      all = embedded(embedded.get(), examples).fit(context, data.tooLong()).data();
      if (embedded.get().equals("sql")) task = Optional.of(new SqlTaskEvaluation(SqlTask.test(SEED, recipe.evaluation().items())));
    } else {
      var file = file(data);
      notes.add(file.sentence());
      var loaded = file.load(examples, context, data.tooLong());
      if (loaded.cut() > 0 || loaded.dropped() > 0) notes.add(loaded.cut() + " examples lost their end to the context, " + loaded.dropped() + " were left out");
      all = loaded.data();
    }
    MaskReport.of(all, examples.tokenizer()).require(data.tooLong());
    notes.add(all.summary());
    boolean sql = recipe.evaluation().task() == Recipe.Task.SQL;
    if (sql && task.isEmpty()) throw new InvalidInput("evaluation.task is sql, but the data is " + data.source().text(), "use it with data embedded:sql, or choose loss");
    boolean exact = recipe.evaluation().task() == Recipe.Task.EXACT;
    if (exact && data.validation() == 0) throw new InvalidInput("evaluation.task is exact, but data.validation is 0", "set a share of the examples apart, for example data.validation: 0.05");
    if (data.validation() == 0) return new Corpus(all, new DataSet(all.objective(), List.of()), sql ? task : Optional.empty(), notes);
    var split = all.split(data.validation(), recipe.training().seed());
    if (exact) {
      var match = ExactMatch.of(split.validation(), examples.tokenizer(), recipe.evaluation().items(), false, false);
      return new Corpus(split.train(), split.validation(), Optional.of(match), notes);
    }
    return new Corpus(split.train(), split.validation(), sql ? task : Optional.empty(), notes);
  }

  /// A tokenizer of that many pieces, learned from the recipe's data.
  static Tokenizer tokenizer(Recipe recipe, String vocabulary) {
    int size;
    try {
      size = Integer.parseInt(vocabulary);
    } catch (NumberFormatException e) {
      throw new InvalidInput("tokenizer is bpe:" + vocabulary, "expected bpe:<vocabulary>, for example bpe:1024", e);
    }
    var texts = new ArrayList<String>();
    var source = recipe.data().source();
    if (source.embedded().isPresent()) {
      for (int i = 0; i < TOKENIZER_DOCUMENTS; i++) texts.add(SqlTask.corpus(SEED, i).text());
    } else {
      var problems = new Problems(1);
      var file = file(recipe.data());
      file.read(problems, sample -> texts.add(text(sample)));
      problems.refuse(file.name());
    }
    return BpeTrainer.train(texts, size);
  }

  private static String text(Sample sample) {
    return switch (sample) {
      case Sample.Chat c -> String.join("\n", c.turns().stream().map(Sample.Turn::content).toList());
      case Sample.Pair p -> p.prompt() + p.completion();
      case Sample.Instruction i -> i.instruction() + "\n" + i.input() + "\n" + i.output();
      case Sample.Document d -> d.text();
    };
  }

  private static DataFile file(Recipe.Data data) {
    var path = java.nio.file.Path.of(data.source().text());
    return data.format().map(f -> DataFile.of(path, f)).orElseGet(() -> DataFile.detect(path));
  }

  private static DataSet embedded(String name, Examples examples) {
    return switch (name) {
      case "sql" -> made(SQL_EXAMPLES, i -> {
        var e = SqlTask.training(SEED, i);
        return examples.of(new Sample.Pair(e.prompt(), e.answer(), "embedded:sql:" + i));
      });
      case "sql-corpus" -> made(CORPUS_DOCUMENTS, i -> {
        var document = SqlTask.corpus(SEED, i);
        return examples.of(new Sample.Pair(document.given(), document.learned(), "embedded:sql-corpus:" + i));
      });
      default -> throw new InvalidInput("no data set is embedded as '" + name + "'", "embedded are sql and sql-corpus");
    };
  }

  /// Each example is a function of its number: they are made on all cores, in order.
  private static DataSet made(int n, IntFunction<Example> example) {
    return new DataSet(Objective.ANSWERS, IntStream.range(0, n).parallel().mapToObj(example).toList());
  }
}
