package org.llmcore.docs;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// The comparison of pages with sources notices every way they can drift apart.
class CodeInPagesTest {
  private static final String SOURCE = "class A {\n  // page: one\n  int a;\n    int b;\n  // page: end\n}\n";
  private static final String PAGE = "Text.\n\n<!-- code: one -->\n```java\nint a;\n  int b;\n```\n";

  @TempDir Path folder;

  @Test
  void indentationOfTheSourceIsNotPartOfTheCode() {
    assertThatCode(() -> check(PAGE, SOURCE)).doesNotThrowAnyException();
  }

  @Test
  void changedCodeIsNoticed() {
    assertThatThrownBy(() -> check(PAGE.replace("int b", "int c"), SOURCE)).isInstanceOf(AssertionError.class).hasMessageContaining("int c");
  }

  @Test
  void codeWithoutASourceIsNoticed() {
    assertThatThrownBy(() -> check(PAGE + "```java\nint d;\n```\n", SOURCE)).isInstanceOf(AssertionError.class).hasMessageContaining("without a name");
  }

  @Test
  void aRegionNoPageShowsIsNoticed() {
    assertThatThrownBy(() -> check("Text.\n", SOURCE)).isInstanceOf(AssertionError.class).hasMessageContaining("one");
  }

  @Test
  void aRegionWithoutAnEndIsNoticed() {
    assertThatThrownBy(() -> check(PAGE, SOURCE.replace("// page: end", ""))).isInstanceOf(AssertionError.class).hasMessageContaining("end of the region one");
  }

  private void check(String page, String source) throws IOException {
    CodeInPages.check(Files.writeString(folder.resolve("page.md"), page), Files.writeString(folder.resolve("A.java"), source));
  }
}
