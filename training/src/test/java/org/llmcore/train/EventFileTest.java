package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.HexFormat;
import java.util.Map;
import java.util.concurrent.TimeUnit;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

class EventFileTest {
  /// Printed by `event-file-golden.py` among the test resources.
  private static final String GOLDEN =
      "1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d"
          + "2100000000000000017becf60900000040fc54d94110ac022a130a110a0a747261696e2f6c6f7373150000c03f84c0aa1a";
  private static final Instant TIME = Instant.ofEpochSecond(1_700_000_000);

  @TempDir Path folder;

  private Path only() throws IOException {
    try (var files = Files.list(folder)) {
      return files.findFirst().orElseThrow();
    }
  }

  @Test
  void theBytesAreThoseOfTensorBoardsOwnWriter() throws IOException {
    try (var events = EventFile.create(folder, 0, () -> TIME)) {
      events.add(300, Map.of("train/loss", 1.5));
    }
    assertThat(HexFormat.of().formatHex(Files.readAllBytes(only()))).isEqualTo(GOLDEN);
  }

  @Test
  void aResumedSessionGetsItsOwnFileThatDiscardsLaterSteps() throws IOException {
    EventFile.create(folder, 0, () -> TIME).close();
    EventFile.create(folder, 20, () -> TIME).close();
    try (var files = Files.list(folder).sorted()) {
      var names = files.map(f -> f.getFileName().toString()).toList();
      assertThat(names).containsExactly("events.out.tfevents.1700000000.llm-core.0", "events.out.tfevents.1700000000.llm-core.1");
      // step 21, session_log { status: START }
      assertThat(HexFormat.of().formatHex(Files.readAllBytes(folder.resolve(names.getLast())))).contains("10153a020801");
    }
  }

  /// Opt-in: `-Dllm.peers=` names a Python that has `tensorboard`.
  @Test
  void tensorBoardReadsTheScalarsAndForgetsWhatAResumedRunRepeats() throws IOException, InterruptedException {
    String peers = System.getProperty("llm.peers", "");
    assumeThat(peers).as("no Python of peers is named by -Dllm.peers").isNotEmpty();
    try (var events = EventFile.create(folder, 0, () -> TIME)) {
      for (int step = 1; step <= 30; step++) events.add(step, Map.of("train/loss", 100.0 + step));
    }
    try (var events = EventFile.create(folder, 20, () -> TIME.plusSeconds(60))) {
      for (int step = 21; step <= 25; step++) events.add(step, Map.of("train/loss", (double) step));
    }
    String program =
        "import sys\n"
            + "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
            + "a = EventAccumulator(sys.argv[1]); a.Reload()\n"
            + "print(';'.join('%d=%g' % (e.step, e.value) for e in a.Scalars('train/loss')))\n";
    var python = new ProcessBuilder(peers, "-c", program, folder.toString()).redirectError(ProcessBuilder.Redirect.DISCARD).start();
    String answer = new String(python.getInputStream().readAllBytes()).strip();
    assertThat(python.waitFor(60, TimeUnit.SECONDS)).isTrue();
    assertThat(answer).startsWith("1=101;2=102").contains("20=120;21=21;").endsWith("25=25");
  }
}
