package org.llmcore.eval;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.List;
import java.util.Optional;

import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class SqlQuestionsTest {
  private static final SqlQuestions.Places BESIDE = new SqlQuestions.Places(Optional.empty(), Optional.empty(), Optional.empty());

  @TempDir Path folder;
  private Path database;

  @BeforeEach
  void aDatabaseLiesBesideTheData() throws IOException, SQLException {
    database = Files.createDirectories(folder.resolve("a b#c?d%20")).resolve("zoo.sqlite");
    try (var c = DriverManager.getConnection("jdbc:sqlite:" + folder.resolve("zoo.sqlite")); var s = c.createStatement()) {
      s.execute("create table animals (name text, age integer, born date)");
      s.execute("insert into animals values ('owl', 3, '2020'), ('fox', 5, '2018'), ('elk', 5, '2018')");
    }
    Files.move(folder.resolve("zoo.sqlite"), database);
  }

  private SqlQuestions read(SqlQuestions.Places places, String... lines) throws IOException {
    return SqlQuestions.read(Files.writeString(folder.resolve("q.jsonl"), String.join("\n", lines)), places, 100, 64, List.of());
  }

  @Test
  void questionsFindTheirDatabaseAndAreJudgedByRows() throws IOException {
    var task = read(BESIDE, "{\"question\":\"how old is the owl?\",\"sql\":\"select age from animals where name = 'owl'\",\"db\":\"a b#c?d%20/zoo.sqlite\"}");
    assertThat(task.prompt(0)).isEqualTo("animals ( name text , age number , born text ) | how old is the owl | sql :");
    assertThat(task.right(0, "SELECT 3")).isTrue();
    assertThat(task.right(0, "select min(age) from animals;")).isTrue();
    assertThat(task.right(0, "select age from animals")).isFalse();
    assertThat(task.right(0, "delete from animals")).isFalse();
    assertThat(task.right(0, "select age from animals where name = 'owl'")).as("nothing was deleted").isTrue();
  }

  @Test
  void oneDatabaseMayServeAllAndAnyOfSeveralGoldQueriesIsRight() throws IOException {
    var places = new SqlQuestions.Places(Optional.of(database), Optional.empty(), Optional.of("{ddl}\n-- {question} {ddl}\n"));
    var task = read(places, "{\"question\":\"oldest {schema}\",\"gold\":[{\"sql\":\"select name from animals where age = 5\"},{\"sql\":\"select max(age) from animals\"}]}",
        "{\"prompt\":\"as trained\",\"query\":\"select 1\"}");
    assertThat(task.prompt(0)).startsWith("CREATE TABLE animals (name text, age integer, born date);\n-- oldest {schema} CREATE");
    assertThat(task.prompt(1)).isEqualTo("as trained");
    assertThat(task.right(0, "select 5")).isTrue();
    assertThat(task.right(0, "select 'elk' union all select 'fox'")).isTrue();
    assertThat(task.right(0, "select 'elk'")).isFalse();
  }

  @Test
  void orderMattersOnlyIfTheResultIsOrdered() {
    assertThat(SqlExecution.ordered("select a from t ORDER\n BY a")).isTrue();
    assertThat(SqlExecution.ordered("select a from (select a from t order by a)")).isFalse();
    assertThat(SqlExecution.ordered("select rank() over (order by a) from t")).isFalse();
    assertThat(SqlExecution.ordered("select 'order by' from t -- order by a")).isFalse();
    assertThat(SqlExecution.ordered("with x as (select 1 order by 1) select * from x order by 1")).isTrue();
  }

  @Test
  void mixedTypesQuotesAndCommentsAreUnderstood() {
    try (var db = SqlExecution.of(List.of("create table t (a)",
        "insert into t values (2), ('1x'), (10), (null), ('a;b'), (x'00ff')"))) {
      assertThat(db.compare("select a from t order by typeof(a), a desc", "select a from t"))
          .isEqualTo(SqlExecution.Outcome.MATCH);
      assertThat(db.compare("/* why */ select 'a;b' -- that", "select a from t where a = 'a;b'"))
          .isEqualTo(SqlExecution.Outcome.MATCH);
      assertThat(db.compare("select x'00fe'", "select a from t where typeof(a) = 'blob'"))
          .isEqualTo(SqlExecution.Outcome.DIFFERENT_ROWS);
    }
  }

  @Test
  void hugeResultsAreCutOff() {
    try (var db = SqlExecution.of(List.of("create table t (a)", "insert into t values (1)"))) {
      assertThat(db.compare("select hex(zeroblob(100000000))", "select 1")).as("a value").isEqualTo(SqlExecution.Outcome.ERROR);
      var many = "with recursive r(n) as (select 1 union all select n + 1 from r where n < 90000) select hex(zeroblob(500000)) from r";
      assertThat(db.compare(many, "select 1")).as("many large values").isEqualTo(SqlExecution.Outcome.ERROR);
      var wide = "with recursive r(n) as (select 1 union all select n + 1 from r where n < 50000) select 1,1,1,1,1,1,1,1 from r";
      assertThat(db.compare(wide, wide)).as("columns that are alike").isEqualTo(SqlExecution.Outcome.MATCH);
    }
  }

  @Test
  void whatIsWrongIsNamedByLine() {
    assertThatThrownBy(() -> read(BESIDE, "{\"question\":\"a\",\"sql\":\"select 1\"}")).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("line 1").hasMessageContaining("--db");
    var places = new SqlQuestions.Places(Optional.of(database), Optional.empty(), Optional.empty());
    assertThatThrownBy(() -> read(places, "{\"question\":\"a\",\"sql\":\"select 1\"}",
        "{\"question\":\"a\",\"sql\":\"select x from nowhere\"}"))
        .isInstanceOf(InvalidInput.class).hasMessageContaining("line 2").hasMessageContaining("nowhere");
    assertThatThrownBy(() -> read(places, "{\"question\":\"a\"}")).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("no gold query");
    assertThatThrownBy(() -> read(places, "{\"question\":")).isInstanceOf(InvalidInput.class).hasMessageContaining("line 1");
    var data = new SqlQuestions.Places(Optional.of(folder.resolve("q.jsonl")), Optional.empty(), Optional.empty());
    assertThatThrownBy(() -> read(data, "{\"question\":\"a\",\"sql\":\"select 1\"}")).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("cannot be opened as an SQLite database");
  }

  @Test
  void publishedQuestionsAreAnsweredByTheirGoldQueries() {
    var spider = Path.of(System.getProperty("llm.data", "../shared/data"), "text-to-sql", "spider-de");
    Assumptions.assumeTrue(Files.exists(spider), "skipped: " + spider + " is not here");
    var task = SqlQuestions.read(spider.resolve("dev.jsonl"),
        new SqlQuestions.Places(Optional.empty(), Optional.of(spider.resolve("databases")), Optional.empty()), 1000, 64,
        List.of());
    assertThat(task.items()).isEqualTo(220);
    for (int i = 0; i < task.items(); i++) {
      assertThat(task.right(i, task.gold(i) + " ;")).as(task.gold(i)).isTrue();
      assertThat(task.prompt(i)).endsWith("| sql :");
    }
  }
}
