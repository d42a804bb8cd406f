package org.llmcore.train;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.TreeSet;

import com.fasterxml.jackson.databind.JsonNode;

import org.llmcore.InvalidInput;
import org.llmcore.Nearest;

/// One mapping of a recipe file, read key by key. Whoever reads asks for every key there may be, and closes: what nobody asked
/// for is refused with its path and the nearest key. Values that YAML 1.1 leaves as words are understood (`1e-4`, `on`).
///
/// @param path where it lies in the file (`model.config`), empty for the whole
/// @param asked the keys asked for so far
record Section(String path, JsonNode node, TreeSet<String> asked) implements AutoCloseable {
  static Section of(String path, JsonNode node) {
    if (!node.isObject() && !node.isMissingNode() && !node.isNull()) {
      throw new InvalidInput((path.isEmpty() ? "the recipe" : path) + " is " + shown(node), "expected keys and values, such as 'learningRate: 2e-4' on lines of their own");
    }
    return new Section(path, node, new TreeSet<>());
  }

  Section section(String key) {
    return of(at(key), value(key));
  }

  /// The value as it stands, for what may be a word or a mapping.
  JsonNode value(String key) {
    asked.add(key);
    return node.path(key);
  }

  /// Whether the key has a value; `key:` alone and an empty text are none.
  boolean has(String key) {
    var value = value(key);
    return !value.isMissingNode() && !value.isNull() && !(value.isTextual() && value.asText().isEmpty());
  }

  Optional<String> text(String key) {
    if (!has(key)) return Optional.empty();
    var value = value(key);
    if (value.isContainerNode()) throw wrong(key, "a word");
    return Optional.of(value.asText());
  }

  /// A list of words, or one word.
  List<String> texts(String key) {
    var all = new ArrayList<String>();
    if (has(key) && !value(key).isContainerNode()) all.add(value(key).asText());
    if (value(key).isObject()) throw wrong(key, "a list of words");
    for (var item : value(key)) {
      if (item.isContainerNode()) throw wrong(key, "a list of words");
      all.add(item.asText());
    }
    return all;
  }

  /// A list of whole numbers, or one.
  List<Integer> integers(String key) {
    if (!has(key)) return List.of();
    if (!value(key).isArray()) return List.of(integer(key, 0));
    var all = new ArrayList<Integer>();
    for (var item : value(key)) {
      if (!item.isIntegralNumber() || !item.canConvertToInt()) throw wrong(key, "a list of whole numbers");
      all.add(item.intValue());
    }
    return all;
  }

  double number(String key, double usual) {
    if (!has(key)) return usual;
    var value = value(key);
    if (value.isNumber()) return value.asDouble();
    try {
      if (value.isTextual()) return Double.parseDouble(value.asText().replace("_", ""));
    } catch (NumberFormatException e) {
      throw wrong(key, "a number");
    }
    throw wrong(key, "a number");
  }

  long whole(String key, long usual) {
    if (!has(key)) return usual;
    var value = value(key);
    if (value.isIntegralNumber() && value.canConvertToLong()) return value.asLong();
    double number = number(key, usual);
    if (number != Math.rint(number) || Math.abs(number) > 1L << 53) throw wrong(key, "a whole number");
    return (long) number;
  }

  int integer(String key, int usual) {
    long value = whole(key, usual);
    if (value != (int) value) throw wrong(key, "a whole number below 2147483648");
    return (int) value;
  }

  OptionalInt integer(String key) {
    return has(key) ? OptionalInt.of(integer(key, 0)) : OptionalInt.empty();
  }

  boolean flag(String key, boolean usual) {
    if (!has(key)) return usual;
    var value = value(key);
    if (value.isContainerNode()) throw wrong(key, "true or false");
    return switch (value.asText().toLowerCase(Locale.ROOT)) {
      case "true", "on", "yes" -> true;
      case "false", "off", "no" -> false;
      default -> throw wrong(key, "true or false");
    };
  }

  <E extends Enum<E>> E choice(String key, E usual) {
    var text = text(key);
    if (text.isEmpty()) return usual;
    var words = new ArrayList<String>();
    for (E option : usual.getDeclaringClass().getEnumConstants()) {
      if (word(option).equals(text.get().toLowerCase(Locale.ROOT))) return option;
      words.add(word(option));
    }
    throw unknown(at(key) + " is " + text.get(), text.get(), words, "expected one of " + String.join(", ", words));
  }

  /// How a recipe spells a constant: `prompt-completion`.
  static String word(Enum<?> option) {
    return option.name().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  String at(String key) {
    return path.isEmpty() ? key : path + "." + key;
  }

  InvalidInput wrong(String key, String expected) {
    return new InvalidInput(at(key) + " is " + shown(value(key)), "expected " + expected);
  }

  /// @throws InvalidInput naming the first key nobody asked for
  @Override
  public void close() {
    for (var names = node.fieldNames(); names.hasNext(); ) {
      String name = names.next();
      if (!asked.contains(name)) throw unknown("unknown key " + at(name), name, List.copyOf(asked), "known here: " + String.join(", ", asked));
    }
  }

  private static InvalidInput unknown(String found, String word, List<String> known, String hint) {
    return new InvalidInput(found, Nearest.to(word, known).map(near -> "did you mean " + near + "?").orElse(hint));
  }

  private static String shown(JsonNode value) {
    String kind = value.isObject() ? "a mapping" : value.isArray() ? "a list" : value.isTextual() ? "the text" : value.isBoolean() ? "the truth value" : "the number";
    String text = value.toString();
    return kind + " " + (text.length() > 60 ? text.substring(0, 60) + "…" : text);
  }
}
