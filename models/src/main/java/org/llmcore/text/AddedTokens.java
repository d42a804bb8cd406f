package org.llmcore.text;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/// The `added_tokens` of a `tokenizer.json`: spellings that are cut out of a text before the model sees it.
///
/// At each place the longest spelling counts, from left to right. A control token (`special`) that is found stays text.
/// `single_word` wants no word character (`\w`) on either side; `lstrip` and `rstrip` swallow the white space around.
/// Tokens that are not `normalized` are looked for in the raw text, the others in the normalised rest, where their own
/// spelling is normalised too. These are the Hugging Face library's rules with `encode_special_tokens` set.
final class AddedTokens {
  private static final int UNICODE = Pattern.UNICODE_CHARACTER_CLASS;
  private static final Pattern WORD = Pattern.compile("\\w", UNICODE);
  private static final Pattern SPACE = Pattern.compile("\\s", UNICODE);

  /// One entry of the list.
  record Token(int id, String content, boolean singleWord, boolean lstrip, boolean rstrip, boolean normalized, boolean special) {
  }

  /// A stretch of the text: the id of an added token, or text still to be encoded where the id is −1.
  record Part(String text, int id, boolean first) {
    static Part text(String text, boolean first) {
      return new Part(text, -1, first);
    }
  }

  private final Map<Integer, List<Token>> raw; // by first code point, longest first
  private final Map<Integer, List<Token>> normalized; // contents normalised
  private final UnaryOperator<String> normalizer;

  AddedTokens(List<Token> tokens, UnaryOperator<String> normalizer) {
    this.normalizer = normalizer;
    raw = index(tokens.stream().filter(t -> !t.normalized()).toList());
    normalized = index(tokens.stream().filter(Token::normalized).map(t -> new Token(t.id(), normalizer.apply(t.content()),
        t.singleWord(), t.lstrip(), t.rstrip(), true, t.special())).toList());
  }

  /// The parts of a text, with everything that is not an added token normalised.
  List<Part> split(String text) {
    var parts = new ArrayList<Part>();
    for (var part : cut(Part.text(text, true), raw)) {
      if (part.id() >= 0) {
        parts.add(part);
      } else {
        parts.addAll(cut(Part.text(normalizer.apply(part.text()), part.first()), normalized));
      }
    }
    parts.removeIf(part -> part.text().isEmpty());
    return parts;
  }

  private static Map<Integer, List<Token>> index(List<Token> tokens) {
    return tokens.stream().filter(t -> !t.content().isEmpty())
        .sorted(Comparator.comparingInt((Token t) -> t.content().length()).reversed())
        .collect(Collectors.groupingBy(t -> t.content().codePointAt(0)));
  }

  private static List<Part> cut(Part whole, Map<Integer, List<Token>> tokens) {
    String text = whole.text();
    if (tokens.isEmpty() || text.isEmpty()) {
      return List.of(whole);
    }
    var parts = new ArrayList<Part>();
    int done = 0;
    for (int at = 0; at < text.length(); ) {
      Token token = match(text, at, tokens);
      if (token == null) {
        at = text.offsetByCodePoints(at, 1);
        continue;
      }
      int from = at;
      int to = at + token.content().length();
      at = to;
      if (token.special() || token.singleWord() && (wordBefore(text, from) || wordAt(text, to))) {
        continue;
      }
      while (token.lstrip() && from > done && is(SPACE, text.codePointBefore(from))) {
        from = text.offsetByCodePoints(from, -1);
      }
      while (token.rstrip() && to < text.length() && is(SPACE, text.codePointAt(to))) {
        to = text.offsetByCodePoints(to, 1);
      }
      if (done < from) {
        parts.add(Part.text(text.substring(done, from), whole.first() && done == 0));
      }
      parts.add(new Part(token.content(), token.id(), whole.first() && from == 0));
      done = to;
      at = Math.max(at, to);
    }
    if (done < text.length()) {
      parts.add(Part.text(text.substring(done), whole.first() && done == 0));
    }
    return parts;
  }

  private static Token match(String text, int at, Map<Integer, List<Token>> tokens) {
    for (Token token : tokens.getOrDefault(text.codePointAt(at), List.of())) {
      if (text.startsWith(token.content(), at)) {
        return token;
      }
    }
    return null;
  }

  private static boolean wordBefore(String text, int at) {
    return at > 0 && is(WORD, text.codePointBefore(at));
  }

  private static boolean wordAt(String text, int at) {
    return at < text.length() && is(WORD, text.codePointAt(at));
  }

  private static boolean is(Pattern kind, int c) {
    return kind.matcher(Character.toString(c)).matches();
  }
}
