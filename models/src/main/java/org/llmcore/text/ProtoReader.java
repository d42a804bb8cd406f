package org.llmcore.text;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

import org.llmcore.InvalidInput;

/// Reads the protocol-buffer wire format, one message at a time: a message is a row of `tag value` with
/// `tag = field · 8 + wire type` (0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes).
///
///     for (int field; (field = in.next()) != 0; ) switch (field) { case 1 -> in.string(); default -> in.skip(); }
///
/// Nothing is allocated by a number in the file before that number was held against the bytes that are left.
/// Source: protobuf.dev/programming-guides/encoding.
final class ProtoReader {
  private static final int VARINT = 0;
  private static final int FIXED64 = 1;
  private static final int LENGTH = 2;
  private static final int FIXED32 = 5;

  private final String name;
  private final byte[] bytes;
  private final int end;
  private int at;
  private int wire;

  /// @param name how error messages call the file
  ProtoReader(String name, byte[] bytes) {
    this(name, bytes, 0, bytes.length);
  }

  private ProtoReader(String name, byte[] bytes, int from, int end) {
    this.name = name;
    this.bytes = bytes;
    this.at = from;
    this.end = end;
  }

  /// The next field's number, 0 at the end of the message.
  int next() {
    if (at == end) {
      return 0;
    }
    long tag = rawVarint();
    wire = (int) tag & 7;
    long field = tag >>> 3;
    if (field == 0 || field > 0x1fff_ffff) {
      throw broken("field number " + field);
    }
    return (int) field;
  }

  long varint() {
    expect(VARINT);
    return rawVarint();
  }

  boolean bool() {
    return varint() != 0;
  }

  float float32() {
    expect(FIXED32);
    need(4);
    float value = ByteBuffer.wrap(bytes, at, 4).order(ByteOrder.LITTLE_ENDIAN).getFloat();
    at += 4;
    return value;
  }

  /// A nested message, read by a reader of its own.
  ProtoReader message() {
    int length = length();
    var inner = new ProtoReader(name, bytes, at, at + length);
    at += length;
    return inner;
  }

  String string() {
    int length = length();
    try {
      var text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes, at, length)).toString();
      at += length;
      return text;
    } catch (CharacterCodingException e) {
      throw broken("text that is not UTF-8");
    }
  }

  /// Passes over the value of a field that is of no interest.
  void skip() {
    switch (wire) {
      case VARINT -> rawVarint();
      case FIXED64 -> step(8);
      case LENGTH -> step(length());
      case FIXED32 -> step(4);
      default -> throw broken("wire type " + wire);
    }
  }

  private void step(int count) {
    need(count);
    at += count;
  }

  private int length() {
    expect(LENGTH);
    long length = rawVarint();
    if (length < 0 || length > end - at) {
      throw broken("a field of " + Long.toUnsignedString(length) + " bytes where " + (end - at) + " are left");
    }
    return (int) length;
  }

  private long rawVarint() {
    long value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      need(1);
      byte b = bytes[at++];
      value |= (long) (b & 0x7f) << shift;
      if (b >= 0) {
        return value;
      }
    }
    throw broken("a number of more than ten bytes");
  }

  private void expect(int type) {
    if (wire != type) {
      throw broken("wire type " + wire + " where " + type + " belongs");
    }
  }

  private void need(int count) {
    if (count > end - at) {
      throw broken("the end of the data where " + count + " more bytes belong");
    }
  }

  private InvalidInput broken(String found) {
    return new InvalidInput(name + " is not a SentencePiece model: found " + found + " at byte " + at + " of " + bytes.length,
        "the file is truncated or of another kind; copy tokenizer.model again from where the model came from");
  }
}
