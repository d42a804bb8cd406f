package org.llmcore.text;

import java.text.Normalizer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import java.util.function.UnaryOperator;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

import com.fasterxml.jackson.databind.JsonNode;

import org.llmcore.InvalidInput;
import org.llmcore.text.AddedTokens.Part;

/// The `normalizer` and `pre_tokenizer` of a `tokenizer.json` as functions.
///
/// | component    | what it does here                                                                                |
/// |--------------|--------------------------------------------------------------------------------------------------|
/// | normalizers  | `Sequence`, `Prepend` (not to nothing), `Replace` (string or regex), `NFC NFD NFKC NFKD`         |
/// | `ByteLevel`  | optional space in front, optional GPT-2 expression, then the bytes in [ByteAlphabet]             |
/// | `Metaspace`  | space → `▁`, one in front (`always`, `never`, `first`) unless there is one, cut before each `▁`  |
/// | `Split`      | by string or regex, with all five behaviours, `invert`                                           |
/// | `Digits`     | digits stand apart, singly or in runs                                                            |
///
/// Everything else is refused by name. Expressions run on java.util.regex with Unicode classes (`\s` is White_Space).
/// Source: the `tokenizers` library, normalizers/ and pre_tokenizers/.
final class HuggingFaceSteps {
  /// GPT-2's expression (encoder.py of its release).
  private static final String GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

  /// Cuts and rewrites the parts of a text that are still text.
  interface Cut {
    List<Part> apply(List<Part> parts);
  }

  private final String name;

  /// @param name how error messages call the file
  HuggingFaceSteps(String name) {
    this.name = name;
  }

  UnaryOperator<String> normalizer(JsonNode node) {
    if (absent(node)) {
      return UnaryOperator.identity();
    }
    return switch (type(node)) {
      case "Sequence" -> {
        UnaryOperator<String> all = UnaryOperator.identity();
        for (var inner : node.path("normalizers")) {
          var before = all;
          var step = normalizer(inner);
          all = text -> step.apply(before.apply(text));
        }
        yield all;
      }
      case "Prepend" -> {
        String prefix = node.path("prepend").asText();
        yield text -> text.isEmpty() ? text : prefix + text;
      }
      case "Replace" -> {
        var pattern = pattern(node.path("pattern"));
        String content = Matcher.quoteReplacement(node.path("content").asText());
        yield text -> pattern.matcher(text).replaceAll(content);
      }
      case "NFC" -> text -> Normalizer.normalize(text, Normalizer.Form.NFC);
      case "NFD" -> text -> Normalizer.normalize(text, Normalizer.Form.NFD);
      case "NFKC" -> text -> Normalizer.normalize(text, Normalizer.Form.NFKC);
      case "NFKD" -> text -> Normalizer.normalize(text, Normalizer.Form.NFKD);
      default -> throw unsupported("normalizer", node);
    };
  }

  Cut preTokenizer(JsonNode node) {
    if (absent(node)) {
      return parts -> parts;
    }
    return switch (type(node)) {
      case "Sequence" -> {
        Cut all = parts -> parts;
        for (var inner : node.path("pretokenizers")) {
          var before = all;
          var step = preTokenizer(inner);
          all = parts -> step.apply(before.apply(parts));
        }
        yield all;
      }
      case "ByteLevel" -> byteLevel(node.path("add_prefix_space").asBoolean(true), node.path("use_regex").asBoolean(true));
      case "Metaspace" -> metaspace(node);
      case "Split" -> split(pattern(node.path("pattern")), node.path("behavior").asText(), node.path("invert").asBoolean(false));
      case "Digits" -> split(compile("\\p{Nd}|\\p{Nl}|\\p{No}"),
          node.path("individual_digits").asBoolean(false) ? "Isolated" : "Contiguous", false);
      default -> throw unsupported("pre_tokenizer", node);
    };
  }

  /// Whether this pre-tokenizer ends with bytes in [ByteAlphabet].
  boolean byteLevel(JsonNode node) {
    return switch (absent(node) ? "" : type(node)) {
      case "ByteLevel" -> true;
      case "Sequence" -> {
        boolean found = false;
        for (var inner : node.path("pretokenizers")) {
          found |= byteLevel(inner);
        }
        yield found;
      }
      default -> false;
    };
  }

  static boolean absent(JsonNode node) {
    return node.isMissingNode() || node.isNull();
  }

  static String type(JsonNode node) {
    return node.path("type").asText("without a type");
  }

