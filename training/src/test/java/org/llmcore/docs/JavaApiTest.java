package org.llmcore.docs;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.Devices;
import org.llmcore.train.OpenModel;
import org.llmcore.train.RecipeFile;
import org.llmcore.train.TrainingRun;

import static org.assertj.core.api.Assertions.assertThat;

/// The example of docs/java-api.md: what the page shows is what runs here.
class JavaApiTest {
  @TempDir Path folder;

  @Test
  void theExampleTunesAModelAndAsksIt() {
    var out = new StringBuilder();
    example(folder.resolve("my-run"), out);
    assertThat(out.toString()).as("accuracy rises, and the answer is SQL").matches("0[.]0\\d* → 0[.][3-9]\\d*\nselect count.*\n");
  }

  private static void example(Path run, StringBuilder out) {
    // docs/java-api.md: begin
    var recipe = RecipeFile.parse("""
        model: {path: embedded:sql-base}
        method: {type: lora, r: 16, alpha: 32, targets: all-linear}
        data: {path: embedded:sql}
        training: {maxSteps: 60, batch: 32, learningRate: 3e-3}
        evaluation: {task: sql, items: 40}
        """);
    try (var device = Devices.open()) {
      var summary = new TrainingRun(device, recipe, run).run();
      out.append(summary.accuracyBefore().getAsDouble() + " → " + summary.accuracyAfter().getAsDouble() + "\n");
      try (var model = OpenModel.ofRun(device, run)) {
        out.append(model.complete("singers(name text, age number) | how many singers are there?", 40) + "\n");
      }
    }
    // docs/java-api.md: end
  }

  @Test
  void thePageShowsTheCodeThatRuns() throws IOException {
    var source = Files.readString(Path.of("src/test/java/org/llmcore/docs/JavaApiTest.java"));
    var region = source.substring(source.indexOf("md: begin\n") + 10, source.indexOf("    // docs/java-api.md: end")).replaceAll("(?m)^    ", "");
    assertThat(Files.readString(Path.of("../docs/java-api.md"))).contains("```java\n" + region + "```");
  }
}
