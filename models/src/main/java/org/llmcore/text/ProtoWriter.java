package org.llmcore.text;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;

/// Writes the protocol-buffer wire format that [ProtoReader] reads.
final class ProtoWriter {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();

  ProtoWriter varint(int field, long value) {
    raw((long) field << 3);
    raw(value);
    return this;
  }

  ProtoWriter bool(int field, boolean value) {
    return varint(field, value ? 1 : 0);
  }

  ProtoWriter float32(int field, float value) {
    raw((long) field << 3 | 5);
    int bits = Float.floatToRawIntBits(value);
    for (int shift = 0; shift < 32; shift += 8) {
      out.write(bits >>> shift);
    }
    return this;
  }

  ProtoWriter string(int field, String value) {
    return bytes(field, value.getBytes(StandardCharsets.UTF_8));
  }

  ProtoWriter message(int field, ProtoWriter inner) {
    return bytes(field, inner.toBytes());
  }

  byte[] toBytes() {
    return out.toByteArray();
  }

  private ProtoWriter bytes(int field, byte[] value) {
    raw((long) field << 3 | 2);
    raw(value.length);
    out.writeBytes(value);
    return this;
  }

  private void raw(long value) {
    while ((value & ~0x7fL) != 0) {
      out.write((int) value & 0x7f | 0x80);
      value >>>= 7;
    }
    out.write((int) value);
  }
}
