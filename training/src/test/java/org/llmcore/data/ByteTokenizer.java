package org.llmcore.data;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.OptionalInt;

import org.llmcore.text.Tokenizer;

/// The smallest exact tokenizer: 0 unknown, 1 BOS, 2 EOS, byte b is id b + 3.
record ByteTokenizer(boolean addsBos, OptionalInt eos) implements Tokenizer {
  static final ByteTokenizer LLAMA = new ByteTokenizer(true, OptionalInt.of(2));

  @Override
  public int size() {
    return 259;
  }

  @Override
  public OptionalInt bos() {
    return OptionalInt.of(1);
  }

  @Override
  public boolean addsEos() {
    return false;
  }

  @Override
  public int[] encode(String text) {
    var bytes = text.getBytes(StandardCharsets.UTF_8);
    var ids = new int[bytes.length];
    for (int i = 0; i < ids.length; i++) ids[i] = (bytes[i] & 0xFF) + 3;
    return ids;
  }

  @Override
  public String piece(int id) {
    return switch (id) {
      case 0 -> "<unk>";
      case 1 -> "<s>";
      case 2 -> "</s>";
      default -> String.valueOf((char) (id - 3));
    };
  }

  @Override
  public boolean control(int id) {
    return id < 3;
  }

  @Override
  public String decode(int... ids) {
    var bytes = new ByteArrayOutputStream();
    for (int id : ids) if (!control(id)) bytes.write(id - 3);
    return bytes.toString(StandardCharsets.UTF_8);
  }

  @Override
  public TextStream stream() {
    throw new IllegalStateException("not part of these tests");
  }

  /// Text of what an example learns, with `|` for EOS.
  static String learned(Example e) {
    return text(e, true);
  }

  /// Text of what an example gives, with `^` for BOS.
  static String given(Example e) {
    return text(e, false);
  }

  private static String text(Example e, boolean learned) {
    var ids = new ByteArrayOutputStream();
    for (int i = 0; i < e.length(); i++)
      if (e.learn()[i] == learned) ids.write(e.ids()[i] == 1 ? '^' : e.ids()[i] == 2 ? '|' : e.ids()[i] - 3);
    return ids.toString(StandardCharsets.UTF_8);
  }
}
