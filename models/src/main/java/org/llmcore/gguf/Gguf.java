package org.llmcore.gguf;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;

import org.llmcore.InvalidInput;

/// A GGUF file (versions 2 and 3, little-endian), memory-mapped and checked from end to end before anything is handed out.
///
///     "GGUF" · u32 version · u64 tensors · u64 keys
///     keys × (string key · u32 type · value)                     string = u64 length · UTF-8
///     tensors × (string name · u32 rank · u64 sizes, fastest first · u32 type · u64 offset)
///     padding to general.alignment (32) · data
///
/// Tensors lie as ggml asks: in some order, each right behind the padded one before it.
///
/// No number of the file decides how much memory is taken: lists grow with what is really there, arrays and long texts stay in the
/// file until they are asked for. Source: github.com/ggml-org/ggml, docs/gguf.md and gguf.cpp.
public final class Gguf implements AutoCloseable {
  static final int STRING = 8;
  static final int NAME = 1 << 16;
  private static final int LONGEST = 100_000_000;

  /// An array value, still in the file.
  /// @param type of the elements
  public record Values(int type, long count, MemorySegment data) {}

  /// A long text, still in the file.
  /// @param utf8 what it is spelled in
  public record Text(MemorySegment utf8) {}

  /// A tensor of a type that nothing here computes with.
  /// @param type GGML's name of it
  /// @param shape slowest first
  public record Foreign(String name, String type, int[] shape, long bytes) {}

  /// One tensor: a view of the mapped bytes.
  /// @param shape slowest first, as everywhere here; the file has it the other way round
  public record Entry(String name, GgufType type, int[] shape, MemorySegment data) {
    /// Number of elements.
    public long elements() {
      return Arrays.stream(shape).asLongStream().reduce(1, (a, b) -> a * b);
    }

    /// All elements as f32.
    public float[] toFloats() {
      var out = new float[Math.toIntExact(elements())];
      int columns = shape[shape.length - 1];
      for (int at = 0; at < out.length; at += columns) row(at / columns, out, at);
      return out;
    }

    /// Row r as f32, into `out` from an index on. All dimensions but the last count rows.
    public void row(int r, float[] out, int at) {
      int columns = shape[shape.length - 1];
      type.row(data.address() + r * type.bytes(columns), out, at, columns);
    }

    /// The bytes of row r.
    public MemorySegment row(int r) {
      long bytes = type.bytes(shape[shape.length - 1]);
      return data.asSlice(r * bytes, bytes);
    }

    /// For example `Q8_0(64, 192)`.
    public String describe() {
      return type + Arrays.toString(shape).replace('[', '(').replace(']', ')');
    }
  }

  private final Path path;
  private final Arena arena;
  private final int version;
  private final Map<String, Object> keys;
  private final Map<String, Entry> entries;
  private final List<Foreign> foreign;

  Gguf(Path path, Arena arena, int version, Map<String, Object> keys, Map<String, Entry> entries, List<Foreign> foreign) {
    this.path = path;
    this.arena = arena;
    this.version = version;
    this.keys = keys;
    this.entries = entries;
    this.foreign = foreign;
  }

  /// Whether a file begins as a GGUF file does.
  public static boolean is(Path file) {
    if (!Files.isRegularFile(file)) return false;
    try (var in = Files.newInputStream(file)) {
      return Arrays.equals(in.readNBytes(4), new byte[] {'G', 'G', 'U', 'F'});
    } catch (IOException _) {
      return false;
    }
  }

  /// Opens and checks a file.
  /// @throws InvalidInput naming what is wrong with it
  public static Gguf open(Path path) {
    var arena = Arena.ofShared();
    try (var channel = FileChannel.open(path, StandardOpenOption.READ)) {
      var m = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
      return new GgufReader(path, m).file(arena);
    } catch (IOException e) {
      arena.close();
      throw new InvalidInput("cannot read " + path + ": " + e.getMessage(), "check that it is a readable file", e);
    } catch (OutOfMemoryError e) {
      arena.close();
      throw InvalidInput.tooLarge(path, e);
    } catch (RuntimeException e) {
      arena.close();
      throw e;
    }
  }

  public Path path() {
    return path;
  }

  public int version() {
    return version;
  }

  /// All keys in the file's order: numbers as Long or Double, Boolean, String, `Text`, `Values`.
  public Map<String, Object> keys() {
    return keys;
  }

  /// All tensors in the file's order, but the foreign ones.
  public Map<String, Entry> entries() {
    return entries;
  }

  /// The tensors that can only be named.
  public List<Foreign> foreign() {
    return foreign;
  }

  /// A whole number.
  /// @throws InvalidInput if the key holds something else
  public Optional<Long> integer(String key) {
    return value(key, Long.class, "a whole number");
  }

  /// A number.
  public Optional<Double> number(String key) {
    if (keys.get(key) instanceof Long l) return Optional.of((double) l);
    return value(key, Double.class, "a number");
  }

  /// A text.
  public Optional<String> text(String key) {
    if (!(keys.get(key) instanceof Text t)) return value(key, String.class, "a text");
    if (t.utf8.byteSize() > LONGEST) throw wrong(path, key + " is a text of " + t.utf8.byteSize() + " bytes, expected at most " + LONGEST);
    return Optional.of(spelled(t.utf8));
  }

  /// True or false.
  public Optional<Boolean> flag(String key) {
    return value(key, Boolean.class, "true or false");
  }

  /// A list of texts, empty without the key.
  /// @throws InvalidInput if the key holds something else, or more texts than `most`
  public List<String> texts(String key, int most) {
    var found = value(key, Values.class, "a list of texts");
    if (found.isEmpty()) return List.of();
    var v = found.get();
    if (v.type != STRING) throw wrong(path, key + " is a list of type " + v.type + ", expected a list of texts");
    if (v.count > most) throw wrong(path, key + " has " + v.count + " values, expected at most " + most);
    var in = new GgufReader(path, v.data);
    var out = new ArrayList<String>();
    for (long i = 0; i < v.count; i++) out.add(in.string(key, NAME));
    return out;
  }

  /// A list of 32-bit numbers: f32 if `real`, else i32 or u32.
  public Optional<MemorySegment> numbers(String key, boolean real) {
    return value(key, Values.class, "a list of numbers").map(
        v -> {
          boolean fits = real ? v.type == 6 : v.type == 4 || v.type == 5;
          if (!fits) throw wrong(path, key + " is a list of type " + v.type + ", expected " + (real ? "f32" : "i32"));
          return v.data;
        });
  }

  static String spelled(MemorySegment utf8) {
    return new String(utf8.toArray(ValueLayout.JAVA_BYTE), StandardCharsets.UTF_8);
  }

  private <T> Optional<T> value(String key, Class<T> type, String expected) {
    var v = keys.get(key);
    if (v == null) return Optional.empty();
    if (!type.isInstance(v)) throw wrong(path, key + " is " + kind(v) + ", expected " + expected);
    return Optional.of(type.cast(v));
  }

  static String kind(Object value) {
    return switch (value) {
      case Values _ -> "a list";
      case Text _ -> "a long text";
      default -> InvalidInput.brief(value);
    };
  }

  static InvalidInput wrong(Path path, String what) {
    return new InvalidInput(path + ": " + what, "download the file again; if it is as published, it needs a newer llm-core");
  }

  @Override
  public void close() {
    arena.close();
  }
}
