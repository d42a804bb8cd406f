package org.llmcore.cli;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;

import org.assertj.core.api.Assertions;
import org.junit.jupiter.api.Test;

import org.llmcore.InvalidInput;
import org.llmcore.Nearest;

import static org.assertj.core.api.Assertions.assertThat;

class MainTest {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  private Surroundings on(boolean terminal) {
    return new Surroundings(new PrintStream(out, false, StandardCharsets.UTF_8), terminal, new PrintStream(err, true, StandardCharsets.UTF_8), terminal, 100, false);
  }

  private Console console(boolean terminal, boolean quiet, boolean json, Console.Color color) {
    return new Console(on(terminal), quiet, json, color);
  }

  private int run(String... arguments) {
    return Main.run(on(false), List.of(arguments));
  }

  private String out() {
    return out.toString(StandardCharsets.UTF_8);
  }

  private String err() {
    return err.toString(StandardCharsets.UTF_8);
  }

  @Test
  void helpTeachesAndVersionNamesTheJava() {
    assertThat(run("--help")).isZero();
    assertThat(out()).contains("Usage: llm-core", "--json", "Exit codes:", "2", "LLM_DEBUG");
    assertThat(run("--version")).isZero();
    assertThat(out()).contains("llm-core (not packaged)", "Java 25");
  }

  @Test
  void aMisspelledOptionGetsTheNearestOneAndCode2() {
    assertThat(run("--jsn")).isEqualTo(2);
    assertThat(err()).contains("there is no option --jsn: did you mean --json?", "llm-core --help").doesNotContain("Exception");
  }

  @Test
  void theNearestWordIsAFewSlipsAway() {
    var verbs = List.of("train", "generate", "tokenize");
    assertThat(Nearest.to("trian", verbs)).contains("train");
    assertThat(Nearest.to("Tokenise", verbs)).contains("tokenize");
    assertThat(Nearest.to("generat", verbs)).contains("generate");
    assertThat(Nearest.to("serve", verbs)).isEmpty();
    assertThat(Nearest.to("x".repeat(1 << 20), verbs)).isEmpty();
  }

  @Test
  void aValueThatIsNoneOfTheChoicesIsRefused() {
    assertThat(run("--color", "sometimes")).isEqualTo(2);
    assertThat(err()).contains("--color", "sometimes");
  }

  @Test
  void wordsGoToStandardOutputAndObjectsNowhere() {
    var console = console(false, false, false, Console.Color.AUTO);
    console.say("hello");
    console.print("result");
    console.object(Map.of("a", 1));
    assertThat(out()).isEqualTo("hello" + System.lineSeparator() + "result");
    assertThat(err()).isEmpty();
  }

  @Test
  void underJsonObjectsAloneGoToStandardOutput() {
    var console = console(false, false, true, Console.Color.AUTO);
    console.say("hello");
    console.print("result");
    console.object(Map.of("text", "é"));
    console.object(List.of(1, 2));
    assertThat(out().lines()).containsExactly("{\"text\":\"é\"}", "[1,2]");
    assertThat(err()).contains("hello", "result");
  }

  @Test
  void quietLeavesResultsAndErrors() {
    var console = console(true, true, false, Console.Color.NEVER);
    console.say("hello");
    console.print("result");
    console.warn("trouble");
    assertThat(out()).isEqualTo("result");
    assertThat(err().strip()).isEqualTo("trouble");
    assertThat(console.animated()).isFalse();
  }

  @Test
  void colourIsForTerminalsUnlessAskedFor() {
    assertThat(console(true, false, false, Console.Color.AUTO).bold("x")).isEqualTo("\u001b[1mx\u001b[0m");
    assertThat(console(false, false, false, Console.Color.AUTO).bold("x")).isEqualTo("x");
    assertThat(console(true, false, false, Console.Color.NEVER).bold("x")).isEqualTo("x");
    assertThat(console(false, false, false, Console.Color.ALWAYS).bold("x")).isEqualTo("\u001b[1mx\u001b[0m");
    var plain = new Surroundings(new PrintStream(out), true, new PrintStream(err), true, 100, true);
    assertThat(new Console(plain, false, false, Console.Color.AUTO).bold("x")).isEqualTo("x");
  }

