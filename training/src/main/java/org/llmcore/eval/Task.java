package org.llmcore.eval;

import java.util.ArrayList;
import java.util.List;
import java.util.function.IntConsumer;

import org.llmcore.generate.Generation;
import org.llmcore.generate.Generator;
import org.llmcore.generate.Sampling;
import org.llmcore.text.Tokenizer;

/// Something a model can be right or wrong at: prompts, and a judge for each answer. One evaluation is one file that implements
/// this.
public interface Task {
  /// What it is called on the screen: `SQL execution accuracy`.
  String name();

  /// Number of items.
  int items();

  /// The prompt of an item, without BOS.
  String prompt(int item);

  /// The prompt of an item as ids, BOS in front where the tokenizer asks for it.
  default int[] ids(Tokenizer tokenizer, int item) {
    return withBos(tokenizer, prompt(item));
  }

  /// A right answer, to show beside the model's.
  String gold(int item);

  /// Whether the answer is right.
  boolean right(int item, String answer);

  /// Most tokens an answer may take.
  int maxNewTokens();

  /// Strings that end an answer.
  default List<String> stop() {
    return List.of("\n");
  }

  /// An item that was answered.
  record Answer(String prompt, String gold, String text, boolean right) {}

  /// A task's outcome.
  record Result(Score score, List<Answer> answers) {
    /// Item by item, for paired comparisons.
    public List<Boolean> right() {
      return answers.stream().map(Answer::right).toList();
    }
  }

  /// Answers all items greedily and judges them.
  /// @param progress hears how many items are done
  default Result evaluate(Generator generator, Tokenizer tokenizer, IntConsumer progress) {
    var answers = new ArrayList<Answer>();
    int right = 0;
    int chunk = 64;
    for (int from = 0; from < items(); from += chunk) {
      var requests = new ArrayList<Generator.Request>();
      for (int i = from; i < Math.min(items(), from + chunk); i++) requests.add(request(ids(tokenizer, i)));
      var generations = generator.generate(requests);
      for (int i = 0; i < generations.size(); i++) {
        Generation g = generations.get(i);
        boolean ok = right(from + i, g.text().strip());
        answers.add(new Answer(prompt(from + i), gold(from + i), g.text().strip(), ok));
        if (ok) right++;
      }
      progress.accept(answers.size());
    }
    return new Result(new Score(right, items()), answers);
  }

  private Generator.Request request(int[] ids) {
    return new Generator.Request(ids, maxNewTokens(), Sampling.GREEDY, stop(), Generator.Listener.NONE);
  }

  /// Ids of a prompt, BOS in front where the tokenizer asks for it.
  static int[] withBos(Tokenizer tokenizer, String prompt) {
    var ids = tokenizer.encode(prompt);
    if (!tokenizer.addsBos() || tokenizer.bos().isEmpty()) return ids;
    var out = new int[ids.length + 1];
    out[0] = tokenizer.bos().getAsInt();
    System.arraycopy(ids, 0, out, 1, ids.length);
    return out;
  }
}
