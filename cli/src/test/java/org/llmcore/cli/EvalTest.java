package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.List;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;

/// The metrics on a model that learned three answers by heart.
class EvalTest {
  @TempDir static Path shared;
  private static Path run;

  @TempDir Path folder;
  private final Session session = new Session();

  @BeforeAll
  static void aModelKnowsThreeAnswers() throws IOException {
    var data = Files.writeString(shared.resolve("data.jsonl"),
        (pair("two and two are", " Four") + pair("the sky is", " blue") + pair("rows", " select 2")).repeat(8));
    var recipe = Files.writeString(shared.resolve("recipe.yaml"), """
        model: {path: "%s"}
        data: {path: "%s", validation: 0}
        method: full
        training: {maxSteps: 60, batch: 12, learningRate: 1e-2, epochs: 100}
        output: {folder: "%s"}
        """.formatted(Session.model(shared.resolve("model")), data, shared).replace('\\', '/'));
    var session = new Session();
    assertThat(session.run("train", recipe, "--name", "run", "--quiet")).as("%s", session.err()).isZero();
    run = shared.resolve("run");
  }

  private static String pair(String prompt, String completion) {
    return "{\"prompt\":\"" + prompt + "\",\"completion\":\"" + completion + "\"}\n";
  }

  @Test
  void exactMatchCountsAnswersAndWritesThem() throws IOException {
    var data = Files.writeString(folder.resolve("test.jsonl"),
        pair("two and two are", " four") + pair("the sky is", " blue ") + pair("the sky is", " red"));
    var out = folder.resolve("predictions.jsonl");
    assertThat(session.run("eval", "exact", "--run", run, "--data", data, "--out", out, "--json")).as(session.err()).isZero();
    var o = session.object();
    assertThat(o.path("right").asInt()).isEqualTo(1);
    assertThat(o.path("items").asInt()).isEqualTo(3);
    assertThat(o.path("low").asDouble()).isCloseTo(0.0615, Offset.offset(5e-4)); // Wilson, 1 of 3
    assertThat(o.path("high").asDouble()).isCloseTo(0.7923, Offset.offset(5e-4));
    var lines = Files.readAllLines(out);
    assertThat(lines).hasSize(3);
    var first = new ObjectMapper().readTree(lines.getFirst());
    assertThat(first.path("prediction").asText()).isEqualTo("Four");
    assertThat(first.path("gold").asText()).isEqualTo("four");
    assertThat(first.path("right").asBoolean()).isFalse();

    assertThat(session.run("eval", "exact", "--run", run, "--data", data, "--ignore-case", "--items", "2", "--json")).isZero();
    assertThat(session.object().path("accuracy").asDouble()).isEqualTo(1);
    assertThat(session.run("eval", "exact", "--run", run, "--data", data)).isZero();
    assertThat(session.out()).contains("exact match: 33.3 % (1 of 3", "gold  red", "said  blue");
  }

  @Test
  void sqlOfOnesOwnIsRunOnOnesOwnDatabase() throws IOException, SQLException {
    var database = folder.resolve("zoo.sqlite");
    try (var c = DriverManager.getConnection("jdbc:sqlite:" + database); var s = c.createStatement()) {
      s.execute("create table animals (name text)");
      s.execute("insert into animals values ('owl'), ('fox')");
    }
    var data = Files.writeString(folder.resolve("q.jsonl"),
        "{\"prompt\":\"rows\",\"sql\":\"select count(*) from animals\",\"db\":\"zoo.sqlite\"}\n{\"prompt\":\"the sky is\",\"sql\":\"select 1\",\"db\":\"zoo.sqlite\"}\n");
    assertThat(session.run("eval", "sql", "--run", run, "--data", data, "--json")).as(session.err()).isZero();
    assertThat(session.object().path("accuracy").asDouble()).isEqualTo(0.5);
    try (var files = Files.list(folder)) {
      assertThat(files.map(f -> f.getFileName().toString())).as("no journal beside the database")
          .containsExactlyInAnyOrder("zoo.sqlite", "q.jsonl");
    }
  }

  @Test
  void perplexityHasAWindowAndAStride() throws IOException {
    var text = Files.writeString(folder.resolve("text.txt"), "two and two are four, the sky is blue ".repeat(20));
    assertThat(session.run("eval", "perplexity", "--run", run, "--file", text, "--json")).as(session.err()).isZero();
    var whole = session.object();
    assertThat(whole.path("window").asInt()).as("2,048, or the context if that is less").isEqualTo(64);
    assertThat(whole.path("perplexity").asDouble()).isCloseTo(Math.exp(whole.path("mean_nll").asDouble()), Offset.offset(1e-9));
    assertThat(session.run("eval", "perplexity", "--run", run, "--file", text, "--stride", "16", "--json")).isZero();
    assertThat(session.object().path("tokens").asInt()).as("the tail, too").isGreaterThan(whole.path("tokens").asInt());
    assertThat(List.of(session.run("eval", "perplexity", "--run", run, "--file", text, "--stride", "65"),
        session.run("eval", "perplexity", "--run", run, "--file", text, "--window", "65"))).containsOnly(2);
  }
}
