package org.llmcore.text;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Assumptions;

/// Real files made by other people's programs, where the test data is present.
final class Golden {
  private Golden() {
  }

  /// A file of the test data; the calling test is skipped where it is absent.
  static Path file(String name) {
    var file = Path.of(System.getProperty("llm.data", "../shared/data"), name);
    Assumptions.assumeTrue(Files.exists(file), () -> "the test data is not here: " + name);
    return file;
  }

  static boolean present(String name) {
    return Files.exists(Path.of(System.getProperty("llm.data", "../shared/data"), name));
  }

  static JsonNode json(String name) throws IOException {
    return new ObjectMapper().readTree(file(name).toFile());
  }

  static int[] ids(JsonNode list) {
    int[] ids = new int[list.size()];
    Arrays.setAll(ids, i -> list.get(i).asInt());
    return ids;
  }

  /// What a fresh stream makes of a sequence, fed one id at a time.
  static String streamed(Tokenizer tokenizer, int... ids) {
    var stream = tokenizer.stream();
    var out = new StringBuilder();
    for (int id : ids) {
      String text = stream.next(id);
      if (!text.isEmpty() && Character.isHighSurrogate(text.charAt(text.length() - 1))) {
        throw new AssertionError("half a character came out");
      }
      out.append(text);
    }
    return out.append(stream.finish()).toString();
  }
}
