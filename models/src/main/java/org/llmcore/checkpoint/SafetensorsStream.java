package org.llmcore.checkpoint;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;

import org.llmcore.tensor.DType;

/// Writes safetensors files whose tensors are made while they are written, so that none need be held.
public final class SafetensorsStream {
  /// A tensor to come.
  /// @param dtype by the format's name
  public record Promise(String name, String dtype, int[] shape, long bytes) {
    /// One of our own dtypes.
    public static Promise of(String name, DType dtype, int[] shape) {
      long n = dtype.bytes();
      for (int d : shape) n = Math.multiplyExact(n, d);
      return new Promise(name, dtype.name(), shape, n);
    }
  }

  /// Writes exactly the bytes that were promised.
  public interface Data {
    void write(Promise tensor, FileOutput out);
  }

  private SafetensorsStream() {}

  /// Writes a file, not atomically: whoever calls sees to that. The layout is the reference library's: tensors by descending
  /// dtype, widest first, then by name; the header padded with spaces to a multiple of 8. `data` is asked in that order.
  /// @param metadata `format: pt`, which transformers insists on
  public static void write(Path file, Map<String, String> metadata, List<Promise> tensors, Data data) {
    var sorted = new ArrayList<>(tensors);
    sorted.sort(Comparator.comparing((Promise t) -> Safetensors.rank(t.dtype)).reversed().thenComparing(Promise::name));
    var root = JsonNodeFactory.instance.objectNode();
    if (!metadata.isEmpty()) {
      var m = root.putObject("__metadata__");
      new TreeMap<>(metadata).forEach(m::put);
    }
    long at = 0;
    for (var t : sorted) {
      if (root.has(t.name)) throw new IllegalArgumentException("two tensors are named " + t.name);
      var node = root.putObject(t.name);
      node.put("dtype", t.dtype);
      var shape = node.putArray("shape");
      for (int d : t.shape) shape.add(d);
      node.putArray("data_offsets").add(at).add(at += t.bytes);
    }
    var header = root.toString().getBytes(StandardCharsets.UTF_8);
    try (var out = new FileOutput(file)) {
      out.i64((header.length + 7) / 8 * 8).bytes(header);
      while (out.position() % 8 != 0) out.u8(' ');
      for (var t : sorted) {
        long end = out.position() + t.bytes;
        data.write(t, out);
        if (out.position() != end) throw new IllegalStateException(t.name + " has another length than promised");
      }
    }
  }
}
