package org.llmcore;

import org.junit.jupiter.api.Test;

import static org.assertj.core.api.Assertions.assertThat;

class InvalidInputTest {
  @Test
  void whatAFileHoldsIsCutAndMovesNoCursor() {
    assertThat(InvalidInput.brief("naïve 日本 😀 'x'\\")).isEqualTo("naïve 日本 😀 'x'\\");
    assertThat(InvalidInput.brief("a\n\u001b[2J\u202e\u0000\ud800b")).isEqualTo("a\\u{a}\\u{1b}[2J\\u{202e}\\u{0}\\u{d800}b");
    assertThat(InvalidInput.brief("x".repeat(100))).isEqualTo("x".repeat(100));
    assertThat(InvalidInput.brief("x".repeat(101))).isEqualTo("x".repeat(100) + "…");
    assertThat(InvalidInput.brief("😀".repeat(100))).isEqualTo("😀".repeat(100));
    assertThat(InvalidInput.brief("😀".repeat(50_000))).isEqualTo("😀".repeat(100) + "…");
    assertThat(InvalidInput.brief(17)).isEqualTo("17");
  }
}
