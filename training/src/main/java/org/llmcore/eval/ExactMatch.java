package org.llmcore.eval;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

import org.llmcore.InvalidInput;
import org.llmcore.data.DataSet;
import org.llmcore.data.Example;
import org.llmcore.data.Objective;
import org.llmcore.text.Tokenizer;

/// Exact match: an answer is right if, normalised, it is the gold answer, character for character.
///
/// | normalisation       | always | what                                                        |
/// |---------------------|--------|-------------------------------------------------------------|
/// | trim                | yes    | white space at both ends is nothing                         |
/// | `ignoreCase`        | no     | both are lower-cased, without regard to a language          |
/// | `ignoreWhitespace`  | no     | every run of white space is one space                       |
///
/// The items are the examples of a data set as training would tokenise them, so the model is asked exactly what it was taught:
/// the prompt is all that stands before the last answer (of a conversation: its last one), the gold answer what the tokenizer
/// makes of the learned tokens behind it, EOS left out.
public record ExactMatch(List<Item> all, boolean ignoreCase, boolean ignoreWhitespace) implements Task {
  private static final int SPARE = 16;

  /// @param ids the prompt, BOS included where training had it
  /// @param answerTokens tokens of the gold answer
  /// @param origin file and line
  public record Item(int[] ids, String prompt, String gold, int answerTokens, String origin) {}

  public ExactMatch {
    all = List.copyOf(all);
  }

  /// The first `items` examples of a data set.
  /// @throws InvalidInput if it is running text, which has no answers, or holds no whole one
  public static ExactMatch of(DataSet data, Tokenizer tokenizer, int items, boolean ignoreCase, boolean ignoreWhitespace) {
    if (data.objective() == Objective.TEXT) {
      throw new InvalidInput("exact match needs questions with answers, the data is running text",
          "give prompt and completion, question and answer, or chat; or measure perplexity");
    }
    var all = new ArrayList<Item>();
    for (var example : data.examples()) {
      if (all.size() == items) break;
      int eos = tokenizer.eos().orElse(-1);
      // An answer that lost its end to the context has no EOS and cannot be matched.
      if (example.learn()[example.length() - 1] && example.ids()[example.length() - 1] == eos) all.add(item(example, tokenizer));
    }
    if (all.isEmpty()) {
      throw new InvalidInput("no example ends in a whole answer",
          "exact match needs prompt and completion, or chat that ends with the assistant");
    }
    return new ExactMatch(all, ignoreCase, ignoreWhitespace);
  }

  private static Item item(Example example, Tokenizer tokenizer) {
    int end = example.length() - 1;
    int from = end;
    // A learned EOS before this answer ends another one that stands right before it.
    while (from > 0 && example.learn()[from - 1] && example.ids()[from - 1] != example.ids()[end]) from--;
    var ids = Arrays.copyOf(example.ids(), from);
    var stream = tokenizer.stream();
    for (int id : ids) stream.next(id); // as in generation: the answer keeps its leading space
    var gold = new StringBuilder();
    for (int i = from; i < end; i++) gold.append(stream.next(example.ids()[i]));
    gold.append(stream.finish());
    return new Item(ids, tokenizer.decode(ids), gold.toString().strip(), end - from, example.origin());
  }

  @Override
  public String name() {
    return "exact match";
  }

  @Override
  public int items() {
    return all.size();
  }

  @Override
  public String prompt(int item) {
    return all.get(item).prompt;
  }

  @Override
  public int[] ids(Tokenizer tokenizer, int item) {
    return all.get(item).ids;
  }

  @Override
  public String gold(int item) {
    return all.get(item).gold;
  }

  @Override
  public boolean right(int item, String answer) {
    return normal(answer).equals(normal(gold(item)));
  }

  String normal(String text) {
    var s = text.strip();
    if (ignoreWhitespace) s = s.replaceAll("(?U)\\s+", " ");
    return ignoreCase ? s.toLowerCase(Locale.ROOT) : s;
  }

  /// A longer answer than any gold one is wrong, however it would end.
  @Override
  public int maxNewTokens() {
    return 2 * all.stream().mapToInt(Item::answerTokens).max().orElse(0) + SPARE;
  }

  /// Answers may have several lines: only EOS ends them.
  @Override
  public List<String> stop() {
    return List.of();
  }
}
