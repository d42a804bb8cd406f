package org.llmcore.data;

import java.util.List;
import java.util.function.Consumer;

import com.fasterxml.jackson.databind.JsonNode;

import static org.llmcore.data.Problem.Kind;

/// Rows of plain columns: prompt and completion, instructions, documents.
final class FlatRows {
  private FlatRows() {}

  /// {"prompt", "completion"} or {"question", "answer"}.
  static void pair(JsonNode row, long line, String origin, Problems problems, Consumer<Sample> out) {
    boolean question = row.has("question") && !row.has("prompt");
    var prompt = column(row, question ? "question" : "prompt");
    var completion = column(row, question ? "answer" : "completion");
    if (check(row, line, problems, List.of(prompt), List.of(completion)))
      out.accept(new Sample.Pair(prompt.text(), completion.text(), origin));
  }

  /// {"instruction", "input", "output"}; Dolly's {"instruction", "context", "response"}; the seed tasks of Self-Instruct,
  /// {"instruction", "instances": [{"input", "output"}]}, one sample for each instance.
  static void instruction(JsonNode row, long line, String origin, Problems problems, Consumer<Sample> out) {
    var instruction = column(row, "instruction");
    var instances = row.path("instances");
    if (instances.isArray() && !instances.isEmpty()) {
      for (var i : instances) instance(instruction, i, line, origin, problems, out);
    } else {
      instance(instruction, row, line, origin, problems, out);
    }
  }

  private static void instance(Column instruction, JsonNode row, long line, String origin, Problems problems, Consumer<Sample> out) {
    boolean dolly = row.has("response") && !row.has("output");
    var input = column(row, dolly ? "context" : "input");
    var output = column(row, dolly ? "response" : "output");
    var optional = input.node().isMissingNode() || input.node().isNull() ? new Column("input", input.node(), "") : input;
    boolean typed = optional.node().isTextual() || optional.text().isEmpty();
    if (!typed) problems.add(Kind.MISSING_KEY, line, "\"" + input.name() + "\" is " + ChatRows.type(input.node()) + ", expected a text");
    if (check(row, line, problems, List.of(), List.of(instruction, output)) && typed)
      out.accept(new Sample.Instruction(instruction.text(), optional.text(), output.text(), origin));
  }

  /// {"text"}.
  static void document(JsonNode row, long line, String origin, Problems problems, Consumer<Sample> out) {
    var text = column(row, "text");
    if (check(row, line, problems, List.of(), List.of(text))) out.accept(new Sample.Document(text.text(), origin));
  }

  private record Column(String name, JsonNode node, String text) {}

  private static Column column(JsonNode row, String name) {
    var node = row.path(name);
    return new Column(name, node, node.asText(""));
  }

  private static boolean check(JsonNode row, long line, Problems problems, List<Column> mayBeEmpty, List<Column> filled) {
    if (!row.isObject()) {
      problems.add(Kind.DATA_TYPE, line, "expected an object, found " + ChatRows.type(row));
      return false;
    }
    int before = problems.total();
    for (var c : mayBeEmpty) textual(c, line, problems);
    for (var c : filled)
      if (textual(c, line, problems) && c.text().isBlank()) problems.add(Kind.MISSING_CONTENT, line, "\"" + c.name() + "\" is empty");
    return problems.total() == before;
  }

  private static boolean textual(Column c, long line, Problems problems) {
    if (c.node().isTextual()) return true;
    problems.add(Kind.MISSING_KEY, line, "\"" + c.name() + "\" is " + ChatRows.type(c.node()) + ", expected a text");
    return false;
  }
}
