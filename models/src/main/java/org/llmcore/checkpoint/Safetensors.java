package org.llmcore.checkpoint;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
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
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

import org.llmcore.InvalidInput;
import org.llmcore.tensor.Bf16;
import org.llmcore.tensor.DType;

/// A safetensors file, memory-mapped and checked from end to end before anything is handed out.
///
///     u64 little-endian header length · JSON header, `{` first, spaces allowed behind · data, row-major, little-endian
///
/// Refused: headers over 100,000,000 bytes (`SafetensorsHeader` has limits of its own) or longer than the file, unknown dtypes, shapes that do not match their extent,
/// holes, overlaps and bytes that belong to nobody (format: huggingface/safetensors, README).
public final class Safetensors implements AutoCloseable {
  private static final long HEADER_LIMIT = 100_000_000;
  static final String METADATA = "__metadata__";

  /// Dtypes with their bits, in the order of the reference library, by which it lays out files.
  private enum Stored {
    BOOL(8), F4(4), F6_E2M3(6), F6_E3M2(6), U8(8), I8(8), F8_E5M2(8), F8_E4M3(8), F8_E8M0(8), F8_E4M3FNUZ(8), F8_E5M2FNUZ(8),
    I16(16), U16(16), F16(16), BF16(16), I32(32), U32(32), F32(32), C64(64), F64(64), I64(64), U64(64);

    private static final Map<String, Stored> BY_NAME = Stream.of(values())
        .collect(Collectors.toUnmodifiableMap(Stored::name, s -> s));
    private final int bits;

    Stored(int bits) {
      this.bits = bits;
    }

    /// Bytes of a tensor, or a reason why there is no such number.
    long bytes(int[] shape) {
      long n = bits;
      for (int d : shape) n = Math.multiplyExact(n, d);
      if (n % 8 != 0) throw new ArithmeticException("no whole number of bytes");
      return n / 8;
    }
  }

  /// Place of a dtype in the layout of files.
  static int rank(String dtype) {
    return Stored.BY_NAME.get(dtype).ordinal();
  }

  /// One tensor of a file: a view of the mapped bytes.
  public record Entry(String name, String dtype, int[] shape, MemorySegment data) {
    /// Number of elements.
    public long elements() {
      long n = 1;
      for (int d : shape) n *= d;
      return n;
    }

    /// All elements as f32.
    /// @throws InvalidInput if the dtype is not a floating one of 16 bits or more
    public float[] toFloats() {
      var out = new float[Math.toIntExact(elements())];
      floats(0, out, out.length);
      return out;
    }

