package org.llmcore.data;

/// What a data file holds.
public enum Format {
  OPENAI("OpenAI chat: messages of role and content", Objective.ANSWERS),
  SHAREGPT("ShareGPT: conversations of from and value", Objective.ANSWERS),
  PAIRS("prompt and completion, or question and answer", Objective.ANSWERS),
  ALPACA("instructions: instruction, input, output", Objective.ANSWERS),
  DOCUMENTS("documents: one {\"text\"} a row", Objective.TEXT),
  TEXT("plain text", Objective.TEXT);

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
