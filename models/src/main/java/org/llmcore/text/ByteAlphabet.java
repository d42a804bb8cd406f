package org.llmcore.text;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/// GPT-2's alphabet: every byte as one printable character, so that a vocabulary of bytes can be written as text.
/// The bytes 33–126, 161–172 and 174–255 stand for themselves (Latin-1); the other 68 are U+0100, U+0101 … in order
/// (a space is `Ġ`, a newline `Ċ`). Source: `bytes_to_unicode` of the GPT-2 release.
final class ByteAlphabet {
  private static final char[] CHARACTERS = characters();
  private static final short[] BYTES = bytes();

  private ByteAlphabet() {
  }

  /// The UTF-8 bytes of a text, spelled in the alphabet.
  static String spell(String text) {
    var out = new StringBuilder(text.length() + 8);
    for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
      out.append(CHARACTERS[b & 0xff]);
    }
    return out.toString();
  }

  /// The bytes a spelling stands for; the UTF-8 bytes of the text itself if it is no spelling.
  static byte[] read(String spelling) {
    byte[] bytes = new byte[spelling.length()];
    for (int i = 0; i < bytes.length; i++) {
      char c = spelling.charAt(i);
      if (c >= BYTES.length || BYTES[c] < 0) {
        return spelling.getBytes(StandardCharsets.UTF_8);
      }
      bytes[i] = (byte) BYTES[c];
    }
    return bytes;
  }

  private static char[] characters() {
    char[] characters = new char[256];
    char other = 0x100;
    for (char b = 0; b < 256; b++) {
      boolean printable = b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae;
      characters[b] = printable ? b : other++;
    }
    return characters;
  }

  private static short[] bytes() {
    short[] bytes = new short[0x100 + 68];
    Arrays.fill(bytes, (short) -1);
    for (short b = 0; b < 256; b++) {
      bytes[CHARACTERS[b]] = b;
    }
    return bytes;
  }
}
