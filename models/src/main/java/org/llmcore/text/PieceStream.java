package org.llmcore.text;

import java.util.Arrays;

/// The decoding of every tokenizer here: the bytes of the pieces, put together to characters, less the space that
/// encoding put in front.
final class PieceStream implements Tokenizer.TextStream {
  /// What happens to a space that begins a piece while no text has come out yet.
  enum Lead {
    /// It is text.
    KEEP,
    /// The first such space is dropped (SentencePiece with a dummy prefix; Hugging Face's `Strip`).
    DROP_FIRST,
    /// Of each such piece one space is dropped (SentencePiece that removes extra spaces).
    DROP_EACH,
    /// All spaces of the very first piece are dropped (Hugging Face's `Metaspace`).
    DROP_ALL_OF_FIRST_PIECE,
    /// One space is dropped at the start and after every BOS (llama2.c).
    DROP_AFTER_BOS
  }

  /// Vocabulary as a decoder sees it.
  interface Pieces {
    /// The bytes an id stands for; none for control ids.
    byte[] bytes(int id);

    /// Whether an id gives no text at all.
    boolean control(int id);

    /// Whether an id stands for one byte by its value (`<0x0A>`).
    boolean bytePiece(int id);
  }

  private static final byte[] NOTHING = new byte[0];

  private final Pieces pieces;
  private final Lead lead;
  private final int bos;
  private final boolean whole;
  private final Utf8Assembler text;
  private boolean begin = true;

  private PieceStream(Pieces pieces, Lead lead, int bos, boolean whole, Utf8Assembler text) {
    this.pieces = pieces;
    this.lead = lead;
    this.bos = bos;
    this.whole = whole;
    this.text = text;
  }

  /// Only byte pieces put characters together; every other piece is whole and ends an unfinished character.
  static PieceStream ofWholePieces(Pieces pieces, Lead lead) {
    return new PieceStream(pieces, lead, -1, true, new Utf8Assembler(true));
  }

  /// Every piece is bytes; control ids between them are as if absent.
  static PieceStream ofBytes(Pieces pieces, Lead lead, int bos) {
    return new PieceStream(pieces, lead, bos, false, new Utf8Assembler(false));
  }

  /// The text of a whole sequence.
  static String decode(Tokenizer.TextStream stream, int[] ids) {
    var out = new StringBuilder();
    for (int id : ids) {
      out.append(stream.next(id));
    }
    return out.append(stream.finish()).toString();
  }

  @Override
  public String next(int id) {
    var out = new StringBuilder();
    boolean control = pieces.control(id);
    if (whole && (control || !pieces.bytePiece(id))) {
      text.flush(out);
    }
    if (control) {
      begin = (begin || (lead == Lead.DROP_AFTER_BOS && id == bos)) && out.isEmpty();
      return out.toString();
    }
    begin &= out.isEmpty();
    text.accept(begin ? withoutLead(id) : pieces.bytes(id), out);
    begin &= out.isEmpty();
    return out.toString();
  }

  @Override
  public String finish() {
    var out = new StringBuilder();
    text.flush(out);
    return out.toString();
  }

  /// A piece at the beginning, and whether the beginning is over with it.
  private byte[] withoutLead(int id) {
    byte[] bytes = pieces.bytes(id);
    boolean spaced = !pieces.bytePiece(id) && bytes.length > 0 && bytes[0] == ' ';
    int from = switch (lead) {
      case KEEP -> 0;
      case DROP_FIRST, DROP_EACH, DROP_AFTER_BOS -> spaced ? 1 : 0;
      case DROP_ALL_OF_FIRST_PIECE -> {
        int spaces = 0;
        while (spaced && spaces < bytes.length && bytes[spaces] == ' ') {
          spaces++;
        }
        yield spaces;
      }
    };
    begin = switch (lead) {
      case KEEP, DROP_ALL_OF_FIRST_PIECE, DROP_AFTER_BOS -> false;
      case DROP_FIRST -> !spaced;
      case DROP_EACH -> true;
    };
    return from == 0 ? bytes : from == bytes.length ? NOTHING : Arrays.copyOfRange(bytes, from, bytes.length);
  }
}