  InvalidInput unsupported(String where, JsonNode node) {
    return new InvalidInput(name + " uses the " + where + " '" + InvalidInput.brief(type(node)) + "', which is not supported",
        "if the model also has a tokenizer.model, give that file");
  }

  private Cut byteLevel(boolean prefixSpace, boolean expression) {
    Cut cut = expression ? split(compile(GPT2), "Isolated", false) : parts -> parts;
    return parts -> {
      var spaced = prefixSpace ? each(parts, p -> p.text().startsWith(" ") ? p.text() : " " + p.text()) : parts;
      return each(cut.apply(spaced), p -> ByteAlphabet.spell(p.text()));
    };
  }

  private Cut metaspace(JsonNode node) {
    String replacement = node.path("replacement").asText("▁");
    String scheme = node.path("prepend_scheme").asText(node.path("add_prefix_space").asBoolean(true) ? "always" : "never");
    if (!List.of("always", "never", "first").contains(scheme)) {
      throw new InvalidInput(name + ": Metaspace with the prepend_scheme '" + InvalidInput.brief(scheme) + "'; expected always, never or first");
    }
    Cut cut = node.path("split").asBoolean(true)
        ? split(compile(Pattern.quote(replacement)), "MergedWithNext", false) : parts -> parts;
    return parts -> cut.apply(each(parts, p -> {
      String text = p.text().replace(" ", replacement);
      boolean wanted = scheme.equals("always") || scheme.equals("first") && p.first();
      return wanted && !text.startsWith(replacement) ? replacement + text : text;
    }));
  }

  private static List<Part> each(List<Part> parts, Function<Part, String> rewrite) {
    return parts.stream().map(p -> p.id() >= 0 ? p : Part.text(rewrite.apply(p), p.first())).toList();
  }

  private Cut split(Pattern pattern, String behaviour, boolean invert) {
    if (!List.of("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous").contains(behaviour)) {
      throw new InvalidInput(name + ": Split with the behavior '" + InvalidInput.brief(behaviour) + "' is not supported");
    }
    return parts -> {
      var out = new ArrayList<Part>();
      for (var part : parts) {
        if (part.id() >= 0) {
          out.add(part);
        } else {
          for (var span : merged(spans(pattern, part.text(), invert), behaviour)) {
            if (span.from < span.to) {
              out.add(Part.text(part.text().substring(span.from, span.to), part.first() && span.from == 0));
            }
          }
        }
      }
      return out;
    };
  }

  /// A stretch of a text and whether the pattern matched it.
  private record Span(int from, int to, boolean match) {
  }

  private static List<Span> spans(Pattern pattern, String text, boolean invert) {
    var spans = new ArrayList<Span>();
    int done = 0;
    for (var m = pattern.matcher(text); m.find(); done = m.end()) {
      if (done < m.start()) {
        spans.add(new Span(done, m.start(), invert));
      }
      spans.add(new Span(m.start(), m.end(), !invert));
    }
    if (done < text.length()) {
      spans.add(new Span(done, text.length(), invert));
    }
    return spans;
  }

  private static List<Span> merged(List<Span> spans, String behaviour) {
    var out = new ArrayList<Span>();
    boolean before = false; // whether the span before was a match
    for (int i = 0; i < spans.size(); i++) {
      var span = spans.get(i);
      var last = out.isEmpty() ? span : out.getLast();
      boolean follows = !out.isEmpty();
      boolean joins = switch (behaviour) {
        case "MergedWithPrevious" -> span.match && !before;
        case "MergedWithNext" -> !span.match && before;
        case "Contiguous" -> span.match == before;
        default -> false;
      };
      if (behaviour.equals("Removed") && span.match) {
        before = true;
        continue;
      }
      if (follows && joins) {
        out.set(out.size() - 1, new Span(last.from, span.to, span.match));
      } else {
        out.add(span);
      }
      before = span.match;
    }
    return out;
  }

  private Pattern pattern(JsonNode node) {
    if (node.path("String").isTextual()) {
      return compile(Pattern.quote(node.path("String").asText()));
    }
    if (node.path("Regex").isTextual()) {
      return compile(node.path("Regex").asText());
    }
    throw new InvalidInput(name + ": a pattern is " + InvalidInput.brief(node) + "; expected {\"String\": …} or {\"Regex\": …}");
  }

  private Pattern compile(String expression) {
    try {
      return Pattern.compile(expression, Pattern.UNICODE_CHARACTER_CLASS);
    } catch (PatternSyntaxException e) {
      throw new InvalidInput(name + " uses the regular expression " + InvalidInput.brief(expression) + ", which is not supported",
          e.getDescription(), e);
    }
  }
}
