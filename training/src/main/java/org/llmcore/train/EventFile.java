package org.llmcore.train;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.InstantSource;
import java.util.Map;
import java.util.zip.CRC32C;

/// A TensorBoard event file: TFRecords, each holding one `Event` of protocol buffers.
///
///     record  u64 length · u32 masked(length) · bytes · u32 masked(bytes)          little-endian
///     masked  ((crc >>> 15) | (crc << 17)) + 0xa282ead8                            crc = CRC-32C
///
/// | message           | field | number | type    |
/// |-------------------|-------|--------|---------|
/// | Event             | wall_time | 1  | double  |
/// |                   | step      | 2  | varint  |
/// |                   | file_version | 3 | string `brain.Event:2`, in the first event |
/// |                   | summary   | 5  | Summary |
/// |                   | session_log | 7 | SessionLog; status 1 (START) discards later steps of earlier files |
/// | Summary           | value     | 1  | Value, repeated |
/// | Value             | tag, simple_value | 1, 2 | string, float |
///
/// Format: tensorflow/core/lib/io/record_writer.cc, tensorflow/core/util/event.proto, framework/summary.proto.
public final class EventFile implements AutoCloseable {
  private static final int DOUBLE = 1;
  private static final int VARINT = 0;
  private static final int BYTES = 2;
  private static final int FLOAT = 5;

  private final FileChannel channel;
  private final InstantSource clock;

  private EventFile(FileChannel channel, InstantSource clock) {
    this.channel = channel;
    this.clock = clock;
  }

  /// A new file in `folder`, which TensorBoard reads together with those of earlier sessions.
  /// @param done steps that are done already: what earlier files say about later ones is discarded
  public static EventFile create(Path folder, long done, InstantSource clock) {
    try {
      // The name orders the files; a session started within the same second gets the next number.
      int number = 0;
      Path file;
      do {
        file = folder.resolve("events.out.tfevents.%010d.llm-core.%d".formatted(clock.instant().getEpochSecond(), number++));
      } while (Files.exists(file));
      var events = new EventFile(FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE), clock);
      var version = events.event(0);
      bytes(version, 3, "brain.Event:2".getBytes(StandardCharsets.UTF_8));
      events.write(version.toByteArray());
      if (done > 0) {
        var log = new ByteArrayOutputStream();
        key(log, 1, VARINT);
        varint(log, 1);
        var start = events.event(done + 1);
        bytes(start, 7, log.toByteArray());
        events.write(start.toByteArray());
      }
      return events;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /// Scalars of a step, by tag (`train/loss`).
  public void add(long step, Map<String, Double> scalars) {
    var summary = new ByteArrayOutputStream();
    scalars.forEach((tag, scalar) -> {
      var value = new ByteArrayOutputStream();
      bytes(value, 1, tag.getBytes(StandardCharsets.UTF_8));
      key(value, 2, FLOAT);
      value.writeBytes(little(Float.BYTES).putFloat(scalar.floatValue()).array());
      bytes(summary, 1, value.toByteArray());
    });
    var event = event(step);
    bytes(event, 5, summary.toByteArray());
    write(event.toByteArray());
  }

  @Override
  public void close() {
    try {
      channel.close();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot close the TensorBoard events", e);
    }
  }

  private ByteArrayOutputStream event(long step) {
    var event = new ByteArrayOutputStream();
    key(event, 1, DOUBLE);
    var now = clock.instant();
    event.writeBytes(little(Double.BYTES).putDouble(now.getEpochSecond() + now.getNano() / 1e9).array());
    if (step == 0) return event; // a default is not written
    key(event, 2, VARINT);
    varint(event, step);
    return event;
  }

  private void write(byte[] event) {
    byte[] length = little(Long.BYTES).putLong(event.length).array();
    var record = little(Long.BYTES + event.length + 2 * Integer.BYTES).put(length).putInt(masked(length)).put(event).putInt(masked(event)).flip();
    try {
      while (record.hasRemaining()) channel.write(record);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot write the TensorBoard events", e);
    }
  }

  private static int masked(byte[] bytes) {
    var crc = new CRC32C();
    crc.update(bytes);
    return Integer.rotateRight((int) crc.getValue(), 15) + 0xa282ead8;
  }

  private static void bytes(ByteArrayOutputStream out, int field, byte[] bytes) {
    key(out, field, BYTES);
    varint(out, bytes.length);
    out.writeBytes(bytes);
  }

  private static void key(ByteArrayOutputStream out, int field, int type) {
    varint(out, (long) field << 3 | type);
  }

  private static void varint(ByteArrayOutputStream out, long value) {
    for (; (value & ~0x7fL) != 0; value >>>= 7) out.write((int) (value & 0x7f | 0x80));
    out.write((int) value);
  }

  private static ByteBuffer little(int bytes) {
    return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }
}
