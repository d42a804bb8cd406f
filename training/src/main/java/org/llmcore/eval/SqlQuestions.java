package org.llmcore.eval;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.StreamSupport;

import com.fasterxml.jackson.databind.JsonNode;

import org.llmcore.InvalidInput;
import org.llmcore.data.Problem;
import org.llmcore.data.Problems;
import org.llmcore.data.Rows;
import org.llmcore.data.sql.SqlTask;

/// Execution accuracy on questions of one's own: JSON lines (or a JSON list) beside SQLite files.
///
/// | key                      | what                                                                                       |
/// |--------------------------|--------------------------------------------------------------------------------------------|
/// | `question`               | asked; put into the prompt with the schema of its database                                 |
/// | `prompt`                 | the whole prompt instead, as the model was trained on it                                   |
/// | `sql`, `query` or `gold` | the gold query: a text, or a list of acceptable ones, each a text or `{"sql": …}`          |
/// | `db`                     | the database file, relative to the data file; where one file serves all, say so instead    |
/// | `db_id`                  | Spider's name of a database: `<folder>/<db_id>/<db_id>.sqlite` or `<folder>/<db_id>.sqlite` |
///
/// Every gold query is run before the model is asked anything.
public record SqlQuestions(List<Item> all, int maxNewTokens, List<String> stop) implements Task {
  private static final int KEPT = 5;

  /// @param gold acceptable queries; an answer that matches one is right
  public record Item(String prompt, List<String> gold, Path database) {}

  /// Where the databases are and how a prompt is spelled.
  /// @param database the file that serves every question
  /// @param databases Spider's folder of databases
  /// @param template a prompt with `{question}` and `{schema}` or `{ddl}` in it; without one, the form of the embedded SQL task
  public record Places(Optional<Path> database, Optional<Path> databases, Optional<String> template) {
    public Places {
      template.ifPresent(t -> {
        if (!t.contains("{question}")) {
          throw new InvalidInput("the template has no {question}", "for example '{ddl}\\n-- {question}\\n'");
        }
      });
    }
  }

  public SqlQuestions {
    all = List.copyOf(all);
    stop = List.copyOf(stop);
    if (maxNewTokens < 1) throw new InvalidInput("max new tokens is " + maxNewTokens, "expected at least 1");
  }

  /// Reads the first `items` questions of a file and runs their gold queries.
  /// @throws InvalidInput with the lines that are wrong
  public static SqlQuestions read(Path data, Places places, int items, int maxNewTokens, List<String> stop) {
    var problems = new Problems(KEPT);
    var all = new ArrayList<Item>();
    var schemas = new HashMap<Path, String>();
    Rows.read(data, problems, (line, row) -> {
      if (all.size() >= items) return;
      try {
        all.add(item(data, row, places, schemas));
      } catch (InvalidInput e) {
        problems.add(Problem.Kind.SQL, line, e.getMessage().replace("\n  ---> ", "; "));
      }
    });
    problems.refuse(data.getFileName().toString());
    if (all.isEmpty()) throw new InvalidInput(data.getFileName() + " holds no question", "add at least one");
    return new SqlQuestions(all, maxNewTokens, stop);
  }

  private static Item item(Path data, JsonNode row, Places places, Map<Path, String> schemas) {
    if (!row.isObject()) throw new InvalidInput("the row is no object", "expected question and sql");
    var gold = gold(row);
    var file = database(data, row, places);
    try (var database = SqlExecution.of(file)) {
      gold.forEach(database::require);
      if (row.path("prompt").isTextual()) return new Item(row.path("prompt").asText(), gold, file);
      if (!row.path("question").isTextual()) {
        throw new InvalidInput("neither question nor prompt is a text", "expected one of them");
      }
      return new Item(prompt(row.path("question").asText(), file, database, places, schemas), gold, file);
    }
  }

  private static String prompt(String question, Path file, SqlExecution database, Places places, Map<Path, String> schemas) {
    if (places.template.isEmpty()) return SqlTask.prompt(schemas.computeIfAbsent(file, _ -> database.schema()), question);
    var t = places.template.get();
    // The question comes last: what a user asks is never taken for a placeholder.
    if (t.contains("{schema}")) t = t.replace("{schema}", schemas.computeIfAbsent(file, _ -> database.schema()));
    if (t.contains("{ddl}")) t = t.replace("{ddl}", database.ddl());
    return t.replace("{question}", question);
  }

  private static List<String> gold(JsonNode row) {
    for (var key : List.of("sql", "query", "gold")) {
      var node = row.path(key);
      if (node.isTextual()) return List.of(node.asText());
      if (!node.isArray() || node.isEmpty()) continue;
      var all = StreamSupport.stream(node.spliterator(), false).map(g -> g.isTextual() ? g : g.path("sql")).toList();
      if (all.stream().allMatch(JsonNode::isTextual)) return all.stream().map(JsonNode::asText).toList();
    }
    throw new InvalidInput("there is no gold query", "expected a text under sql, query or gold");
  }

  private static Path database(Path data, JsonNode row, Places places) {
    if (places.database.isPresent()) return places.database.get();
    if (row.path("db").isTextual()) return data.toAbsolutePath().resolveSibling(row.path("db").asText()).normalize();
    var id = row.path("db_id").asText("");
    if (places.databases.isEmpty() || id.isEmpty()) {
      throw new InvalidInput("the row names no database",
          "add \"db\": \"<file>\", or give --db FILE, or --databases DIR for rows with a db_id");
    }
    if (!id.matches("[\\p{L}\\p{N}_-]+")) throw new InvalidInput("db_id is '" + id + "'", "expected letters, digits, _ and -");
    var inFolder = places.databases.get().resolve(id).resolve(id + ".sqlite");
    return java.nio.file.Files.exists(inFolder) ? inFolder : places.databases.get().resolve(id + ".sqlite");
  }

  @Override
  public String name() {
    return "SQL execution accuracy";
  }

  @Override
  public int items() {
    return all.size();
  }

  @Override
  public String prompt(int item) {
    return all.get(item).prompt;
  }

  @Override
  public String gold(int item) {
    return all.get(item).gold.getFirst();
  }

  @Override
  public boolean right(int item, String answer) {
    try (var database = SqlExecution.of(all.get(item).database)) {
      return all.get(item).gold.stream().anyMatch(gold -> database.compare(answer, gold) == SqlExecution.Outcome.MATCH);
    }
  }
}
