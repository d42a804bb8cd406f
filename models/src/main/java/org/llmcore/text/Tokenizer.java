package org.llmcore.text;

import java.util.OptionalInt;

/// Text to token ids and back. Implementations follow the file they were read from to the letter; immutable, safe to
/// share between threads.
///
/// `encode` treats its argument as *text only*: a string such as `</s>` or `[INST]` in it is spelled out in ordinary
/// pieces and never becomes a control token. Control tokens enter a sequence by id (`bos()`, `eos()`), never by spelling.
public interface Tokenizer {
  /// Number of ids; every id lies in `[0, size)`.
  int size();

  /// Beginning-of-sequence id, where the file defines one.
  OptionalInt bos();

  /// End-of-sequence id, where the file defines one.
  OptionalInt eos();

  /// Whether the file asks for BOS in front of a document.
  boolean addsBos();

  /// Whether the file asks for EOS behind a document.
  boolean addsEos();

  /// Ids of a text, without BOS and EOS.
  int[] encode(String text);

  /// The vocabulary entry as the file spells it (`▁the`, `Ġthe`, `<0x0A>`).
  /// @throws IllegalArgumentException if the id lies outside `[0, size)`
  String piece(int id);

  /// True for ids that stand for no text: BOS, EOS, padding, unknown and other special tokens.
  boolean control(int id);

  /// Text of a sequence; control ids give nothing, incomplete UTF-8 gives U+FFFD.
  String decode(int... ids);

  /// A fresh decoder that is fed one id at a time and returns text on UTF-8 boundaries only; the concatenation of all
  /// it returns equals `decode` of all ids.
  TextStream stream();

  /// Incremental decoding of one sequence; not thread-safe.
  interface TextStream {
    /// Text completed by this id; empty while a character is still incomplete.
    String next(int id);

    /// Text of what is left at the end of the sequence (U+FFFD for an incomplete character).
    String finish();
  }
}
