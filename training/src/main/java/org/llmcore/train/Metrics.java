package org.llmcore.train;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

import org.llmcore.InvalidInput;

/// What a run measured, one JSON object a line (`metrics.jsonl`), each with `step` first:
///
///     {"step":12,"loss":1.8834,"learning_rate":0.0002,"gradient_norm":0.41,"tokens_per_second":5120.0}
///
/// A line is in the hands of the operating system when `add` returns. A run that resumes at step s keeps the lines up to s, so
/// that the file reads as if nothing had happened. Values that are no numbers are written as `"NaN"`, `"Infinity"`.
public final class Metrics implements AutoCloseable {
  /// Values measured at a step.
  public record Line(long step, Map<String, Double> values) {
    public Line {
      if (values.containsKey("step")) throw new IllegalArgumentException("a value named step in " + values);
      values = new LinkedHashMap<>(values);
    }
  }

  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int LONGEST = 1 << 20;

  private final Path file;
  private final FileChannel channel;

  private Metrics(Path file, FileChannel channel) {
    this.file = file;
    this.channel = channel;
  }

  /// A new file.
  /// @throws UncheckedIOException if it exists already
  public static Metrics create(Path file) {
    try {
      return new Metrics(file, FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /// The file of a run that goes on after `step`: later lines are cut off, and a last one that cannot be read.
  public static Metrics resume(Path file, long step) {
    try {
      long keep = 0;
      if (Files.exists(file)) {
        try (var in = new BufferedInputStream(Files.newInputStream(file))) {
          long reached = -1;
          for (byte[] line = line(in); line.length > 0 && line[line.length - 1] == '\n'; line = line(in)) {
            try {
              reached = parse(line, file).step();
            } catch (InvalidInput e) {
              if (reached >= step && in.read() < 0) break;
              throw e;
            }
            if (reached > step) break;
            keep += line.length;
          }
        }
      }
      var channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
      channel.truncate(keep);
      channel.position(keep);
      return new Metrics(file, channel);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /// All finished lines of a file.
  /// @throws InvalidInput naming the line that is not one of ours
  public static List<Line> read(Path file) {
    var lines = new ArrayList<Line>();
    try (var in = new BufferedInputStream(Files.newInputStream(file))) {
      for (byte[] line = line(in); line.length > 0 && line[line.length - 1] == '\n'; line = line(in)) lines.add(parse(line, file));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return lines;
  }

  /// Appends a line.
  public void add(Line line) {
    var object = new LinkedHashMap<String, Object>();
    object.put("step", line.step());
    object.putAll(line.values());
    try {
      var bytes = ByteBuffer.wrap((JSON.writeValueAsString(object) + "\n").getBytes(StandardCharsets.UTF_8));
      while (bytes.hasRemaining()) channel.write(bytes);
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("metrics that cannot be written: " + line, e);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot write " + file, e);
    }
  }

  @Override
  public void close() {
    try {
      channel.close();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot close " + file, e);
    }
  }

  private static Line parse(byte[] line, Path file) {
    JsonNode node;
    try {
      node = JSON.readTree(line);
    } catch (IOException e) {
      throw new InvalidInput(file + " has a line that is not JSON: " + start(line), "it is not a metrics.jsonl of llm-core", e);
    }
    if (!node.path("step").isIntegralNumber()) throw new InvalidInput(file + " has a line without step: " + start(line), "it is not a metrics.jsonl of llm-core");
    var values = new LinkedHashMap<String, Double>();
    for (var field : node.properties()) {
      if (field.getKey().equals("step")) continue;
      if (field.getValue().isNumber()) {
        values.put(field.getKey(), field.getValue().asDouble());
      } else {
        switch (field.getValue().asText()) {
          case "NaN" -> values.put(field.getKey(), Double.NaN);
          case "Infinity" -> values.put(field.getKey(), Double.POSITIVE_INFINITY);
          case "-Infinity" -> values.put(field.getKey(), Double.NEGATIVE_INFINITY);
          default -> throw new InvalidInput(file + " has a value that is no number: " + start(line), "it is not a metrics.jsonl of llm-core");
        }
      }
    }
    return new Line(node.path("step").asLong(), values);
  }

  private static String start(byte[] line) {
    return new String(line, 0, Math.min(line.length, 80), StandardCharsets.UTF_8).strip();
  }

  /// The next line with its end, empty at the end of the file.
  private static byte[] line(InputStream in) throws IOException {
    var bytes = new ByteArrayOutputStream();
    for (int b = in.read(); b >= 0; b = in.read()) {
      bytes.write(b);
      if (b == '\n') break;
      if (bytes.size() > LONGEST) throw new InvalidInput("a line of metrics has more than " + LONGEST + " bytes", "it is not a metrics.jsonl of llm-core");
    }
    return bytes.toByteArray();
  }
}
