package org.llmcore.checkpoint;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;

import org.llmcore.InvalidInput;
import org.llmcore.tensor.Bf16;
import org.llmcore.tensor.DType;

/// A safetensors file, memory-mapped and checked from end to end before anything is handed out.
///
///     u64 little-endian header length · JSON header, `{` first, spaces allowed behind · data, row-major, little-endian
///
/// Refused: headers over 100,000,000 bytes or longer than the file, unknown dtypes, shapes that do not match their extent,
/// holes, overlaps and bytes that belong to nobody (format: huggingface/safetensors, README).
public final class Safetensors implements AutoCloseable {
  private static final long HEADER_LIMIT = 100_000_000;
  private static final ObjectMapper JSON =
      JsonMapper.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();
  private static final Map<String, Integer> BITS =
      Map.ofEntries(
          Map.entry("BOOL", 8), Map.entry("U8", 8), Map.entry("I8", 8), Map.entry("F8_E5M2", 8), Map.entry("F8_E4M3", 8),
          Map.entry("F8_E8M0", 8), Map.entry("F8_E4M3FNUZ", 8), Map.entry("F8_E5M2FNUZ", 8), Map.entry("F4", 4),
          Map.entry("F6_E2M3", 6), Map.entry("F6_E3M2", 6), Map.entry("I16", 16), Map.entry("U16", 16), Map.entry("F16", 16),
          Map.entry("BF16", 16), Map.entry("I32", 32), Map.entry("U32", 32), Map.entry("F32", 32), Map.entry("C64", 64),
          Map.entry("F64", 64), Map.entry("I64", 64), Map.entry("U64", 64));

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
      for (int i = 0; i < out.length; i++) {
        out[i] =
            switch (dtype) {
              case "F32" -> data.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i);
              case "BF16" -> Bf16.toFloat(data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i));
              case "F16" -> Float.float16ToFloat(data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i));
              case "F64" -> (float) data.getAtIndex(ValueLayout.JAVA_DOUBLE_UNALIGNED, i);
              default -> throw new InvalidInput("tensor " + name + " has dtype " + dtype, "expected F32, BF16, F16 or F64");
            };
      }
      return out;
    }

    /// All elements of an I32 or I64 tensor.
    public int[] toInts() {
      var out = new int[Math.toIntExact(elements())];
      for (int i = 0; i < out.length; i++) {
        out[i] =
            switch (dtype) {
              case "I32" -> data.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, i);
              case "I64" -> Math.toIntExact(data.getAtIndex(ValueLayout.JAVA_LONG_UNALIGNED, i));
              default -> throw new InvalidInput("tensor " + name + " has dtype " + dtype, "expected I32 or I64");
            };
      }
      return out;
    }

    /// For example `F32(4, 64)`.
    public String describe() {
      return dtype + java.util.Arrays.toString(shape).replace('[', '(').replace(']', ')');
    }
  }

  /// A tensor to be written: bytes in row-major order, little-endian.
  public record Item(String name, String dtype, int[] shape, MemorySegment data) {
    /// An item of one of our own dtypes.
    public static Item of(String name, DType dtype, int[] shape, MemorySegment data) {
      return new Item(name, dtype.name(), shape, data);
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
      if (length < 2 || length > HEADER_LIMIT) throw refused(path, "its header claims " + Long.toUnsignedString(length) + " bytes, the limit is " + HEADER_LIMIT);
      if (length > size - 8) throw refused(path, "its header claims " + length + " bytes, the file has " + (size - 8) + " after the length");
      var header = all.asSlice(8, length).toArray(ValueLayout.JAVA_BYTE);
      if (header[0] != '{') throw refused(path, "its header does not start with '{'");
      var metadata = new LinkedHashMap<String, String>();
      var entries = parse(path, header, all.asSlice(8 + length), metadata);
      return new Safetensors(path, arena, entries, metadata);
    } catch (IOException e) {
      arena.close();
      throw new InvalidInput("cannot read " + path + ": " + e.getMessage(), "check that it is a readable file", e);
    } catch (RuntimeException e) {
      arena.close();
      throw e;
    }
  }

  private static InvalidInput refused(Path path, String why) {
    return new InvalidInput(path + " is not a valid safetensors file: " + why, "download or convert it again; nothing was read from it");
  }

  private static Map<String, Entry> parse(Path path, byte[] header, MemorySegment data, Map<String, String> metadata) {
    JsonNode root;
    try {
      root = JSON.readTree(new String(header, StandardCharsets.UTF_8));
    } catch (JsonProcessingException | StackOverflowError e) {
      throw refused(path, "its header is not JSON (" + (e instanceof JsonProcessingException j ? j.getOriginalMessage() : "nested too deep") + ")");
    }
    if (root == null || !root.isObject()) throw refused(path, "its header is not a JSON object");
    var entries = new LinkedHashMap<String, Entry>();
    var extents = new TreeMap<Long, Long>();
    for (var e : root.properties()) {
      if (e.getKey().equals("__metadata__")) {
        for (var m : e.getValue().properties()) {
          if (!m.getValue().isTextual()) throw refused(path, "metadata " + m.getKey() + " is not a string");
          metadata.put(m.getKey(), m.getValue().textValue());
        }
        continue;
      }
      entries.put(e.getKey(), entry(path, e.getKey(), e.getValue(), data, extents));
    }
    long end = 0;
    for (var extent : extents.entrySet()) {
      if (extent.getKey() > end) throw refused(path, "bytes " + end + " to " + extent.getKey() + " of the data belong to no tensor");
      if (extent.getKey() < end) throw refused(path, "two tensors share bytes at " + extent.getKey());
      end = extent.getValue();
    }
    if (end != data.byteSize()) throw refused(path, "its tensors cover " + end + " bytes of " + data.byteSize() + " bytes of data");
    return entries;
  }

  private static Entry entry(Path path, String name, JsonNode node, MemorySegment data, Map<Long, Long> extents) {
    var dtype = node.path("dtype").asText("");
    Integer bits = BITS.get(dtype);
    if (bits == null) throw refused(path, "tensor " + name + " has dtype '" + dtype + "'");
    if (!node.path("shape").isArray()) throw refused(path, "tensor " + name + " has no shape");
    var shape = new int[node.path("shape").size()];
    long elements = 1;
    try {
      for (int i = 0; i < shape.length; i++) {
        var d = node.path("shape").get(i);
        if (!d.canConvertToInt() || d.intValue() < 0) throw refused(path, "tensor " + name + " has dimension " + d);
        shape[i] = d.intValue();
        elements = Math.multiplyExact(elements, shape[i]);
      }
      elements = Math.multiplyExact(elements, bits);
    } catch (ArithmeticException e) {
      throw refused(path, "tensor " + name + " has an absurd shape " + node.path("shape"));
    }
    var offsets = node.path("data_offsets");
    if (offsets.size() != 2 || !offsets.get(0).canConvertToLong() || !offsets.get(1).canConvertToLong()) throw refused(path, "tensor " + name + " has no data_offsets");
    long from = offsets.get(0).longValue();
    long to = offsets.get(1).longValue();
    if (from < 0 || to < from || to > data.byteSize()) {
      throw refused(path, "tensor " + name + " lies at " + from + " to " + to + " of " + data.byteSize() + " bytes of data");
    }
    if (elements % 8 != 0 || elements / 8 != to - from) throw refused(path, "tensor " + name + " of " + dtype + " " + node.path("shape") + " has " + (to - from) + " bytes");
    if (to > from && extents.put(from, to) != null) throw refused(path, "two tensors start at byte " + from);
    return new Entry(name, dtype, shape, data.asSlice(from, to - from));
  }

  /// Tensors by name, in the file's order.
  public Map<String, Entry> entries() {
    return entries;
  }

  /// The tensor of that name.
  /// @throws InvalidInput if there is none
  public Entry get(String name) {
    var e = entries.get(name);
    if (e == null) throw new InvalidInput(path + " has no tensor " + name, "it holds " + entries.keySet().stream().limit(8).toList());
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

  /// Writes a file atomically, laid out as the reference library does: tensors by descending alignment of their dtype, then by
  /// name; the header padded with spaces to a multiple of 8; metadata `format: pt`, which transformers insists on.
  public static void write(Path path, List<Item> items) {
    write(path, Map.of("format", "pt"), items);
  }

  /// Writes a file with this metadata.
  public static void write(Path path, Map<String, String> metadata, List<Item> items) {
    var sorted = new ArrayList<>(items);
    sorted.sort(Comparator.<Item>comparingInt(i -> -bits(i)).thenComparing(Item::name));
    var root = JSON.createObjectNode();
    if (!metadata.isEmpty()) {
      var m = root.putObject("__metadata__");
      new TreeMap<>(metadata).forEach(m::put);
    }
    long at = 0;
    for (var i : sorted) {
      var node = root.putObject(i.name);
      node.put("dtype", i.dtype);
      var shape = node.putArray("shape");
      for (int d : i.shape) shape.add(d);
      node.putArray("data_offsets").add(at).add(at += i.data.byteSize());
    }
    var header = root.toString().getBytes(StandardCharsets.UTF_8);
    int padded = (header.length + 7) / 8 * 8;
    AtomicFile.write(
        path,
        temp -> {
          try (var channel = FileChannel.open(temp, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING)) {
            var head = ByteBuffer.allocate(8 + padded).order(ByteOrder.LITTLE_ENDIAN).putLong(padded).put(header);
            while (head.hasRemaining()) head.put((byte) ' ');
            full(channel, head.flip());
            for (var i : sorted) {
              for (long from = 0; from < i.data.byteSize(); from += 1 << 24) {
                full(channel, i.data.asSlice(from, Math.min(1 << 24, i.data.byteSize() - from)).asByteBuffer());
              }
            }
          }
        });
  }

  private static int bits(Item item) {
    var bits = BITS.get(item.dtype);
    if (bits == null) throw new IllegalArgumentException("dtype " + item.dtype);
    return bits;
  }

  private static void full(FileChannel channel, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) channel.write(bytes);
  }
}
