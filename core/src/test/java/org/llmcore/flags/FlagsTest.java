package org.llmcore.flags;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

import org.junit.jupiter.api.Test;

import static org.assertj.core.api.Assertions.assertThat;

class FlagsTest {
  @Test
  void thePageOfFlagsSaysWhatTheCodeSays() throws IOException {
    var rows = Files.readAllLines(Path.of("../docs/flags.md")).stream().filter(l -> l.startsWith("| `")).toList();
    assertThat(rows).isEqualTo(Flags.ALL.stream().map(f -> "| `" + f.name() + "` | " + f.values() + " | " + f.sentence() + " |").toList());
  }
}
