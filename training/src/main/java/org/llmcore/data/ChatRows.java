package org.llmcore.data;

import java.util.ArrayList;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;

import com.fasterxml.jackson.databind.JsonNode;

import org.llmcore.data.Sample.Turn;

import static org.llmcore.data.Problem.Kind;

/// Conversations as rows: OpenAI's chat form (`messages` of `role`, `content`) and ShareGPT's (`conversations` of `from`, `value`).
///
/// The checks and their counts are those of OpenAI's cookbook (Chat_finetuning_data_prep); one message may fail several.
final class ChatRows {
  private static final Set<String> KEYS = Set.of("role", "content", "name", "function_call", "weight");
  private static final Set<String> ROLES = Set.of("system", "user", "assistant", "function");

  private ChatRows() {}

  static Optional<Sample> openai(JsonNode row, long line, String origin, Problems problems) {
    if (!row.isObject()) {
      problems.add(Kind.DATA_TYPE, line, "expected an object, found " + type(row));
      return Optional.empty();
    }
    var messages = row.path("messages");
    if (!messages.isArray() || messages.isEmpty()) {
      problems.add(Kind.MISSING_MESSAGES_LIST, line, "expected a list \"messages\" with at least one message, found " + type(messages));
      return Optional.empty();
    }
    int before = problems.total();
    var turns = new ArrayList<Turn>();
    boolean answered = false;
    for (int i = 0; i < messages.size(); i++) {
      var m = messages.get(i);
      message(m, i + 1, line, problems);
      var role = m.path("role").asText();
      boolean assistant = role.equals("assistant");
      answered |= assistant;
      turns.add(new Turn(role, text(m.path("content")).orElse(""), assistant && m.path("weight").asInt(1) == 1));
    }
    if (!answered) problems.add(Kind.EXAMPLE_MISSING_ASSISTANT_MESSAGE, line, "no message of the assistant, nothing to learn");
    return problems.total() > before ? Optional.empty() : Optional.of(new Sample.Chat(turns, origin));
  }

  private static void message(JsonNode m, int number, long line, Problems problems) {
    var who = "message " + number;
    if (!m.isObject()) {
      problems.add(Kind.DATA_TYPE, line, who + " is " + type(m) + ", expected an object");
      return;
    }
    if (!m.has("role") || !m.has("content"))
      problems.add(Kind.MESSAGE_MISSING_KEY, line, who + " has no \"" + (m.has("role") ? "content" : "role") + "\"");
    var unknown = new TreeSet<String>();
    m.fieldNames().forEachRemaining(unknown::add);
    unknown.removeAll(KEYS);
    if (!unknown.isEmpty())
      problems.add(Kind.MESSAGE_UNRECOGNIZED_KEY, line, who + " has " + unknown + "; allowed are " + new TreeSet<>(KEYS));
    var role = m.path("role");
    if (!role.isTextual() || !ROLES.contains(role.asText()))
      problems.add(Kind.UNRECOGNIZED_ROLE, line, who + " has role " + (role.isMissingNode() ? "missing" : role) + "; allowed are " + new TreeSet<>(ROLES));
    var content = m.path("content");
    boolean called = m.path("function_call").size() > 0;
    var text = text(content);
    if (text.isEmpty() || (text.get().isEmpty() && !called))
      problems.add(Kind.MISSING_CONTENT, line, who + " has " + (text.isPresent() ? "an empty" : content.isArray() ? "parts that are no text in its" : "no text as") + " content");
    if (called || role.asText().equals("function"))
      problems.add(Kind.FORM, line, who + " calls or answers a function; only system, user and assistant text can be trained on");
    var weight = m.path("weight");
    if (!weight.isMissingNode()) {
      if (!weight.isNumber() || (weight.asDouble() != 0 && weight.asDouble() != 1))
        problems.add(Kind.WEIGHT, line, who + " has weight " + weight + ", expected 0 or 1");
      else if (!role.asText().equals("assistant"))
        problems.add(Kind.WEIGHT, line, who + " has a weight, but only messages of the assistant are learned");
    }
  }

  /// A content's text: itself, or its parts `{"type": "text", "text": …}` one after another; none where it is neither.
  private static Optional<String> text(JsonNode content) {
    if (content.isTextual()) return Optional.of(content.asText());
    if (!content.isArray()) return Optional.empty();
    var text = new StringBuilder();
    for (var part : content) {
      if (!part.path("type").asText().equals("text") || !part.path("text").isTextual()) return Optional.empty();
      text.append(part.path("text").asText());
    }
    return Optional.of(text.toString());
  }

  static Optional<Sample> shareGpt(JsonNode row, long line, String origin, Problems problems) {
    var list = row.path("conversations");
    if (!list.isArray() || list.isEmpty()) {
      problems.add(Kind.MISSING_MESSAGES_LIST, line, "expected a list \"conversations\" with at least one message, found " + type(list));
      return Optional.empty();
    }
    int before = problems.total();
    var turns = new ArrayList<Turn>();
    var system = row.path("system").asText("");
    if (!system.isEmpty()) turns.add(new Turn("system", system, false));
    for (int i = 0; i < list.size(); i++) {
      var from = list.get(i).path("from").asText();
      var value = list.get(i).path("value");
      var role = switch (from) {
        case "human", "user" -> "user";
        case "gpt", "assistant" -> "assistant";
        case "system" -> "system";
        default -> "";
      };
      if (role.isEmpty())
        problems.add(Kind.UNRECOGNIZED_ROLE, line, "message " + (i + 1) + " is from \"" + from + "\"; allowed are human, gpt, system");
      if (!value.isTextual() || value.asText().isEmpty())
        problems.add(Kind.MISSING_CONTENT, line, "message " + (i + 1) + " has no text as \"value\"");
      turns.add(new Turn(role, value.asText(), role.equals("assistant")));
    }
    var chat = new Sample.Chat(turns, origin);
    if (!chat.has("assistant")) problems.add(Kind.EXAMPLE_MISSING_ASSISTANT_MESSAGE, line, "no message from gpt, nothing to learn");
    return problems.total() > before ? Optional.empty() : Optional.of(chat);
  }

  static String type(JsonNode node) {
    return switch (node.getNodeType()) {
      case MISSING -> "nothing";
      case NULL -> "null";
      case OBJECT -> "an object";
      case ARRAY -> node.isEmpty() ? "an empty list" : "a list";
      case STRING -> "a text";
      case NUMBER -> "a number";
      case BOOLEAN -> "true or false";
      default -> node.getNodeType().toString();
    };
  }
}
