package org.llmcore.bench;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;

class HistoryTest {
  private static History line(String commit, String host, double low, double median, double high) {
    return new History(commit, "2026-11-24", host, "OperatorBenchmark.run[MATMUL]", "us/op", low, median, high, 100, "GFLOP/s", 0.5);
  }

  private static List<String> regressions(History... lines) {
    var out = new ArrayList<String>();
    History.compare(List.of(lines), out);
    return out;
  }

  @Test
  void linesComeBackAsTheyWereWritten(@TempDir Path folder) throws IOException {
    var file = folder.resolve("history.jsonl");
    History.append(file, List.of(line("a", "h", 9, 10, 11)));
    History.append(file, List.of(line("b", "h", 8, 9, 10)));
    assertThat(History.read(file)).containsExactly(line("a", "h", 9, 10, 11), line("b", "h", 8, 9, 10));
    assertThat(History.read(folder.resolve("none"))).isEmpty();
  }

  @Test
  void slowerBeyondTheNoiseIsARegression() {
    assertThat(regressions(line("a", "h", 9, 10, 11), line("b", "h", 12, 13, 14))).containsExactly("OperatorBenchmark.run[MATMUL]");
  }

  @Test
  void slowerWithinTheNoiseIsNone() {
    assertThat(regressions(line("a", "h", 9, 10, 13), line("b", "h", 12, 13, 14))).isEmpty();
  }

  @Test
  void anotherHostOrTheSameCommitIsNoYardstick() {
    assertThat(regressions(line("a", "laptop", 1, 1, 1), line("b", "server", 12, 13, 14))).isEmpty();
    assertThat(regressions(line("b", "h", 1, 1, 1), line("b", "h", 12, 13, 14))).isEmpty();
  }

  @Test
  void theYardstickIsTheFiveRunsBefore() {
    assertThat(regressions(
        line("0", "h", 90, 99, 100), line("1", "h", 9, 10, 11), line("2", "h", 9, 10, 11), line("3", "h", 9, 10, 11), line("4", "h", 9, 10, 11),
        line("5", "h", 9, 10, 11), line("6", "h", 12, 13, 14))).hasSize(1);
  }
}
