package org.llmcore.convert;

/// What was written is not what it was made from: a failure of ours. Nothing is left of it.
public final class Disagreement extends RuntimeException {
  private static final long serialVersionUID = 1;

  Disagreement(String message) {
    super(message);
  }
}
