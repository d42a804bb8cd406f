package org.llmcore.docs;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;

import static org.assertj.core.api.Assertions.assertThat;

/// Code shown in a page is code a test compiles and runs: each Java block of the page is a region of a source file.
///
/// | where      | what                                                                                        |
/// |------------|---------------------------------------------------------------------------------------------|
/// | source     | a line `// page: name`, the code, a line `// page: end`; common indentation is not compared |
/// | page       | a line `<!-- code: name -->`, directly followed by the fenced Java block                    |
///
/// Names are unique among the sources given. A Java block without a name, a name without a region and a region that no page
/// shows are failures, so neither side can drift alone.
final class CodeInPages {
  private static final Pattern BEGIN = Pattern.compile("\\s*// page: (\\S+)");
  private static final Pattern BLOCK = Pattern.compile("(?:<!-- code: (\\S+) -->\n)?```java\n(.*?)```", Pattern.DOTALL);

  private CodeInPages() {}

  /// @param page a Markdown file
  /// @param sources the Java files its blocks come from
  static void check(Path page, Path... sources) throws IOException {
    var regions = new TreeMap<String, String>();
    for (var source : sources) regions.putAll(regions(Files.readAllLines(source)));
    assertThat(blocks(Files.readString(page))).as("code blocks of %s", page).isEqualTo(regions);
  }

  /// Code by name.
  static Map<String, String> blocks(String page) {
    var blocks = new TreeMap<String, String>();
    var m = BLOCK.matcher(page);
    while (m.find()) {
      String name = m.group(1) == null ? "block without a name at character " + m.start() : m.group(1);
      assertThat(blocks.put(name, m.group(2))).as("blocks named %s", name).isNull();
    }
    return blocks;
  }

  /// Code by name.
  static Map<String, String> regions(List<String> lines) {
    var regions = new TreeMap<String, String>();
    for (int i = 0; i < lines.size(); i++) {
      var begin = BEGIN.matcher(lines.get(i));
      if (!begin.matches()) continue;
      var body = new ArrayList<String>();
      int j = i + 1;
      while (j < lines.size() && !lines.get(j).strip().equals("// page: end")) body.add(lines.get(j++));
      assertThat(j).as("end of the region %s", begin.group(1)).isLessThan(lines.size());
      assertThat(regions.put(begin.group(1), String.join("\n", body).stripIndent().stripTrailing() + "\n")).as("regions named %s", begin.group(1)).isNull();
      i = j;
    }
    return regions;
  }
}
