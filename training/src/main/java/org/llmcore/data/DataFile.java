package org.llmcore.data;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Optional;
import java.util.TreeSet;
import java.util.function.BiConsumer;
import java.util.function.Consumer;

import com.fasterxml.jackson.databind.JsonNode;

import org.llmcore.InvalidInput;

/// A data file and what it holds. Read one sample at a time: a file of JSON lines may be larger than memory.
///
/// @param rows how the file is divided
/// @param separator for plain text: the line that stands between two documents; none = the file is one document
public record DataFile(Path path, Format format, Division rows, Optional<String> separator) {
  /// How a file is divided into samples.
  public enum Division {
    LINES("JSON lines"), ARRAY("a JSON list"), TEXT("text");

    private final String words;

    Division(String words) {
      this.words = words;
    }
  }

  /// Longest document of a plain text file, in characters.
  private static final int LONGEST_DOCUMENT = 1 << 28;
  private static final int PROBED = 100;
  private static final int KEPT_PROBLEMS = 20;

  /// Looks into a file. The format is that of the first row which has the keys of one.
  /// @throws InvalidInput if the file is absent, empty, or holds nothing known
  public static DataFile detect(Path path) {
    char first = firstCharacter(path);
    var name = path.getFileName().toString();
    boolean json = name.endsWith(".jsonl") || name.endsWith(".json") || name.endsWith(".ndjson");
    if (first == '{') return new DataFile(path, probe(path, Division.LINES), Division.LINES, Optional.empty());
    if (first == '[' && (json || listOfObjects(path)))
      return new DataFile(path, probe(path, Division.ARRAY), Division.ARRAY, Optional.empty());
    if (json)
      throw new InvalidInput(name + " is named as JSON but begins with '" + first + "'", "rename it to .txt if it is plain text");
    return new DataFile(path, Format.TEXT, Division.TEXT, Optional.empty());
  }

  /// A file whose format is given; its first character tells how it is divided.
  /// @throws InvalidInput if the file is absent or empty, or cannot be of that format
  public static DataFile of(Path path, Format format) {
    char first = firstCharacter(path);
    if (format == Format.TEXT) return new DataFile(path, format, Division.TEXT, Optional.empty());
    return switch (first) {
      case '{' -> new DataFile(path, format, Division.LINES, Optional.empty());
      case '[' -> new DataFile(path, format, Division.ARRAY, Optional.empty());
      default -> throw new InvalidInput(path.getFileName() + " begins with '" + first + "'",
        "expected JSON lines or a JSON list, as " + format.words() + " needs");
    };
  }

  /// The same file, divided into documents by lines that equal `line`.
  public DataFile separatedBy(String line) {
    if (rows != Division.TEXT)
      throw new InvalidInput(name() + " is " + rows.words + ", only plain text has a separator", "leave the separator out");
    return new DataFile(path, format, rows, Optional.of(line));
  }

  /// One sentence for the person who started the run.
  public String sentence() {
    return switch (rows) {
      case TEXT -> name() + ": plain text, " + separator.map(s -> "documents separated by lines \"" + s + "\"").orElse("one document");
      default -> name() + ": " + rows.words + " of " + format.words();
    };
  }

  /// File name without its folder.
  public String name() {
    return path.getFileName().toString();
  }

  /// Reads every sample, in the file's order; what is wrong goes to `problems` and is passed over.
  public void read(Problems problems, Consumer<Sample> out) {
    BiConsumer<Long, JsonNode> row = (line, node) -> row(node, line, problems, out);
    switch (rows) {
      case LINES -> Rows.lines(path, problems, row);
      case ARRAY -> Rows.array(path, problems, row);
      case TEXT -> documents(problems, out);
    }
  }

  /// Reads and tokenises every sample.
  /// @param context most tokens the model can see
  /// @throws InvalidInput if anything in the file is wrong, nothing is left to learn, or an example is too long and `policy` refuses
  public Loaded load(Examples examples, int context, TooLong policy) {
    var problems = new Problems(KEPT_PROBLEMS);
    var list = new ArrayList<Example>();
    var windows = new Windows(context, list::add);
    read(problems, sample -> {
      try {
        if (format.objective() == Objective.TEXT) windows.add(examples.of(sample));
        else list.add(examples.of(sample));
      } catch (InvalidInput e) {
        problems.add(Problem.Kind.FORM, line(sample.origin()), e.getMessage().replace("\n  ---> ", "; "));
      }
    });
    problems.refuse(name());
    windows.finish();
    if (list.isEmpty()) throw new InvalidInput(name() + " holds no example", "add at least one");
    return new DataSet(format.objective(), list).fit(context, policy);
  }

