package org.llmcore.text;

import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

import org.llmcore.text.SentencePieceModel.Piece;
import org.llmcore.text.SentencePieceModel.Type;

/// What SentencePiece does to a text before it looks for pieces: spaces by the flags of the file, and user-defined
/// symbols kept whole (the longest that begins at a place).
final class SentencePieceText {
  static final char SPACE = '▁';

  private final SentencePieceModel model;
  private final Map<Integer, List<String>> symbols; // user-defined, by first code point, longest first

  SentencePieceText(SentencePieceModel model) {
    this.model = model;
    symbols = model.pieces().stream().filter(p -> p.type() == Type.USER_DEFINED).map(Piece::text)
        .sorted(Comparator.comparingInt(String::length).reversed()).collect(Collectors.groupingBy(s -> s.codePointAt(0)));
  }

  /// What the merge loop sees.
  String normalise(String given) {
    String text = Tokenizers.wellFormed(given);
    boolean single = model.removeExtraSpaces();
    int at = 0;
    while (single && at < text.length() && text.charAt(at) == ' ') {
      at++;
    }
    if (at == text.length()) {
      return "";
    }
    char space = model.escapeSpaces() ? SPACE : ' ';
    var out = new StringBuilder(text.length() + 1);
    if (model.dummyPrefix() && !model.suffixSpace()) {
      out.append(space);
    }
    boolean afterSpace = single;
    while (at < text.length()) {
      int symbol = symbolLength(text, at);
      int to = symbol > 0 ? at + symbol : text.offsetByCodePoints(at, 1);
      int from = at;
      while (afterSpace && from < to && text.charAt(from) == ' ') {
        from++;
      }
      for (int i = from; i < to; i++) {
        char c = text.charAt(i);
        out.append(c == ' ' ? space : c);
      }
      if (from < to) {
        afterSpace = single && text.charAt(to - 1) == ' ';
      }
      at = to;
    }
    while (single && !out.isEmpty() && out.charAt(out.length() - 1) == space) {
      out.setLength(out.length() - 1);
    }
    if (model.dummyPrefix() && model.suffixSpace()) {
      out.append(space);
    }
    return out.toString();
  }

  /// Length of the longest user-defined symbol that begins here, 0 if none does.
  int symbolLength(String text, int at) {
    if (!symbols.isEmpty()) {
      for (String symbol : symbols.getOrDefault(text.codePointAt(at), List.of())) {
        if (text.startsWith(symbol, at)) {
          return symbol.length();
        }
      }
    }
    return 0;
  }
}
