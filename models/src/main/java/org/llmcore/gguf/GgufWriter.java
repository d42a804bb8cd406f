package org.llmcore.gguf;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

import org.llmcore.checkpoint.FileOutput;

/// Writes a GGUF file of version 3 (see `Gguf`) whose tensors are made while they are written, so that none need be held.
///
/// | key's value in Java | in the file        |
/// |---------------------|--------------------|
/// | Integer             | u32                |
/// | Float               | f32                |
/// | Boolean             | bool               |
/// | String              | string             |
/// | List of String      | array of string    |
/// | float[]             | array of f32       |
/// | int[]               | array of i32       |
public final class GgufWriter {
  private static final int ALIGNMENT = 32;
  private static final int LONGEST_NAME = 63;

  /// A tensor to come.
  /// @param shape slowest first, as everywhere here
  public record Promise(String name, GgufType type, int[] shape) {
    /// @throws IllegalArgumentException if a row is no whole number of blocks, or the name is longer than llama.cpp reads
    public Promise {
      if (!type.fits(shape[shape.length - 1])) throw new IllegalArgumentException(name + Arrays.toString(shape)
          + " has no form in " + type);
      if (name.length() > LONGEST_NAME) throw new IllegalArgumentException("the tensor name " + name + " is too long");
    }

    /// Bytes of its data.
    public long bytes() {
      int columns = shape[shape.length - 1];
      return Arrays.stream(shape).asLongStream().reduce(1, Math::multiplyExact) / columns * type.bytes(columns);
    }
  }

  /// Writes exactly the bytes that were promised.
  public interface Data {
    void write(Promise tensor, FileOutput out);
  }

  private GgufWriter() {}

  /// Writes a file, not atomically: whoever calls sees to that. `data` is asked in the order of the tensors.
  public static void write(Path file, Map<String, Object> keys, List<Promise> tensors, Data data) {
    try (var out = new FileOutput(file)) {
      out.text("GGUF").i32(3).i64(tensors.size()).i64(keys.size());
      keys.forEach((key, value) -> value(text(out, key), value));
      long at = 0;
      for (var t : tensors) {
        text(out, t.name).i32(t.shape.length);
        for (int d = t.shape.length - 1; d >= 0; d--) out.i64(t.shape[d]);
        out.i32(t.type.number()).i64(at);
        at = aligned(at + t.bytes());
      }
      out.pad(ALIGNMENT);
      for (var t : tensors) {
        long end = out.position() + t.bytes();
        data.write(t, out);
        if (out.position() != end) throw new IllegalStateException(t.name + " has another length than promised");
        out.pad(ALIGNMENT);
      }
    }
  }

  /// Bytes of all tensors in a file.
  public static long bytes(List<Promise> tensors) {
    return tensors.stream().mapToLong(t -> aligned(t.bytes())).sum();
  }

  private static long aligned(long n) {
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

  private static FileOutput text(FileOutput out, String text) {
    var bytes = text.getBytes(StandardCharsets.UTF_8);
    return out.i64(bytes.length).bytes(bytes);
  }

  private static void value(FileOutput out, Object value) {
    switch (value) {
      case Integer i -> out.i32(4).i32(i);
      case Float f -> out.i32(6).f32(f);
      case Boolean b -> out.i32(7).u8(b ? 1 : 0);
      case String s -> text(out.i32(8), s);
      case List<?> texts -> {
        out.i32(9).i32(8).i64(texts.size());
        for (var t : texts) text(out, (String) t);
      }
      case float[] all -> {
        out.i32(9).i32(6).i64(all.length);
        for (float f : all) out.f32(f);
      }
      case int[] all -> {
        out.i32(9).i32(5).i64(all.length);
        for (int i : all) out.i32(i);
      }
      default -> throw new IllegalArgumentException("no form for a " + value.getClass().getName());
    }
  }
}
