package org.llmcore.gguf;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;

import org.llmcore.InvalidInput;

/// A cursor over the bytes of a GGUF file that never leaves them.
final class GgufReader {
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED;
  private static final int ARRAY = 9;
  private static final int[] SIZES = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  private static final int TENSOR_NAME = 63; // GGML_MAX_NAME holds a zero too
  private static final int MOST = 100_000; // keys, and tensors
  private static final int KEPT = 1 << 16; // bytes of the longest text that is read when the file is opened
  private static final int WORDS = 8_000_000; // bytes of all keys and texts that are kept
  private static final String ALIGNMENT = "general.alignment";

  private final Path path;
  private final MemorySegment m;
  private long at;
  private long words;

  GgufReader(Path path, MemorySegment m) {
    this.path = path;
    this.m = m;
  }

  Gguf file(Arena arena) {
    if (m.byteSize() < 24) throw Gguf.wrong(path, m.byteSize() + " bytes are too few for a GGUF header");
    if (u32("magic") != 0x46554747L) throw Gguf.wrong(path, "it does not begin with GGUF");
    int version = version();
    long tensors = count("tensors", 24, MOST);
    long pairs = count("keys", 13, MOST);
    long alignment = 32;
    var keys = new LinkedHashMap<String, Object>();
    for (long i = 0; i < pairs; i++) {
      var key = string("key " + i, Gguf.NAME);
      if (key.isEmpty()) throw Gguf.wrong(path, "key " + i + " is empty");
      var shown = InvalidInput.brief(key);
      int type = (int) u32("type of " + shown);
      if (keys.put(key, value(shown, type)) != null) throw Gguf.wrong(path, "the key " + shown + " is there twice");
      if (key.equals(ALIGNMENT)) alignment = alignment(type, keys.get(key));
      if (words > WORDS) throw Gguf.wrong(path, "its keys hold more than " + WORDS + " bytes of text");
    }
    var infos = new ArrayList<Info>();
    for (long i = 0; i < tensors; i++) infos.add(info(i));
    long data = (at + alignment - 1) / alignment * alignment;
    check(infos, alignment, m.byteSize() - data);
    var entries = new LinkedHashMap<String, Gguf.Entry>();
    var foreign = new ArrayList<Gguf.Foreign>();
    for (var t : infos) {
      if (t.type.isPresent()) entries.put(t.name, new Gguf.Entry(t.name, t.type.get(), t.shape, m.asSlice(data + t.offset, t.bytes)));
      else foreign.add(new Gguf.Foreign(t.name, t.kind, t.shape, t.bytes));
    }
    return new Gguf(path, arena, version, Collections.unmodifiableMap(keys), Collections.unmodifiableMap(entries), List.copyOf(foreign));
  }

  private int version() {
    int version = (int) u32("version");
    if (version == 2 || version == 3) return version;
    int turned = Integer.reverseBytes(version);
    if (turned == 2 || turned == 3) {
      throw new InvalidInput(path + " is a big-endian GGUF file, expected a little-endian one", "convert it with gguf_convert_endian of Python's gguf package");
    }
    throw Gguf.wrong(path, "GGUF version " + Integer.toUnsignedString(version) + " is not supported, expected 2 or 3");
  }

  private long alignment(int type, Object value) {
    if (type == 4 && value instanceof Long a && Long.bitCount(a) == 1) return a;
    throw Gguf.wrong(path, ALIGNMENT + " is " + Gguf.kind(value) + " of type " + type + ", expected a power of two as u32 (type 4)");
  }

  /// @param type empty where it is foreign
  private record Info(String name, Optional<GgufType> type, String kind, int[] shape, long offset, long bytes) {
    String shown() {
      return InvalidInput.brief(name);
    }
  }

  private Info info(long i) {
    var name = string("name of tensor " + i, TENSOR_NAME);
    var shown = InvalidInput.brief(name);
    long rank = u32("rank of " + shown);
    if (rank < 1 || rank > 4) throw Gguf.wrong(path, "tensor " + shown + " has " + rank + " dimensions, expected 1 to 4");
    var shape = new int[(int) rank];
    long elements = 1;
    for (int d = shape.length - 1; d >= 0; d--) {
      long size = u64("sizes of " + shown);
      if (size < 0 || size > Integer.MAX_VALUE || elements > Long.MAX_VALUE / 8 / Math.max(1, size)) {
        throw Gguf.wrong(path, "tensor " + shown + " has a dimension of " + Long.toUnsignedString(size));
      }
      shape[d] = (int) size;
      elements *= size;
    }
    int number = (int) u32("type of " + shown);
    var type = GgufType.of(number);
    var foreign = ForeignType.of(number);
    if (type.isEmpty() && foreign.isEmpty()) {
      throw new InvalidInput(path + ": tensor " + shown + " is stored as GGML type " + Integer.toUnsignedString(number), "supported are " + Arrays.toString(GgufType.values()));
    }
    var kind = type.map(GgufType::name).orElseGet(() -> foreign.get().name());
    int unit = type.map(GgufType::unit).orElseGet(() -> foreign.get().unit());
    int bytes = type.map(GgufType::bytes).orElseGet(() -> foreign.get().bytes());
    if (shape[shape.length - 1] % unit != 0) {
      throw Gguf.wrong(path, "tensor " + shown + " has rows of " + shape[shape.length - 1] + ", no multiple of " + unit + " as " + kind + " needs");
    }
    return new Info(name, type, kind, shape, u64("offset of " + shown), elements / unit * bytes);
  }

