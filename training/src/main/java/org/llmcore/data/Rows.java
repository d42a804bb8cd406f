package org.llmcore.data;

import java.io.IOException;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.BiConsumer;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.io.JsonEOFException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;

import org.llmcore.InvalidInput;

/// The values of a JSON-lines file or of a JSON array, one in memory at a time, each with its line.
public final class Rows {
  private static final JsonMapper JSON = JsonMapper.builder()
    .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
    .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
    .build();

  private Rows() {}

  /// Every value of a file of JSON lines or one JSON list, with its line.
  /// @throws org.llmcore.InvalidInput if the file is absent, empty or neither
  public static void read(Path path, Problems problems, BiConsumer<Long, JsonNode> row) {
    switch (DataFile.firstCharacter(path)) {
      case '{' -> lines(path, problems, row);
      case '[' -> array(path, problems, row);
      default -> throw new InvalidInput(path.getFileName() + " is neither JSON lines nor a JSON list", "every line is an object { … }");
    }
  }

  /// One value a line; blank lines are passed over.
  static void lines(Path path, Problems problems, BiConsumer<Long, JsonNode> row) {
    try (var lines = new Lines(path, problems)) {
      while (lines.next()) if (!lines.text().isBlank()) line(lines.text(), lines.number(), problems, row);
    }
  }

  static void line(String text, long number, Problems problems, BiConsumer<Long, JsonNode> row) {
    try (var p = JSON.createParser(text)) {
      JsonNode node;
      try {
        node = JSON.readTree(p);
        if (p.nextToken() != null) {
          problems.add(Problem.Kind.JSON, number, p.currentTokenLocation().getColumnNr(),
            "text after the end of the value; one value a line");
          return;
        }
      } catch (JsonProcessingException e) {
        problems.add(Problem.Kind.JSON, number, e.getLocation().getColumnNr(), reason(e, p, "line"));
        return;
      }
      row.accept(number, node);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /// The elements of one array. A syntax error ends the reading: what follows it cannot be told apart.
  static void array(Path path, Problems problems, BiConsumer<Long, JsonNode> row) {
    try (var lines = new Lines(path, problems)) {
      while (lines.next()) continue;
    }
    if (problems.total() > 0) return;
    try (var p = JSON.createParser(withoutMark(Files.newBufferedReader(path, StandardCharsets.UTF_8)))) {
      try {
        if (p.nextToken() != JsonToken.START_ARRAY) {
          problems.add(Problem.Kind.JSON, p.currentTokenLocation().getLineNr(), "expected a list of examples, [ … ]");
          return;
        }
        while (p.nextToken() != JsonToken.END_ARRAY) {
          long line = p.currentTokenLocation().getLineNr();
          row.accept(line, JSON.readTree(p));
        }
        if (p.nextToken() != null)
          problems.add(Problem.Kind.JSON, p.currentTokenLocation().getLineNr(), p.currentTokenLocation().getColumnNr(),
            "text after the end of the list");
      } catch (JsonProcessingException e) {
        problems.add(Problem.Kind.JSON, e.getLocation().getLineNr(), e.getLocation().getColumnNr(), reason(e, p, "file"));
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /// Passes over a byte-order mark.
  private static Reader withoutMark(Reader in) throws IOException {
    in.mark(1);
    if (in.read() != '\uFEFF') in.reset();
    return in;
  }

  /// The parser's words, except where we can say better what is missing.
  private static String reason(JsonProcessingException e, JsonParser p, String what) {
    if (e instanceof JsonEOFException end) {
      if (end.getTokenBeingDecoded() == JsonToken.VALUE_STRING) return "the " + what + " ends inside a text: \" is missing";
      var closers = new StringBuilder();
      for (var c = p.getParsingContext(); !c.inRoot(); c = c.getParent()) closers.append(c.inObject() ? '}' : ']');
      if (!closers.isEmpty()) return "the " + what + " ends before its value is closed: " + closers + " is missing";
    }
    return e.getOriginalMessage().replaceAll("\\[Source:.*?; (line: \\d+, column: \\d+)\\]", "$1");
  }
}
