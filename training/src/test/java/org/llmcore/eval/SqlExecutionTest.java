package org.llmcore.eval;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;
import static org.llmcore.eval.SqlExecution.Outcome.DIFFERENT_ROWS;
import static org.llmcore.eval.SqlExecution.Outcome.ERROR;
import static org.llmcore.eval.SqlExecution.Outcome.MATCH;
import static org.llmcore.eval.SqlExecution.Outcome.TIMEOUT;

class SqlExecutionTest {
  private final SqlExecution database =
      SqlExecution.of(List.of("create table t (name text, age integer)", "insert into t values ('a', 1), ('b', 2), ('b', 3)"));

  @AfterEach
  void close() {
    database.close();
  }

  @Test
  void rowsAreAMultisetUnlessTheGoldQueryOrders() {
    assertThat(database.compare("select name from t order by age desc", "select name from t")).isEqualTo(MATCH);
    assertThat(database.compare("select name from t order by age desc", "select name from t order by age")).isEqualTo(DIFFERENT_ROWS);
    assertThat(database.compare("select distinct name from t", "select name from t")).isEqualTo(DIFFERENT_ROWS);
  }

  @Test
  void columnsMayBePermutedAndNumbersAreEqualAcrossTypes() {
    assertThat(database.compare("select age, name from t", "select name, age from t")).isEqualTo(MATCH);
    assertThat(database.compare("select 2.0 from t", "select 2 from t")).isEqualTo(MATCH);
    assertThat(database.compare("select name, name from t", "select name, age from t")).isEqualTo(DIFFERENT_ROWS);
  }

  @Test
  void hostilePredictionsHarmNothing(@TempDir Path folder) {
    var file = folder.resolve("x.sqlite");
    for (var sql : List.of("drop table t", "attach '" + file + "' as x", "select 1; delete from t", "pragma query_only = 0", "vacuum into '" + file + "'", "insert into t values ('c', 4)", "nonsense", "")) {
      assertThat(database.compare(sql, "select count(*) from t")).as(sql).isEqualTo(ERROR);
    }
    assertThat(file).doesNotExist();
    assertThat(database.compare("select 3", "select count(*) from t")).isEqualTo(MATCH);
  }

  @Test
  void aQueryThatNeverEndsIsCutOff() {
    assertThat(database.compare("with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) from r", "select 1")).isEqualTo(TIMEOUT);
  }

  @Test
  void publishedGoldQueriesScoreThemselves() throws IOException {
    var data = Path.of(System.getProperty("llm.data", "../shared/data"), "text-to-sql");
    Assumptions.assumeTrue(Files.exists(data), "skipped: " + data + " is not here");
    var json = new ObjectMapper();
    int items = 0;
    for (var line : Files.readAllLines(data.resolve("defog/questions.jsonl"))) {
      var q = json.readTree(line);
      try (var db = SqlExecution.of(data.resolve("defog/databases/" + q.get("db_id").asText() + ".sqlite"))) {
        for (var gold : q.get("gold")) {
          assertThat(db.compare(gold.get("sql").asText(), gold.get("sql").asText())).as(gold.get("sql").asText()).isEqualTo(MATCH);
          items++;
        }
      }
    }
    assertThat(items).isGreaterThan(50);
  }

  @Test
  void intervalsAndSignificanceAreTheTextbooks() {
    var s = new Score(81, 263); // Newcombe 1998, table I: Wilson without continuity correction 0.2553, 0.3662
    assertThat(s.low()).isCloseTo(0.2553, org.assertj.core.data.Offset.offset(5e-5));
    assertThat(s.high()).isCloseTo(0.3662, org.assertj.core.data.Offset.offset(5e-5));
    // 8 items gained, 2 lost: 2·(1 + 10 + 45)/2¹⁰
    var before = List.of(false, false, false, false, false, false, false, false, true, true);
    var after = before.stream().map(b -> !b).toList();
    assertThat(Score.pValue(before, after)).isCloseTo(112 / 1024.0, org.assertj.core.data.Offset.offset(1e-12));
  }
}