  /// @param room bytes of data; the padding of the last tensor may lack
  private void check(List<Info> infos, long alignment, long room) {
    var names = new HashSet<String>();
    for (var t : infos) {
      if (!names.add(t.name)) throw Gguf.wrong(path, "the tensor " + t.shown() + " is there twice");
      if (t.offset < 0 || t.offset % alignment != 0 || t.offset > room || t.bytes > room - t.offset) {
        throw Gguf.wrong(path, "tensor " + t.shown() + " lies at offset " + Long.toUnsignedString(t.offset) + " with " + t.bytes
            + " bytes, the file's data has " + Math.max(0, room));
      }
    }
    long end = 0;
    for (var t : infos.stream().sorted(Comparator.comparingLong(Info::offset).thenComparingLong(Info::bytes)).toList()) {
      if (t.offset < end) throw Gguf.wrong(path, "the tensor " + t.shown() + " and the one before it share bytes at offset " + t.offset);
      if (t.offset > end) throw Gguf.wrong(path, "bytes " + end + " to " + t.offset + " of the data belong to no tensor");
      end = (t.offset + t.bytes + alignment - 1) / alignment * alignment;
    }
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
      case Gguf.STRING -> text(key);
      case ARRAY -> array(key);
      case 10, 11 -> u64(key);
      case 12 -> m.get(ValueLayout.JAVA_DOUBLE_UNALIGNED, take(key, 8));
      default -> throw Gguf.wrong(path, "the value of " + key + " has type " + Integer.toUnsignedString(type) + ", expected 0 to 12");
    };
  }

  private Object text(String key) {
    long n = length(key);
    if (n > KEPT) return new Gguf.Text(m.asSlice(take(key, n), n));
    words += n;
    return Gguf.spelled(m.asSlice(take(key, n), n));
  }

  /// The shortest decimal that is this f32: 1e-5, not 9.999999747378752e-6. It rounds to the same f32.
  private static double decimal(float value) {
    return Double.parseDouble(Float.toString(value));
  }

  private Gguf.Values array(String key) {
    int type = (int) u32("type of " + key);
    if (type < 0 || type >= SIZES.length || type == ARRAY) throw Gguf.wrong(path, key + " is a list of type " + Integer.toUnsignedString(type) + ", expected plain values or texts");
    long n = count("values of " + key, type == Gguf.STRING ? 8 : SIZES[type], Long.MAX_VALUE);
    long from = at;
    if (type == Gguf.STRING) for (long i = 0; i < n; i++) take(key, length(key));
    else take(key, n * SIZES[type]);
    return new Gguf.Values(type, n, m.asSlice(from, at - from));
  }

  /// A number of things of which each takes at least `least` bytes.
  private long count(String what, int least, long most) {
    long n = u64("number of " + what);
    if (n < 0 || n > (m.byteSize() - at) / least) {
      throw Gguf.wrong(path, Long.toUnsignedString(n) + " " + what + " are promised, more than the file's " + m.byteSize() + " bytes hold");
    }
    if (n > most) throw Gguf.wrong(path, "it has " + n + " " + what + ", expected at most " + most);
    return n;
  }

  private long length(String what) {
    long n = u64("length of " + what);
    if (n < 0 || n > m.byteSize() - at) throw Gguf.wrong(path, what + " is a text of " + Long.toUnsignedString(n) + " bytes, the file has " + (m.byteSize() - at) + " left");
    return n;
  }

  String string(String what, int most) {
    long n = length(what);
    if (n > most) throw Gguf.wrong(path, what + " is a text of " + n + " bytes, expected at most " + most);
    words += n;
    return Gguf.spelled(m.asSlice(take(what, n), n));
  }

  private long u32(String what) {
    return m.get(INT, take(what, 4)) & 0xffffffffL;
  }

  private long u64(String what) {
    return m.get(LONG, take(what, 8));
  }

  private long take(String what, long bytes) {
    if (bytes > m.byteSize() - at) throw Gguf.wrong(path, "it ends in the middle of " + what);
    at += bytes;
    return at - bytes;
  }
}
