package org.llmcore.text;

/// How vocabularies spell a single byte: `<0x00>` to `<0xFF>`.
final class ByteNames {
  private ByteNames() {
  }

  static String name(int value) {
    return String.format("<0x%02X>", value);
  }

  /// The byte's value, −1 if the piece is no such name.
  static int value(String piece) {
    if (piece.length() != 6 || !piece.startsWith("<0x") || piece.charAt(5) != '>') {
      return -1;
    }
    int high = Character.digit(piece.charAt(3), 16);
    int low = Character.digit(piece.charAt(4), 16);
    int value = high << 4 | low;
    return value >= 0 && name(value).equals(piece) ? value : -1;
  }
}
