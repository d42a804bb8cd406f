package org.llmcore.train;

import java.util.Arrays;
import java.util.List;

import org.llmcore.InvalidInput;
import org.llmcore.data.ChatForm;
import org.llmcore.data.Example;
import org.llmcore.data.Sample.Turn;
import org.llmcore.text.Tokenizer;

/// Llama 2's chat form, as Meta's `generation.py` spells it:
///
///     BOS `[INST] ` user ` [/INST] ` answer ` ` EOS, repeated; a system text goes as `<<SYS>>\n…\n<</SYS>>\n\n` in front of
///     the first user's; the last open turn ends at `[/INST]`
///
/// A turn is tokenised as one string, as Meta does, and divided where the tokens of its instruction end: learned are the
/// answer and its EOS. Contents are stripped; contents that spell a control tag are refused, so no user's text becomes one.
public record Llama2ChatForm(Tokenizer tokenizer) implements ChatForm {
  private static final List<String> TAGS = List.of("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>");

  @Override
  public Example encode(List<Turn> turns, String origin) {
    var b = new Example.Builder();
    int eos = tokenizer.eos().orElseThrow(() -> new InvalidInput("the tokenizer defines no EOS", "use a tokenizer of a chat model"));
    int first = first(turns);
    if ((turns.size() - first) % 2 != 0) throw new InvalidInput("the conversation ends with a question", "end it with an answer to learn from");
    for (int i = first; i < turns.size(); i += 2) {
      var instruction = instruction(turns, i, first);
      var answer = role(turns, i + 1, "assistant");
      var given = tokenizer.encode(instruction);
      var whole = tokenizer.encode(instruction + " " + clean(answer) + " ");
      if (!Arrays.equals(given, Arrays.copyOf(whole, given.length))) {
        throw new InvalidInput("this tokenizer joins ' [/INST]' with the answer", "use a Llama 2 tokenizer");
      }
      tokenizer.bos().ifPresent(b::given);
      b.given(given).add(answer.learn(), Arrays.copyOfRange(whole, given.length, whole.length)).add(answer.learn(), eos);
    }
    return b.build(origin);
  }

  @Override
  public int[] prompt(List<Turn> turns) {
    int first = first(turns);
    if ((turns.size() - first) % 2 == 0) throw new InvalidInput("the conversation ends with an answer", "end it with a question");
    var b = new Example.Builder();
    for (int i = first; i < turns.size(); i += 2) {
      tokenizer.bos().ifPresent(b::given);
      var instruction = instruction(turns, i, first);
      if (i + 1 == turns.size()) {
        b.given(tokenizer.encode(instruction));
      } else {
        b.given(tokenizer.encode(instruction + " " + clean(role(turns, i + 1, "assistant")) + " "));
        tokenizer.eos().ifPresent(b::given);
      }
    }
    return b.build("prompt").ids();
  }

  private static int first(List<Turn> turns) {
    int first = !turns.isEmpty() && turns.getFirst().role().equals("system") ? 1 : 0;
    if (turns.size() == first) throw new InvalidInput("the conversation has no question", "add a message of role user");
    return first;
  }

  private static String instruction(List<Turn> turns, int i, int first) {
    var user = clean(role(turns, i, "user"));
    var system = i == first && first == 1 ? "<<SYS>>\n" + clean(turns.getFirst()) + "\n<</SYS>>\n\n" : "";
    return "[INST] " + system + user + " [/INST]";
  }

  private static Turn role(List<Turn> turns, int i, String expected) {
    if (!turns.get(i).role().equals(expected)) {
      throw new InvalidInput("message " + (i + 1) + " has role " + turns.get(i).role() + " where " + expected + " is due", "Llama 2 wants an optional system message, then user and assistant in turn");
    }
    return turns.get(i);
  }

  private static String clean(Turn turn) {
    for (var tag : TAGS) {
      if (turn.content().contains(tag)) throw new InvalidInput("a message of role " + turn.role() + " contains " + tag, "control tags cannot be written in a message; remove it");
    }
    return turn.content().strip();
  }
}
