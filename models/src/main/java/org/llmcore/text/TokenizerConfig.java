package org.llmcore.text;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalInt;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.MissingNode;

import org.llmcore.InvalidInput;

/// What the files beside a tokenizer say about the ends of a document, each field only where it is said.
///
/// | field                   | file                                                                         |
/// |-------------------------|------------------------------------------------------------------------------|
/// | `bosToken`, `eosToken`  | tokenizer_config.json, else special_tokens_map.json (text or `{"content":…}`) |
/// | `addsBos`, `addsEos`    | tokenizer_config.json: `add_bos_token`, `add_eos_token`                      |
/// | `bosId`, `eosId`        | config.json: `bos_token_id`, `eos_token_id` (the first of a list)            |
///
/// `legacy` is not needed: it rules the space behind a special token inside a text, and special tokens never come from text.
record TokenizerConfig(Optional<String> bosToken, Optional<String> eosToken, Optional<Boolean> addsBos, Optional<Boolean> addsEos,
    OptionalInt bosId, OptionalInt eosId) {
  static final TokenizerConfig NONE = new TokenizerConfig(Optional.empty(), Optional.empty(), Optional.empty(), Optional.empty(),
      OptionalInt.empty(), OptionalInt.empty());

  static TokenizerConfig beside(Path folder) {
    var config = optional(folder.resolve("tokenizer_config.json"));
    var map = optional(folder.resolve("special_tokens_map.json"));
    var model = optional(folder.resolve("config.json"));
    return new TokenizerConfig(token(config, "bos_token").or(() -> token(map, "bos_token")),
        token(config, "eos_token").or(() -> token(map, "eos_token")),
        flag(config, "add_bos_token"), flag(config, "add_eos_token"), id(model, "bos_token_id"), id(model, "eos_token_id"));
  }

  /// @throws InvalidInput if the bytes are no JSON
  static JsonNode json(String name, byte[] bytes) {
    try {
      var node = new ObjectMapper().readTree(bytes);
      if (node == null || !node.isObject()) {
        throw new InvalidInput(name + " is not a JSON object");
      }
      return node;
    } catch (JsonProcessingException e) {
      throw new InvalidInput(name + " is not JSON: " + InvalidInput.brief(e.getOriginalMessage()), "the file is truncated or of another kind", e);
    } catch (IOException e) {
      throw new InvalidInput(name + " is not JSON: " + e.getMessage(), "the file is truncated or of another kind", e);
    }
  }

  /// A tokenizer_config.json for transformers.
  static byte[] json(Tokenizer tokenizer, String type) {
    var node = new ObjectMapper().createObjectNode().put("tokenizer_class", type);
    tokenizer.bos().ifPresent(id -> node.put("bos_token", tokenizer.piece(id)));
    tokenizer.eos().ifPresent(id -> node.put("eos_token", tokenizer.piece(id)));
    if (tokenizer instanceof SentencePieceBpe model) {
      node.put("unk_token", model.piece(model.unknown()));
    }
    node.put("add_bos_token", tokenizer.addsBos()).put("add_eos_token", tokenizer.addsEos());
    return node.put("clean_up_tokenization_spaces", false).put("legacy", false).toPrettyString().getBytes(StandardCharsets.UTF_8);
  }

  private static JsonNode optional(Path file) {
    return Files.isRegularFile(file) ? json(file.toString(), Tokenizers.bytes(file)) : MissingNode.getInstance();
  }

  private static Optional<String> token(JsonNode node, String field) {
    var value = node.path(field).isObject() ? node.path(field).path("content") : node.path(field);
    return value.isTextual() && !value.asText().isEmpty() ? Optional.of(value.asText()) : Optional.empty();
  }

  private static Optional<Boolean> flag(JsonNode node, String field) {
    return node.path(field).isBoolean() ? Optional.of(node.path(field).asBoolean()) : Optional.empty();
  }

  private static OptionalInt id(JsonNode node, String field) {
    var value = node.path(field).isArray() ? node.path(field).path(0) : node.path(field);
    return value.isInt() && value.asInt() >= 0 ? OptionalInt.of(value.asInt()) : OptionalInt.empty();
  }
}
