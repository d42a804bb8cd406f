package org.llmcore.cli;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

import static org.assertj.core.api.Assertions.assertThat;

class AnnouncementTest {
  /// `|` stands for a line feed, `<` for a carriage return, LINE for the announcement.
  @ParameterizedTest
  @CsvSource({
    "LINE|, ''",
    "LINE<|error|, error|",
    "LINE|first|LINE|second, first|second",
    "WARNING: other|, WARNING: other|",
    "WARNING: Using incubator modules: jdk.other|x, WARNING: Using incubator modules: jdk.other|x",
    "not LINE|, not LINE|",
    "10 %<20 %<LINE|30 %, 10 %<20 %<30 %",
    "WARN, WARN",
    "é|, é|"
  })
  void onlyTheAnnouncementIsTakenOut(String in, String out) throws IOException {
    var written = new ByteArrayOutputStream();
    Announcement.copy(new ByteArrayInputStream(bytes(in)), written);
    assertThat(written.toByteArray()).isEqualTo(bytes(out));
  }

  private static byte[] bytes(String text) {
    return text.replace("LINE", "WARNING: Using incubator modules: jdk.incubator.vector").replace('|', '\n').replace('<', '\r').getBytes(StandardCharsets.UTF_8);
  }
}
