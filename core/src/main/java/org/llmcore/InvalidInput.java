package org.llmcore;

/// What the user gave cannot be used: a wrong file, a wrong value, an impossible combination. Ends in one clear message
/// and exit code 2, never in a stack trace. Everything else that escapes is a failure of ours (exit code 1).
public final class InvalidInput extends RuntimeException {
  private static final long serialVersionUID = 1;

  /// A sentence that names what was found and what was expected.
  public InvalidInput(String message) {
    super(message);
  }

  /// What was found and expected, and what to try next.
  public InvalidInput(String message, String hint) {
    super(message + "\n  ---> " + hint);
  }

  /// The same, keeping the exception that revealed it.
  public InvalidInput(String message, String hint, Throwable cause) {
    super(message + "\n  ---> " + hint, cause);
  }
}
