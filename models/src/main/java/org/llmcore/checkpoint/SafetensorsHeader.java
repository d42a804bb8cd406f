package org.llmcore.checkpoint;

import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;

/// The JSON header of a safetensors file, read where it lies: no more of it is held than names, metadata and one tensor.
///
/// Spaces behind the object are free; what remains may have 16 MB, about 150 bytes for each of 100,000 tensors.
final class SafetensorsHeader {
  private static final int CONTENT = 16_000_000;
  private static final int MOST = 100_000; // tensors, and pairs of metadata
  private static final int DIMENSIONS = 4096;
  private static final int STRANGE = 1000; // tokens of a field that is not known
  private static final JsonFactory JSON = JsonFactory.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
      .streamReadConstraints(StreamReadConstraints.builder().maxStringLength(CONTENT).build()).build();

  /// What stands in a header about a tensor.
  record Tensor(String name, String dtype, int[] shape, long from, long to) {}

  /// A header that is JSON and yet none.
  static final class Wrong extends RuntimeException {
    private static final long serialVersionUID = 1;

    Wrong(String what) {
      super(what);
    }
  }

  private final JsonParser p;

  private SafetensorsHeader(JsonParser p) {
    this.p = p;
  }

  /// Hands every tensor to `each` in the order of the file.
  /// @throws IOException if this is no JSON object
  /// @throws Wrong if it says something else than a header
  static void read(MemorySegment header, Map<String, String> metadata, Consumer<Tensor> each) throws IOException {
    long end = header.byteSize();
    while (end > 0 && blank(header.get(ValueLayout.JAVA_BYTE, end - 1))) end--;
    if (end > CONTENT) throw new Wrong("its header holds " + end + " bytes of text, the limit is " + CONTENT);
    var bytes = header.asSlice(0, end).toArray(ValueLayout.JAVA_BYTE);
    try (var p = JSON.createParser(new InputStreamReader(new java.io.ByteArrayInputStream(bytes), StandardCharsets.UTF_8.newDecoder()))) {
      new SafetensorsHeader(p).object(metadata, each);
    }
  }

  private static boolean blank(byte b) {
    return b == ' ' || b == '\n' || b == '\r' || b == '\t';
  }

  private void object(Map<String, String> metadata, Consumer<Tensor> each) throws IOException {
    if (p.nextToken() != JsonToken.START_OBJECT) throw new IOException("not a JSON object");
    int tensors = 0;
    while (p.nextToken() != JsonToken.END_OBJECT) {
      var name = p.currentName();
      p.nextToken();
      if (name.equals(Safetensors.METADATA)) metadata(metadata);
      else if (++tensors > MOST) throw new Wrong("its header names more than " + MOST + " tensors");
      else each.accept(tensor(name));
    }
    if (p.nextToken() != null) throw new IOException("not JSON, there is more behind its object");
  }

  private void metadata(Map<String, String> metadata) throws IOException {
    if (p.currentToken() == JsonToken.VALUE_NULL) return;
    if (p.currentToken() != JsonToken.START_OBJECT) throw new Wrong("its metadata is no object");
    while (p.nextToken() != JsonToken.END_OBJECT) {
      if (p.nextToken() != JsonToken.VALUE_STRING) throw new Wrong("metadata " + JsonFile.brief(p.currentName()) + " is not a string");
      metadata.put(p.currentName(), p.getText());
      if (metadata.size() > MOST) throw new Wrong("its metadata has more than " + MOST + " keys");
    }
  }

  private Tensor tensor(String name) throws IOException {
    var tensor = "tensor " + JsonFile.brief(name);
    if (p.currentToken() != JsonToken.START_OBJECT) throw new Wrong(tensor + " is no object");
    var dtype = "";
    List<Long> shape = null;
    List<Long> place = null;
    while (p.nextToken() != JsonToken.END_OBJECT) {
      var field = p.currentName();
      p.nextToken();
      switch (field) {
        case "dtype" -> dtype = p.currentToken().isScalarValue() ? p.getText() : "";
        case "shape" -> shape = numbers(tensor + " has dimension ", Integer.MAX_VALUE);
        case "data_offsets" -> place = numbers(tensor + " has the offset ", Long.MAX_VALUE);
        default -> skip(tensor + " has a field '" + JsonFile.brief(field));
      }
    }
    if (shape == null) throw new Wrong(tensor + " has no shape");
    if (place == null || place.size() != 2) throw new Wrong(tensor + " has no data_offsets");
    return new Tensor(name, dtype, shape.stream().mapToInt(Long::intValue).toArray(), place.get(0), place.get(1));
  }

  /// A list of whole numbers, 0 to `most`.
  private List<Long> numbers(String what, long most) throws IOException {
    if (p.currentToken() != JsonToken.START_ARRAY) throw new Wrong(what + JsonFile.brief(p.getText()));
    var out = new ArrayList<Long>();
    while (p.nextToken() != JsonToken.END_ARRAY) {
      boolean fits = p.currentToken() == JsonToken.VALUE_NUMBER_INT && p.getNumberType() != JsonParser.NumberType.BIG_INTEGER;
      if (!fits || p.getLongValue() < 0 || p.getLongValue() > most) throw new Wrong(what + JsonFile.brief(p.getText()));
      out.add(p.getLongValue());
      if (out.size() > DIMENSIONS) throw new Wrong(what + p.getText() + " as number " + out.size() + ", expected at most " + DIMENSIONS);
    }
    return out;
  }

  private void skip(String what) throws IOException {
    int depth = 0;
    for (int tokens = 0; ; tokens++) {
      if (tokens == STRANGE) throw new Wrong(what + "' without end");
      depth += p.currentToken().isStructStart() ? 1 : p.currentToken().isStructEnd() ? -1 : 0;
      if (depth == 0) return;
      if (p.nextToken() == null) throw new IOException("not JSON, it ends in the middle");
    }
  }
}
