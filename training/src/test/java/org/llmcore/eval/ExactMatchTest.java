package org.llmcore.eval;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;
import org.llmcore.data.DataFile;
import org.llmcore.data.DataSet;
import org.llmcore.data.Examples;
import org.llmcore.data.TooLong;
import org.llmcore.text.BpeTrainer;
import org.llmcore.text.Tokenizer;
import org.llmcore.train.Llama2ChatForm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class ExactMatchTest {
  @TempDir Path folder;
  private final Tokenizer words = BpeTrainer.train(List.of("two and two are four, the sky is blue ".repeat(30)), 300);

  private DataSet data(String name, int context, String... lines) throws IOException {
    var file = Files.writeString(folder.resolve(name), String.join("\n", lines));
    return DataFile.detect(file).load(new Examples(words, new Llama2ChatForm(words)), context, TooLong.TRUNCATE).data();
  }

  @Test
  void promptAndGoldAreThoseOfTraining() throws IOException {
    var data = data("pairs.jsonl", 100, "{\"prompt\":\"two and two are\",\"completion\":\" four\"}",
        "{\"prompt\":\"the sky is\",\"completion\":\" blue\\nand  wide\"}");
    var match = ExactMatch.of(data, words, 10, false, false);
    assertThat(match.items()).isEqualTo(2);
    assertThat(match.gold(0)).isEqualTo("four");
    assertThat(match.gold(1)).isEqualTo("blue\nand  wide");
    assertThat(match.ids(words, 0)).isEqualTo(new Examples(words, new Llama2ChatForm(words)).prompt("two and two are"));
    assertThat(ExactMatch.of(data, words, 1, false, false).items()).isEqualTo(1);
  }

  @Test
  void ofAConversationTheLastAnswerCounts() throws IOException {
    var chat = "{\"messages\":[{\"role\":\"user\",\"content\":\"two\"},{\"role\":\"assistant\",\"content\":\"four\"},{\"role\":\"user\",\"content\":\"sky\"},{\"role\":\"assistant\",\"content\":\"blue\"}]}";
    var match = ExactMatch.of(data("chat.jsonl", 200, chat), words, 10, false, false);
    assertThat(match.gold(0)).isEqualTo("blue");
    assertThat(match.prompt(0)).contains("two", "four", "sky").endsWith("[/INST]");
  }

  @Test
  void normalisationIsTrimmingAndWhatIsAskedFor() throws IOException {
    var data = data("pairs.jsonl", 100, "{\"prompt\":\"the sky is\",\"completion\":\" Blue  and wide\"}");
    var strict = ExactMatch.of(data, words, 1, false, false);
    assertThat(strict.right(0, "\n Blue  and wide ")).isTrue();
    assertThat(strict.right(0, "blue  and wide")).isFalse();
    assertThat(strict.right(0, "Blue and wide")).isFalse();
    assertThat(ExactMatch.of(data, words, 1, true, false).right(0, "bLUE  and wide")).isTrue();
    assertThat(ExactMatch.of(data, words, 1, false, true).right(0, "Blue\tand\n wide")).isTrue();
    assertThat(ExactMatch.of(data, words, 1, true, true).right(0, "Bluer and wide")).isFalse();
  }

  @Test
  void answersThatLostTheirEndAreNoItems() throws IOException {
    var lines = new String[] {"{\"prompt\":\"a\",\"completion\":\" four\"}",
        "{\"prompt\":\"a\",\"completion\":\"" + " blue sky".repeat(40) + "\"}"};
    assertThat(ExactMatch.of(data("cut.jsonl", 16, lines), words, 10, false, false).items()).isEqualTo(1);
  }

  @Test
  void runningTextIsRefused() throws IOException {
    var data = data("text.jsonl", 100, "{\"text\":\"the sky is blue\"}");
    assertThatThrownBy(() -> ExactMatch.of(data, words, 10, false, false)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("running text");
  }
}
