package org.llmcore.data;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

import org.llmcore.InvalidInput;

/// Lines of a UTF-8 file, one in memory at a time. A byte-order mark is dropped, LF and CRLF both end a line, and a line that
/// is not UTF-8 is reported and skipped.
final class Lines implements AutoCloseable {
  /// Longest line accepted, in bytes: an example, not a file without line breaks.
  static final int LONGEST = 1 << 28;

  private final InputStream in;
  private final String file;
  private final Problems problems;
  private long number;
  private String text = "";
  private boolean ended;

  Lines(Path path, Problems problems) {
    this.file = path.getFileName().toString();
    this.problems = problems;
    try {
      in = new BufferedInputStream(Files.newInputStream(path), 1 << 16);
    } catch (IOException e) {
      throw new InvalidInput("cannot read " + path, "check the path and its permissions", e);
    }
  }

  /// Moves to the next line that is UTF-8; false at the end of the file.
  boolean next() {
    try {
      while (true) {
        var bytes = bytes();
        if (bytes == null) return false;
        number++;
        int from = number == 1 && marked(bytes) ? 3 : 0;
        int to = bytes.length > from && bytes[bytes.length - 1] == '\r' ? bytes.length - 1 : bytes.length;
        if (decode(ByteBuffer.wrap(bytes, from, to - from))) return true;
      }
    } catch (IOException e) {
      throw new UncheckedIOException("reading " + file + " failed after line " + number, e);
    }
  }

  /// Number of the current line, counted from 1.
  long number() {
    return number;
  }

  /// The current line without its end.
  String text() {
    return text;
  }

  /// Whether the current line has an end; the last of a file may lack it.
  boolean ended() {
    return ended;
  }

  private static boolean marked(byte[] b) {
    return b.length >= 3 && b[0] == (byte) 0xEF && b[1] == (byte) 0xBB && b[2] == (byte) 0xBF;
  }

  private byte[] bytes() throws IOException {
    var line = new ByteArrayOutputStream(256);
    int b = in.read();
    if (b < 0) return null;
    for (; b >= 0 && b != '\n'; b = in.read()) {
      if (line.size() == LONGEST)
        throw new InvalidInput(file + ": line " + (number + 1) + " is longer than " + LONGEST + " bytes", "one example a line");
      line.write(b);
    }
    ended = b == '\n';
    return line.toByteArray();
  }

  private boolean decode(ByteBuffer bytes) {
    var decoder = StandardCharsets.UTF_8.newDecoder()
      .onMalformedInput(CodingErrorAction.REPORT).onUnmappableCharacter(CodingErrorAction.REPORT);
    var chars = CharBuffer.allocate(bytes.remaining() + 1);
    int first = bytes.position();
    var result = decoder.decode(bytes, chars, true);
    if (result.isError()) {
      int at = bytes.position();
      boolean wide = at == first && number == 1 && ((bytes.get(at) & 0xFE) == 0xFE);
      problems.add(Problem.Kind.ENCODING, number, chars.position() + 1,
        String.format("byte 0x%02X is not UTF-8", bytes.get(at)) + (wide ? "; the file looks like UTF-16, convert it" : ""));
      return false;
    }
    text = chars.flip().toString();
    return true;
  }

  @Override
  public void close() {
    try {
      in.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