  /// A data set and what the context took from it.
  /// @param cut examples that lost their end
  /// @param dropped examples left out
  public record Loaded(DataSet data, int cut, int dropped) {}

  private static long line(String origin) {
    return Long.parseLong(origin.substring(origin.lastIndexOf(':') + 1));
  }

  private void row(JsonNode node, long line, Problems problems, Consumer<Sample> out) {
    var origin = name() + ":" + line;
    switch (format) {
      case OPENAI -> ChatRows.openai(node, line, origin, problems).ifPresent(out);
      case SHAREGPT -> ChatRows.shareGpt(node, line, origin, problems).ifPresent(out);
      case PAIRS -> FlatRows.pair(node, line, origin, problems, out);
      case ALPACA -> FlatRows.instruction(node, line, origin, problems, out);
      case DOCUMENTS -> FlatRows.document(node, line, origin, problems, out);
      case TEXT -> throw new IllegalArgumentException("plain text has no rows");
    }
  }

  private void documents(Problems problems, Consumer<Sample> out) {
    try (var lines = new Lines(path, problems)) {
      var text = new StringBuilder();
      long start = 1;
      while (lines.next()) {
        if (separator.isPresent() && separator.get().equals(lines.text())) {
          document(text, start, out);
          start = lines.number() + 1;
          continue;
        }
        if (text.length() + (long) lines.text().length() > LONGEST_DOCUMENT)
          throw new InvalidInput(name() + ": the document that starts in line " + start + " is longer than " + LONGEST_DOCUMENT
            + " characters", "divide the text into documents by a separator line");
        text.append(lines.text());
        if (lines.ended()) text.append('\n');
      }
      document(text, start, out);
    }
  }

  private void document(StringBuilder text, long line, Consumer<Sample> out) {
    if (!text.toString().isBlank()) out.accept(new Sample.Document(text.toString(), name() + ":" + line));
    text.setLength(0);
  }

  static char firstCharacter(Path path) {
    if (!Files.isRegularFile(path)) throw new InvalidInput("no file " + path, "give the path of a data file");
    try (var in = Files.newInputStream(path)) {
      var head = in.readNBytes(1 << 16);
      var text = new String(head, StandardCharsets.UTF_8).replace("\uFEFF", "").strip();
      if (text.isEmpty() && head.length < 1 << 16) throw new InvalidInput(path.getFileName() + " is empty", "it needs at least one example");
      return text.isEmpty() ? ' ' : text.charAt(0);
    } catch (IOException e) {
      throw new InvalidInput("cannot read " + path, "check its permissions", e);
    }
  }

  /// Text may begin with a bracket too ("[Scene I]").
  private static boolean listOfObjects(Path path) {
    try (var in = Files.newInputStream(path)) {
      var text = new String(in.readNBytes(1 << 12), StandardCharsets.UTF_8);
      return text.substring(text.indexOf('[') + 1).stripLeading().startsWith("{");
    } catch (IOException e) {
      throw new InvalidInput("cannot read " + path, "check its permissions", e);
    }
  }

  private static Format probe(Path path, Division division) {
    var problems = new Problems(1);
    var keys = new TreeSet<String>();
    var found = new ArrayList<Format>();
    BiConsumer<Long, JsonNode> row = (_, node) -> {
      node.fieldNames().forEachRemaining(keys::add);
      formatOf(node).ifPresent(found::add);
    };
    if (division == Division.ARRAY) {
      Rows.array(path, problems, row);
    } else {
      try (var lines = new Lines(path, problems)) {
        for (int i = 0; i < PROBED && found.isEmpty() && lines.next(); i++)
          if (!lines.text().isBlank()) Rows.line(lines.text(), lines.number(), problems, row);
      }
    }
    if (!found.isEmpty()) return found.getFirst();
    problems.refuse(path.getFileName().toString());
    throw new InvalidInput(path.getFileName() + ": no row has the keys of a known format; found " + keys,
      "expected messages | conversations | prompt, completion | question, answer | instruction, output | text");
  }

  private static Optional<Format> formatOf(JsonNode row) {
    if (row.has("messages")) return Optional.of(Format.OPENAI);
    if (row.has("conversations")) return Optional.of(Format.SHAREGPT);
    if (row.has("instruction")) return Optional.of(Format.ALPACA);
    if ((row.has("prompt") && row.has("completion")) || (row.has("question") && row.has("answer"))) return Optional.of(Format.PAIRS);
    return row.has("text") ? Optional.of(Format.DOCUMENTS) : Optional.empty();
  }
}
