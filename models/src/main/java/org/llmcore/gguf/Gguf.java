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
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
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
/// No number of the file decides how much memory is taken: lists grow with what is really there, arrays stay in the file until
/// they are asked for. Source: github.com/ggml-org/ggml, docs/gguf.md.
public final class Gguf implements AutoCloseable {
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED;
  private static final int STRING = 8;
  private static final int ARRAY = 9;
  private static final int[] SIZES = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  private static final int NAME = 1 << 16;

  /// An array value, still in the file.
  /// @param type of the elements
  public record Values(int type, long count, MemorySegment data) {}

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
      for (int r = 0; r < out.length / columns; r++) row(r, out, r * columns);
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

  private Gguf(Path path, Arena arena, int version, Map<String, Object> keys, Map<String, Entry> entries) {
    this.path = path;
    this.arena = arena;
    this.version = version;
    this.keys = keys;
    this.entries = entries;
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
      return new Reader(path, m).file(arena);
    } catch (IOException e) {
      arena.close();
      throw new InvalidInput("cannot read " + path + ": " + e.getMessage(), "check that it is a readable file", e);
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

  /// All keys in the file's order: numbers as Long or Double, Boolean, String, `Values`.
  public Map<String, Object> keys() {
    return keys;
  }

  /// All tensors in the file's order.
  public Map<String, Entry> entries() {
    return entries;
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
    return value(key, String.class, "a text");
  }

  /// True or false.
  public Optional<Boolean> flag(String key) {
    return value(key, Boolean.class, "true or false");
  }

  /// A list of texts.
  public Optional<List<String>> texts(String key) {
    return array(key, STRING, "a list of texts").map(
        v -> {
          var in = new Reader(path, v.data);
          var out = new ArrayList<String>();
          for (long i = 0; i < v.count; i++) out.add(in.string(key, NAME));
          return out;
        });
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

  private Optional<Values> array(String key, int type, String expected) {
    var found = value(key, Values.class, expected);
    if (found.isPresent() && found.get().type != type) throw wrong(path, key + " is a list of type " + found.get().type + ", expected " + expected);
    return found;
  }

  private <T> Optional<T> value(String key, Class<T> type, String expected) {
    var v = keys.get(key);
    if (v == null) return Optional.empty();
    if (!type.isInstance(v)) throw wrong(path, key + " is " + v.getClass().getSimpleName() + ", expected " + expected);
    return Optional.of(type.cast(v));
  }

  static InvalidInput wrong(Path path, String what) {
    return new InvalidInput(path + ": " + what, "download the file again; if it is as published, it needs a newer llm-core");
  }

  @Override
  public void close() {
    arena.close();
  }

  /// A cursor over the bytes that never leaves them.
  private static final class Reader {
    private final Path path;
    private final MemorySegment m;
    private long at;

    Reader(Path path, MemorySegment m) {
      this.path = path;
      this.m = m;
    }

    Gguf file(Arena arena) {
      if (m.byteSize() < 24) throw wrong(path, m.byteSize() + " bytes are too few for a GGUF header");
      if (u32("magic") != 0x46554747L) throw wrong(path, "it does not begin with GGUF");
      int version = (int) u32("version");
      if (version != 2 && version != 3) {
        throw wrong(path, "GGUF version " + Integer.toUnsignedString(version) + " is not supported, expected 2 or 3 (little-endian)");
      }
      long tensors = count("tensors", 24);
      long pairs = count("keys", 13);
      var keys = new LinkedHashMap<String, Object>();
      for (long i = 0; i < pairs; i++) {
        var key = string("key " + i, NAME);
        if (keys.put(key, value(key, (int) u32("type of " + key))) != null) throw wrong(path, "the key " + key + " is there twice");
      }
      var infos = new ArrayList<Info>();
      for (long i = 0; i < tensors; i++) infos.add(info(i));
      long alignment = keys.get("general.alignment") instanceof Long a ? a : 32;
      if (alignment < 1 || alignment > 1 << 20 || Long.bitCount(alignment) != 1) {
        throw wrong(path, "general.alignment is " + alignment + ", expected a power of two");
      }
      long data = (at + alignment - 1) / alignment * alignment;
      return new Gguf(path, arena, version, Collections.unmodifiableMap(keys), entries(infos, data, alignment));
    }

    private record Info(String name, GgufType type, int[] shape, long offset, long bytes) {}

    private Info info(long i) {
      var name = string("name of tensor " + i, 256);
      long rank = u32("rank of " + name);
      if (rank < 1 || rank > 4) throw wrong(path, "tensor " + name + " has " + rank + " dimensions, expected 1 to 4");
      var shape = new int[(int) rank];
      long elements = 1;
      for (int d = shape.length - 1; d >= 0; d--) {
        long size = u64("sizes of " + name);
        if (size < 1 || size > Integer.MAX_VALUE || elements > Long.MAX_VALUE / 8 / size) {
          throw wrong(path, "tensor " + name + " has a dimension of " + Long.toUnsignedString(size));
        }
        shape[d] = (int) size;
        elements *= size;
      }
      int number = (int) u32("type of " + name);
      var type = GgufType.of(number).orElseThrow(
          () -> new InvalidInput(path + ": tensor " + name + " is stored as GGML type " + number, "supported are " + Arrays.toString(GgufType.values())));
      if (shape[shape.length - 1] % type.unit() != 0) {
        throw wrong(path, "tensor " + name + " has rows of " + shape[shape.length - 1] + ", no multiple of " + type.unit() + " as " + type + " needs");
      }
      return new Info(name, type, shape, u64("offset of " + name), elements / type.unit() * type.bytes());
    }

    private Map<String, Entry> entries(List<Info> infos, long data, long alignment) {
      long room = m.byteSize() - data;
      var entries = new LinkedHashMap<String, Entry>();
      for (var t : infos) {
        if (t.offset < 0 || t.offset % alignment != 0 || t.offset > room || t.bytes > room - t.offset) {
          throw wrong(path, "tensor " + t.name + " lies at offset " + Long.toUnsignedString(t.offset) + " with " + t.bytes
              + " bytes, the file's data has " + Math.max(0, room));
        }
        var entry = new Entry(t.name, t.type, t.shape, m.asSlice(data + t.offset, t.bytes));
        if (entries.put(t.name, entry) != null) throw wrong(path, "the tensor " + t.name + " is there twice");
      }
      var sorted = infos.stream().sorted(Comparator.comparingLong(Info::offset)).toList();
      for (int i = 1; i < sorted.size(); i++) {
        var before = sorted.get(i - 1);
        if (before.offset + before.bytes > sorted.get(i).offset) {
          throw wrong(path, "the tensors " + before.name + " and " + sorted.get(i).name + " share bytes");
        }
      }
      return Collections.unmodifiableMap(entries);
    }

    private Object value(String key, int type) {
      return switch (type) {
        case 0 -> (long) m.get(ValueLayout.JAVA_BYTE, take(key, 1)) & 0xff;
        case 1 -> (long) m.get(ValueLayout.JAVA_BYTE, take(key, 1));
        case 2 -> (long) m.get(ValueLayout.JAVA_SHORT_UNALIGNED, take(key, 2)) & 0xffff;
        case 3 -> (long) m.get(ValueLayout.JAVA_SHORT_UNALIGNED, take(key, 2));
        case 4 -> u32(key);
        case 5 -> (long) m.get(INT, take(key, 4));
        case 6 -> decimal(m.get(ValueLayout.JAVA_FLOAT_UNALIGNED, take(key, 4)));
        case 7 -> m.get(ValueLayout.JAVA_BYTE, take(key, 1)) != 0;
        case STRING -> string(key, Integer.MAX_VALUE / 2);
        case ARRAY -> array(key);
        case 10, 11 -> u64(key);
        case 12 -> m.get(ValueLayout.JAVA_DOUBLE_UNALIGNED, take(key, 8));
        default -> throw wrong(path, "the value of " + key + " has type " + type + ", expected 0 to 12");
      };
    }

    /// The shortest decimal that is this f32: 1e-5, not 9.999999747378752e-6. It rounds to the same f32.
    private static double decimal(float value) {
      return Double.parseDouble(Float.toString(value));
    }

    private Values array(String key) {
      int type = (int) u32("type of " + key);
      if (type < 0 || type >= SIZES.length || type == ARRAY) throw wrong(path, key + " is a list of type " + type + ", expected plain values or texts");
      long n = count(key, type == STRING ? 8 : SIZES[type]);
      long from = at;
      if (type == STRING) for (long i = 0; i < n; i++) take(key, length(key));
      else take(key, n * SIZES[type]);
      return new Values(type, n, m.asSlice(from, at - from));
    }

    /// A number of things of which each takes at least `least` bytes.
    private long count(String what, int least) {
      long n = u64("number of " + what);
      if (n < 0 || n > (m.byteSize() - at) / least) {
        throw wrong(path, Long.toUnsignedString(n) + " " + what + " are promised, more than the file's " + m.byteSize() + " bytes hold");
      }
      return n;
    }

    private long length(String what) {
      long n = u64("length of " + what);
      if (n < 0 || n > m.byteSize() - at) throw wrong(path, what + " is a text of " + Long.toUnsignedString(n) + " bytes, the file has " + (m.byteSize() - at) + " left");
      return n;
    }

    String string(String what, int most) {
      long n = length(what);
      if (n > most) throw wrong(path, what + " is a text of " + n + " bytes, expected at most " + most);
      long from = take(what, n);
      return new String(m.asSlice(from, n).toArray(ValueLayout.JAVA_BYTE), StandardCharsets.UTF_8);
    }

    private long u32(String what) {
      return m.get(INT, take(what, 4)) & 0xffffffffL;
    }

    private long u64(String what) {
      return m.get(LONG, take(what, 8));
    }

    private long take(String what, long bytes) {
      if (bytes > m.byteSize() - at) throw wrong(path, "it ends in the middle of " + what);
      at += bytes;
      return at - bytes;
    }
  }
}
