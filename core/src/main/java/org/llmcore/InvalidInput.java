package org.llmcore;

import java.nio.file.Path;

/// What the user gave cannot be used: a wrong file, a wrong value, an impossible combination. Ends in one clear message
/// and exit code 2, never in a stack trace. Everything else that escapes is a failure of ours (exit code 1).
public final class InvalidInput extends RuntimeException {
  private static final long serialVersionUID = 1;
  private static final int SHOWN = 100;

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

  /// A file whose content does not fit into the heap.
  public static InvalidInput tooLarge(Path file, OutOfMemoryError cause) {
    return new InvalidInput("there is too little memory to read " + file, "check that it is what it should be; LLM_JAVA_OPTIONS=-Xmx4g gives more", cause);
  }

  /// What a file holds, as a message can carry it: cut to 100 characters, and without what would move the cursor of a terminal.
  public static String brief(Object value) {
    var text = value.toString();
    var out = new StringBuilder();
    text.codePoints().limit(SHOWN).forEach(c -> {
      if (visible(c)) out.appendCodePoint(c);
      else out.append("\\u{").append(Integer.toHexString(c)).append('}');
    });
    return text.codePointCount(0, Math.min(text.length(), 2 * SHOWN + 2)) > SHOWN ? out + "…" : out.toString();
  }

  private static boolean visible(int c) {
    return switch (Character.getType(c)) {
      case Character.CONTROL, Character.FORMAT, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR, Character.SURROGATE -> false;
      default -> true;
    };
  }
}
