package org.llmcore.text;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/// Puts characters together from bytes that arrive in any portions. Bytes that can never become a character give
/// U+FFFD: one for each byte (SentencePiece's way), or one for each longest beginning of a character (the Unicode
/// standard's recommendation, 3.9 "U+FFFD substitution of maximal subparts"; the Hugging Face library's way).
final class Utf8Assembler {
  private static final char REPLACEMENT = '\uFFFD';

  private final boolean perByte;
  private byte[] pending = new byte[8];
  private int count;

  Utf8Assembler(boolean perByte) {
    this.perByte = perByte;
  }

  /// Appends to `out` what these bytes complete.
  void accept(byte[] bytes, StringBuilder out) {
    if (count + bytes.length > pending.length) {
      pending = Arrays.copyOf(pending, count + bytes.length);
    }
    System.arraycopy(bytes, 0, pending, count, bytes.length);
    count += bytes.length;
    int at = 0;
    while (at < count) {
      int have = wellFormed(at);
      int want = length(pending[at]);
      if (have > 0 && have == want) {
        int run = at;
        while (at < count && (have = wellFormed(at)) > 0 && have == length(pending[at])) {
          at += have;
        }
        out.append(new String(pending, run, at - run, StandardCharsets.UTF_8));
      } else if (have > 0 && at + have == count) {
        break; // the beginning of a character that may still be completed
      } else {
        out.append(REPLACEMENT);
        at += perByte ? 1 : Math.max(1, have);
      }
    }
    System.arraycopy(pending, at, pending, 0, count - at);
    count -= at;
  }

  /// Appends the replacement of an unfinished character, if there is one.
  void flush(StringBuilder out) {
    out.repeat(REPLACEMENT, perByte ? count : Math.min(count, 1));
    count = 0;
  }

  /// Bytes of the character that this byte begins; 0 if it cannot begin one.
  private static int length(byte first) {
    int b = first & 0xff;
    return b < 0x80 ? 1 : b < 0xc2 ? 0 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : b < 0xf5 ? 4 : 0;
  }

  /// How many bytes from `at` on are the beginning of a character (Unicode table 3-7), as far as they are there.
  private int wellFormed(int at) {
    int b = pending[at] & 0xff;
    int length = length(pending[at]);
    int n = Math.min(length, 1);
    while (n > 0 && n < length && at + n < count) {
      int c = pending[at + n] & 0xff;
      int low = n > 1 ? 0x80 : b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80;
      int high = n > 1 ? 0xbf : b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
      if (c < low || c > high) {
        return n;
      }
      n++;
    }
    return n;
  }
}
