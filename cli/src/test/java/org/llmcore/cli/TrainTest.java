package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;

/// `train` as scripts and people see it.
class TrainTest {
  @TempDir static Path shared;
  private static Path recipe;
  private final Session session = new Session();

  @BeforeAll
  static void aRecipeIsThere() throws IOException {
    var data = Files.writeString(shared.resolve("data.jsonl"), "{\"prompt\":\"two and two are\",\"completion\":\" four\"}\n".repeat(40));
    recipe = Files.writeString(shared.resolve("recipe.yaml"), """
        model: {path: "%s"}
        data: {path: "%s", validation: 0.1}
        training: {maxSteps: 2, batch: 2}
        output: {folder: "%s"}
        """.formatted(Session.model(shared.resolve("model")), data, shared.resolve("runs")).replace('\\', '/'));
  }

  @Test
  void underJsonTheSummaryIsTheOneObjectOnStandardOutput() throws IOException {
    assertThat(session.run("train", recipe, "--json", "--name", "json")).as("%s", session.err()).isZero();
    assertThat(session.out().lines()).hasSize(1);
    var printed = (ObjectNode) session.object();
    var file = shared.resolve("runs/json/summary.json");
    assertThat(printed.path("summary").asText()).isEqualTo(file.toString());
    assertThat(printed.path("run").asText()).isEqualTo(shared.resolve("runs/json").toString());
    printed.remove("summary");
    printed.remove("run");
    assertThat(printed).isEqualTo(new ObjectMapper().readTree(file.toFile()));
    assertThat(printed.fieldNames()).toIterable().contains(
        "eval_loss_before", "eval_loss_after", "first_loss", "last_loss", "steps", "tokens_per_second", "planned_peak_bytes",
        "peak_bytes", "wall_seconds", "device", "weights_sha256");
    assertThat(session.err()).contains("memory plan", "summary      ");
  }

  @Test
  void theLastLineIsWhereTheSummaryLies() {
    assertThat(session.run("train", recipe, "--quiet", "--name", "quiet")).isZero();
    assertThat(session.out().lines()).containsExactly("summary      " + shared.resolve("runs/quiet/summary.json"));
    assertThat(session.err()).isEmpty();
  }
}
