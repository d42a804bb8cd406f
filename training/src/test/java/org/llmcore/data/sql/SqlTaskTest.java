package org.llmcore.data.sql;

import java.util.HashSet;
import java.util.stream.Collectors;

import org.junit.jupiter.api.Test;

import org.llmcore.eval.SqlExecution;

import static org.assertj.core.api.Assertions.assertThat;

class SqlTaskTest {
  private static String schema(String prompt) {
    return prompt.substring(0, prompt.indexOf(" | "));
  }

  @Test
  void nothingOfTheTestSetLeaksIntoTraining() {
    var train = SqlTask.train(1, 12_000);
    var schemas = train.stream().map(e -> schema(e.prompt())).collect(Collectors.toSet());
    var tables = new HashSet<String>();
    for (var s : schemas) for (var t : s.split(" ; ")) tables.add(t.substring(0, t.indexOf(' ')));
    var prompts = train.stream().map(SqlTask.Example::prompt).collect(Collectors.toSet());
    for (var e : SqlTask.test(1, 500)) {
      assertThat(schemas).doesNotContain(schema(e.prompt()));
      assertThat(prompts).doesNotContain(e.prompt());
      for (var t : schema(e.prompt()).split(" ; ")) assertThat(tables).as("table of a test schema").doesNotContain(t.substring(0, t.indexOf(' ')));
    }
    assertThat(train).noneMatch(SqlTask.Example::heldOut);
  }

  @Test
  void theCorpusHoldsNoSqlAndNoTestSchema() {
    var test = SqlTask.test(1, 500).stream().map(e -> schema(e.prompt())).collect(Collectors.toSet());
    for (long i = 0; i < 20_000; i++) {
      var text = SqlTask.corpus(1, i).text();
      assertThat(text).doesNotContain("select ").doesNotContain("sql :").doesNotContain("group by").doesNotContain("order by");
      assertThat(test).doesNotContain(SqlTask.corpus(1, i).given());
    }
  }

  @Test
  void everyGoldQueryRunsAndIsJudgedRight() {
    for (var e : SqlTask.test(1, 300)) {
      try (var database = SqlExecution.of(e.script())) {
        assertThat(database.compare(e.answer(), e.answer())).as(e.answer()).isEqualTo(SqlExecution.Outcome.MATCH);
        assertThat(database.compare("select 1 where 0", e.answer())).as("an empty answer passes for " + e.answer()).isEqualTo(SqlExecution.Outcome.DIFFERENT_ROWS);
      }
    }
  }

  @Test
  void examplesArePureFunctionsOfTheirNumber() {
    assertThat(SqlTask.train(1, 50)).isEqualTo(SqlTask.train(1, 100).subList(0, 50));
    assertThat(SqlTask.train(2, 50)).isNotEqualTo(SqlTask.train(1, 50));
    assertThat(SqlTask.prompt("singers(name text, age number) | how many singers are there?"))
        .isEqualTo("singers ( name text , age number ) | how many singers are there | sql :");
  }
}
