package org.llmcore.eval;

import java.util.List;

import org.llmcore.data.sql.SqlTask;

/// Execution accuracy on the embedded SQL task: every prediction runs in a database of its own.
public record SqlTaskEvaluation(List<SqlTask.Example> examples) implements Task {
  @Override
  public String name() {
    return "SQL execution accuracy";
  }

  @Override
  public int items() {
    return examples.size();
  }

  @Override
  public String prompt(int item) {
    return examples.get(item).prompt();
  }

  @Override
  public String gold(int item) {
    return examples.get(item).answer().strip();
  }

  @Override
  public boolean right(int item, String answer) {
    try (var database = SqlExecution.of(examples.get(item).script())) {
      return database.compare(answer, gold(item)) == SqlExecution.Outcome.MATCH;
    }
  }

  @Override
  public int maxNewTokens() {
    return 80;
  }
}
