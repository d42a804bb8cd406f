package org.llmcore.checkpoint;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Function;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;

import org.llmcore.InvalidInput;

/// A JSON object of a file that is not trusted, and its values by type. Strict where leniency would hide a damaged file:
/// UTF-8 only, no key twice, nothing behind the object, and a value of another type is never taken for its default.
///
/// A key that is absent or null has no value.
record JsonFile(JsonNode object) {
  private static final long LIMIT = 16_000_000;
  private static final ObjectMapper JSON =
      JsonMapper.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS).build();

  /// Makes something of a file.
  /// @param hint what to do where it is missing or no JSON object
  /// @throws InvalidInput naming the file and what is wrong in it, also where `reader` throws one
  static <T> T read(Path file, String hint, Function<JsonFile, T> reader) {
    if (!Files.isRegularFile(file)) throw new InvalidInput("there is no file " + file, hint);
    JsonFile content;
    try {
      if (Files.size(file) > LIMIT) {
        throw new InvalidInput(file + " has " + Files.size(file) + " bytes, too many for a JSON file", hint);
      }
      content = new JsonFile(parse(Files.readAllBytes(file)));
    } catch (IOException e) {
      throw new InvalidInput("cannot read " + file + ": " + reason(e), hint, e);
    } catch (OutOfMemoryError e) {
      throw InvalidInput.tooLarge(file, e);
    }
    try {
      return reader.apply(content);
    } catch (InvalidInput e) {
      throw new InvalidInput(file + ": " + e.getMessage());
    }
  }

  /// The object that these bytes spell.
  static JsonNode parse(byte[] bytes) throws IOException {
    var root = JSON.readTree(StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString());
    if (!root.isObject()) throw new IOException("not a JSON object");
    return root;
  }

  /// Why bytes are no JSON object, in words without the parser's position marks.
  static String reason(IOException e) {
    return switch (e) {
      case JsonProcessingException j -> "not JSON, " + InvalidInput.brief(j.getOriginalMessage());
      case CharacterCodingException _ -> "not UTF-8";
      default -> String.valueOf(e.getMessage());
    };
  }

  boolean has(String key) {
    return object.hasNonNull(key);
  }

  /// The object under a key.
  JsonFile in(String key) {
    if (!object.path(key).isObject()) throw wrong(key, "an object");
    return new JsonFile(object.path(key));
  }

  int integer(String key) {
    return integer(key, object.path(key));
  }

  int integer(String key, int otherwise) {
    return has(key) ? integer(key) : otherwise;
  }

  /// An integer that lies under a key, perhaps in a list.
  int integer(String key, JsonNode value) {
    if (!value.isIntegralNumber() || !value.canConvertToInt()) throw wrong(key, "an integer");
    return value.intValue();
  }

  double number(String key) {
    var v = object.path(key);
    if (!v.isNumber() || !Double.isFinite(v.doubleValue())) throw wrong(key, "a number");
    return v.doubleValue();
  }

  double number(String key, double otherwise) {
    return has(key) ? number(key) : otherwise;
  }

  boolean flag(String key, boolean otherwise) {
    if (!has(key)) return otherwise;
    if (!object.path(key).isBoolean()) throw wrong(key, "true or false");
    return object.path(key).booleanValue();
  }

  String text(String key, String otherwise) {
    if (!has(key)) return otherwise;
    if (!object.path(key).isTextual()) throw wrong(key, "a string");
    return object.path(key).textValue();
  }

  /// What to say about a key that is missing or has a value of the wrong kind.
  InvalidInput wrong(String key, String expected) {
    var found = object.path(key);
    return new InvalidInput(
        key + (found.isMissingNode() ? " is missing" : " is " + brief(found)),
        "expected " + expected + "; nothing is assumed for it");
  }

  /// A value as it stands in the file, as a message can carry it.
  static String brief(Object value) {
    return InvalidInput.brief(value);
  }
}
