package org.llmcore.data;

import java.util.stream.IntStream;

/// What OpenAI's cookbook reports about conversations beside errors: warnings that do not stop a run.
public final class ChatSurvey {
  private final IntStream.Builder messages = IntStream.builder();
  private int examples;
  private int withoutSystem;
  private int withoutUser;

  /// Takes one more into account; anything but a conversation is passed over.
  public void add(Sample sample) {
    if (!(sample instanceof Sample.Chat chat)) return;
    examples++;
    messages.add(chat.turns().size());
    if (!chat.has("system")) withoutSystem++;
    if (!chat.has("user")) withoutUser++;
  }

  /// The numbers so far; ends the survey.
  public Result result() {
    return new Result(examples, withoutSystem, withoutUser, Distribution.of(messages.build().toArray()));
  }

  /// @param withoutSystem examples that lack a system message
  /// @param withoutUser examples that lack a user message
  /// @param messages messages per example
  public record Result(int examples, int withoutSystem, int withoutUser, Distribution messages) {}
}
