package org.llmcore.data;

/// What a data file holds.
public enum Format {
  OPENAI_CHAT("OpenAI chat: messages of role and content", Objective.ANSWERS),
  SHAREGPT("ShareGPT: conversations of from and value", Objective.ANSWERS),
  PAIRS("prompt and completion, or question and answer", Objective.ANSWERS),
  ALPACA("instructions: instruction, input, output", Objective.ANSWERS),
  TEXT_ROWS("documents: one {\"text\"} a row", Objective.TEXT),
  PLAIN_TEXT("plain text", Objective.TEXT);

  private final String words;
  private final Objective objective;

  Format(String words, Objective objective) {
    this.words = words;
    this.objective = objective;
  }

  public String words() {
    return words;
  }

  public Objective objective() {
    return objective;
  }
}