    /// Elements from an index on, as f32, into the first n of `out`.
    /// @throws InvalidInput if the dtype is not a floating one of 16 bits or more
    public void floats(long from, float[] out, int n) {
      switch (dtype) {
        case "F32" -> MemorySegment.copy(data, ValueLayout.JAVA_FLOAT_UNALIGNED, 4 * from, out, 0, n);
        case "BF16" -> {
          for (int i = 0; i < n; i++) out[i] = Bf16.toFloat(data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, from + i));
        }
        case "F16" -> {
          for (int i = 0; i < n; i++) out[i] = Float.float16ToFloat(data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, from + i));
        }
        case "F64" -> {
          for (int i = 0; i < n; i++) out[i] = (float) data.getAtIndex(ValueLayout.JAVA_DOUBLE_UNALIGNED, from + i);
        }
        default -> throw new InvalidInput("tensor " + name + " has dtype " + dtype, "expected F32, BF16, F16 or F64");
      }
    }

    /// All elements of an I32 or I64 tensor.
    public int[] toInts() {
      var out = new int[Math.toIntExact(elements())];
      for (int i = 0; i < out.length; i++) {
        out[i] =
            switch (dtype) {
              case "I32" -> data.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, i);
              case "I64" -> narrow(data.getAtIndex(ValueLayout.JAVA_LONG_UNALIGNED, i));
              default -> throw new InvalidInput("tensor " + name + " has dtype " + dtype, "expected I32 or I64");
            };
      }
      return out;
    }

    private int narrow(long value) {
      if ((int) value != value) throw new InvalidInput("tensor " + name + " holds " + value, "expected 32-bit integers");
      return (int) value;
    }

    /// For example `F32(4, 64)`.
    public String describe() {
      return dtype + Arrays.toString(shape).replace('[', '(').replace(']', ')');
    }
  }

  /// Bytes of a tensor from first to last, in pieces that are only good until the next one comes: so that none need be held whole.
  public interface Pieces {
    void each(Consumer<MemorySegment> sink);
  }

  /// A tensor to be written: its elements in row-major order, little-endian.
  public record Item(String name, String dtype, int[] shape, Pieces pieces) {
    public Item {
      var stored = Stored.BY_NAME.get(dtype);
      if (stored == null) throw new IllegalArgumentException("tensor " + name + " has dtype " + dtype);
      if (name.equals(METADATA)) throw new IllegalArgumentException("no tensor can be named " + name);
      if (IntStream.of(shape).anyMatch(d -> d < 0)) throw new IllegalArgumentException("tensor " + name + " has shape " + Arrays.toString(shape));
    }

    /// All bytes as they are.
    /// @throws IllegalArgumentException if the shape asks for another number of them
    public Item(String name, String dtype, int[] shape, MemorySegment data) {
      this(name, dtype, shape, sink -> sink.accept(data));
      if (bytes() != data.byteSize()) {
        throw new IllegalArgumentException("tensor " + name + " of " + dtype + Arrays.toString(shape) + " has " + data.byteSize() + " bytes");
      }
    }

    /// An item of one of our own dtypes.
    public static Item of(String name, DType dtype, int[] shape, MemorySegment data) {
      return new Item(name, dtype.name(), shape, data);
    }

    /// How many there are in all.
    public long bytes() {
      return Stored.BY_NAME.get(dtype).bytes(shape);
    }
  }

  private final Path path;
  private final Arena arena;
  private final Map<String, Entry> entries;
  private final Map<String, String> metadata;

  private Safetensors(Path path, Arena arena, Map<String, Entry> entries, Map<String, String> metadata) {
    this.path = path;
    this.arena = arena;
    this.entries = Collections.unmodifiableMap(entries);
    this.metadata = metadata;
  }

  /// Maps and checks a file.
  /// @throws InvalidInput saying what is wrong with it
  public static Safetensors open(Path path) {
    if (!Files.isRegularFile(path)) throw new InvalidInput("there is no file " + path, "check the path");
    var arena = Arena.ofShared();
    try (var channel = FileChannel.open(path, StandardOpenOption.READ)) {
      long size = channel.size();
      if (size < 8) throw refused(path, "it has " + size + " bytes, too few for a header");
      var all = channel.map(FileChannel.MapMode.READ_ONLY, 0, size, arena);
      long length = all.get(ValueLayout.JAVA_LONG_UNALIGNED, 0);
      if (length < 2 || length > HEADER_LIMIT) {
        throw refused(path, "its header claims " + Long.toUnsignedString(length) + " bytes, the limit is " + HEADER_LIMIT);
      }
      if (length > size - 8) {
        throw refused(path, "its header claims " + length + " bytes, the file has " + (size - 8) + " after the length");
      }
      if (all.get(ValueLayout.JAVA_BYTE, 8) != '{') throw refused(path, "its header does not start with '{'");
      var metadata = new LinkedHashMap<String, String>();
      var entries = entries(path, all.asSlice(8, length), all.asSlice(8 + length), metadata);
      return new Safetensors(path, arena, entries, metadata);
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

  private static InvalidInput refused(Path path, String why) {
    return new InvalidInput(path + " is not a valid safetensors file: " + why,
        "download or convert it again; nothing was read from it");
  }

  private static Map<String, Entry> entries(Path path, MemorySegment header, MemorySegment data, Map<String, String> metadata) {
    var entries = new LinkedHashMap<String, Entry>();
    var extents = new ArrayList<Extent>();
    try {
      SafetensorsHeader.read(header, metadata, t -> entries.put(t.name(), entry(path, t, data, extents)));
    } catch (IOException e) {
      throw refused(path, "its header is " + JsonFile.reason(e));
    } catch (SafetensorsHeader.Wrong e) {
      throw refused(path, e.getMessage());
    }
    extents.sort(Comparator.comparingLong(Extent::from).thenComparingLong(Extent::to));
    long end = 0;
    for (var extent : extents) {
      if (extent.from > end) throw refused(path, "bytes " + end + " to " + extent.from + " of the data belong to no tensor");
      if (extent.from < end) throw refused(path, "two tensors share bytes at " + extent.from);
      end = extent.to;
    }
    if (end != data.byteSize()) {
      throw refused(path, "its tensors cover " + end + " bytes of " + data.byteSize() + " bytes of data");
    }
    return entries;
  }

  /// Where a tensor lies in the data.
  private record Extent(long from, long to) {}

  private static Entry entry(Path path, SafetensorsHeader.Tensor t, MemorySegment data, List<Extent> extents) {
    var tensor = "tensor " + JsonFile.brief(t.name());
    var stored = Stored.BY_NAME.get(t.dtype());
    if (stored == null) throw refused(path, tensor + " has dtype '" + JsonFile.brief(t.dtype()) + "'");
    if (t.from() < 0 || t.to() < t.from() || t.to() > data.byteSize()) {
      throw refused(path, tensor + " lies at " + t.from() + " to " + t.to() + " of " + data.byteSize() + " bytes of data");
    }
    var shape = JsonFile.brief(Arrays.toString(t.shape()));
    long bytes;
    try {
      bytes = stored.bytes(t.shape());
    } catch (ArithmeticException e) {
      throw refused(path, tensor + " has an absurd shape " + shape);
    }
    if (bytes != t.to() - t.from()) {
      throw refused(path, tensor + " of " + t.dtype() + " " + shape + " has " + (t.to() - t.from()) + " bytes");
    }
    extents.add(new Extent(t.from(), t.to()));
    return new Entry(t.name(), t.dtype(), t.shape(), data.asSlice(t.from(), bytes));
  }

  /// Tensors by name, in the file's order.
  public Map<String, Entry> entries() {
    return entries;
  }

  /// The tensor of that name.
  /// @throws InvalidInput if there is none
  public Entry get(String name) {
    var e = entries.get(name);
    if (e == null) {
      throw new InvalidInput(path + " has no tensor " + name, "it holds " + entries.keySet().stream().limit(8).toList());
    }
    return e;
  }

  /// The `__metadata__` of the header.
  public Map<String, String> metadata() {
    return Collections.unmodifiableMap(metadata);
  }

  public Path path() {
    return path;
  }

  @Override
  public void close() {
    arena.close();
  }

  /// Writes a file atomically, laid out as the reference library does (`SafetensorsStream`), with metadata `format: pt`.
  public static void write(Path path, List<Item> items) {
    write(path, Map.of("format", "pt"), items);
  }

  /// Writes a file with this metadata.
  public static void write(Path path, Map<String, String> metadata, List<Item> items) {
    var byName = new LinkedHashMap<String, Item>();
    for (var i : items) byName.put(i.name, i);
    var promises = items.stream().map(i -> new SafetensorsStream.Promise(i.name, i.dtype, i.shape, i.bytes())).toList();
    AtomicFile.write(path, temp -> SafetensorsStream.write(temp, metadata, promises, (t, out) -> byName.get(t.name()).pieces.each(out::bytes)));
  }
}