  @Test
  void aReaderWhoHangsUpEndsAResultButNotWhatIsMerelySaid() {
    var closed = new OutputStream() {
      @Override
      public void write(int b) throws IOException {
        throw new IOException("Broken pipe");
      }
    };
    var console = new Console(new Surroundings(new PrintStream(closed), false, new PrintStream(err), false, 100, false), false, false, Console.Color.AUTO);
    console.say("hello");
    Assertions.assertThatThrownBy(() -> console.print("result")).isInstanceOf(Console.Closed.class);
    assertThat(Failure.of(new Console.Closed())).isEqualTo(new Failure(141, ""));
  }

  @Test
  void whatTheUserCanMendIsCode2AndTheRestCode1() {
    assertThat(Failure.of(new InvalidInput("found", "try"))).isEqualTo(new Failure(2, "found\n  ---> try"));
    assertThat(Failure.of(new RuntimeException(new InvalidInput("found"))).code()).isEqualTo(2);
    assertThat(Failure.of(new NoSuchFileException("x.txt")).message()).contains("there is no file x.txt");
    assertThat(Failure.of(new UncheckedIOException(new AccessDeniedException("y"))).message()).contains("no permission for y");
    assertThat(Failure.of(new FileSystemException("z", null, "No space left on device"))).matches(f -> f.code() == 2 && f.message().contains("no space left for z"));
    assertThat(Failure.of(new UncheckedIOException("cannot write", new IOException("No space left on device"))).code()).isEqualTo(2);
    assertThat(Failure.of(new IllegalStateException("oops"))).matches(f -> f.code() == 1 && f.message().contains("oops") && f.message().contains("LLM_DEBUG"));
  }

  @Test
  void argumentsSavedFromALocaleWithoutUtf8AreTakenInstead() {
    String saved = Base64.getEncoder().encodeToString("tokenize\0--text\0é漢\0\0".getBytes(StandardCharsets.UTF_8));
    assertThat(Main.given(new String[] {"tokenize", "--text", "??", ""}, Optional.of(saved))).containsExactly("tokenize", "--text", "é漢", "");
    assertThat(Main.given(new String[] {"a"}, Optional.empty())).containsExactly("a");
  }

  @Test
  void progressWithoutATerminalIsALineEveryFewSeconds() {
    var clock = new AtomicLong();
    try (var progress = new Progress(console(false, false, false, Console.Color.AUTO), "training", 100, clock::get)) {
      for (int step = 1; step <= 100; step++) {
        clock.addAndGet(100_000_000);
        progress.step(step, 2.5, 2e-4, 0.75, 12345.6);
      }
    }
    assertThat(out().lines()).hasSize(2);
    assertThat(out().lines().toList().getFirst()).isEqualTo("training 50/100  loss 2.5000  lr 2.00e-04  |g| 0.750  12,346 tok/s  0:05 left");
    assertThat(out().lines().toList().getLast()).startsWith("training 100/100").doesNotContain("left");
    assertThat(err()).isEmpty();
  }

  @Test
  void progressOnATerminalIsABarOfOneLine() {
    try (var progress = Progress.of(console(true, false, false, Console.Color.AUTO), "training", 10)) {
      progress.step(10, 2.5, 2e-4, 0.75, 12345.6);
    }
    assertThat(out()).isEmpty();
    assertThat(err()).contains("\r", "training 100%", "10/10", "loss 2.5000");
    assertThat(err().strip()).as("drawn over itself, however often").doesNotContain("\n");
    assertThat(err().lines()).allMatch(line -> line.length() < 100);
  }

  /// What `train --json` ends with: a run without a validation set has no such loss.
  @Test
  void aSummaryWithoutSomeNumbersIsJsonToo() {
    record Result(java.util.OptionalDouble before, java.util.OptionalDouble after) {}
    console(false, false, true, Console.Color.NEVER).object(new Result(java.util.OptionalDouble.of(0.5), java.util.OptionalDouble.empty()));
    assertThat(out()).isEqualTo("{\"before\":0.5,\"after\":null}" + System.lineSeparator());
  }
}
