package org.llmcore.checkpoint;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

import org.llmcore.InvalidInput;
import org.llmcore.tensor.Bf16;
import org.llmcore.tensor.DType;

/// A new file, written from front to back, little-endian, through one buffer. What fails to be written is an
/// `UncheckedIOException`, which `AtomicFile` turns into a sentence.
public final class FileOutput implements AutoCloseable {
  private static final int BUFFER = 1 << 20;

  private final FileChannel channel;
  private final ByteBuffer buffer = ByteBuffer.allocateDirect(BUFFER).order(ByteOrder.LITTLE_ENDIAN);
  private long flushed;

  /// Creates or empties the file.
  public FileOutput(Path file) {
    try {
      channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.TRUNCATE_EXISTING);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /// Bytes written so far.
  public long position() {
    return flushed + buffer.position();
  }

  public FileOutput u8(int value) {
    room(1).put((byte) value);
    return this;
  }

  public FileOutput i32(int value) {
    room(4).putInt(value);
    return this;
  }

  public FileOutput i64(long value) {
    room(8).putLong(value);
    return this;
  }

  public FileOutput f32(float value) {
    room(4).putFloat(value);
    return this;
  }

  public FileOutput bytes(byte[] bytes) {
    return bytes(MemorySegment.ofArray(bytes));
  }

  public FileOutput bytes(MemorySegment bytes) {
    for (long at = 0; at < bytes.byteSize(); ) {
      int n = (int) Math.min(room(1).remaining(), bytes.byteSize() - at);
      buffer.put(bytes.asSlice(at, n).asByteBuffer());
      at += n;
    }
    return this;
  }

  /// UTF-8, without length or end.
  public FileOutput text(String text) {
    return bytes(text.getBytes(StandardCharsets.UTF_8));
  }

  /// The first `n` values in a floating dtype, rounded to nearest even.
  /// @throws InvalidInput if a finite value is too large for F16
  public FileOutput floats(DType dtype, float[] values, int n) {
    for (int i = 0; i < n; i++) {
      room(dtype.bytes());
      switch (dtype) {
        case F32 -> buffer.putFloat(values[i]);
        case BF16 -> buffer.putShort(Bf16.of(values[i]));
        case F16 -> buffer.putShort(half(values[i]));
        default -> throw new IllegalArgumentException(dtype + " holds no real numbers");
      }
    }
    return this;
  }

  private static short half(float value) {
    short bits = Float.floatToFloat16(value);
    if (Float.isFinite(value) && Float.isInfinite(Float.float16ToFloat(bits))) {
      throw new InvalidInput("a weight is " + value + ", more than the 65504 that f16 holds", "choose bf16 or f32");
    }
    return bits;
  }

  /// Zeros up to the next multiple.
  public FileOutput pad(long alignment) {
    while (position() % alignment != 0) u8(0);
    return this;
  }

  private ByteBuffer room(int bytes) {
    if (buffer.remaining() < bytes) flush();
    return buffer;
  }

  private void flush() {
    buffer.flip();
    flushed += buffer.remaining();
    try {
      while (buffer.hasRemaining()) channel.write(buffer);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    buffer.clear();
  }

  /// Writes what is left.
  @Override
  public void close() {
    try (channel) {
      flush();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
