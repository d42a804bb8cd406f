package org.llmcore.train;

import java.util.List;

import org.llmcore.InvalidInput;
import org.llmcore.data.ChatForm;
import org.llmcore.data.Example;
import org.llmcore.data.Sample.Turn;
import org.llmcore.text.Llama2Chat;
import org.llmcore.text.Message;
import org.llmcore.text.Tokenizer;

/// Conversations of a data set in Llama 2's chat form. Answers of weight 0 are spelled but not learned.
public record Llama2ChatForm(Tokenizer tokenizer) implements ChatForm {
  @Override
  public Example encode(List<Turn> turns, String origin) {
    var answers = turns.stream().filter(t -> t.role().equals("assistant")).iterator();
    var b = new Example.Builder();
    for (var segment : new Llama2Chat(tokenizer).encode(messages(turns))) b.add(segment.learn() && answers.next().learn(), segment.ids());
    return b.build(origin);
  }

  @Override
  public int[] prompt(List<Turn> turns) {
    return new Llama2Chat(tokenizer).prompt(messages(turns));
  }

  private static List<Message> messages(List<Turn> turns) {
    return turns.stream().map(Llama2ChatForm::message).toList();
  }

  private static Message message(Turn turn) {
    return switch (turn.role()) {
      case "system" -> Message.system(turn.content());
      case "user" -> Message.user(turn.content());
      case "assistant" -> Message.assistant(turn.content());
      default -> throw new InvalidInput("a message of role " + turn.role(), "Llama 2's chat form knows system, user and assistant");
    };
  }
}
