package org.llmcore.data;

/// One thing wrong in a data file.
///
/// @param line counted from 1
/// @param column character in the line counted from 1; 0 where the whole line is meant
/// @param sentence what was found and what was expected
public record Problem(Kind kind, long line, int column, String sentence) {
  /// What can be wrong. The first seven after `JSON` bear the names of OpenAI's published data check and count as it counts.
  public enum Kind {
    ENCODING, JSON,
    DATA_TYPE, MISSING_MESSAGES_LIST, MESSAGE_MISSING_KEY, MESSAGE_UNRECOGNIZED_KEY, UNRECOGNIZED_ROLE, MISSING_CONTENT,
    EXAMPLE_MISSING_ASSISTANT_MESSAGE,
    /// A `weight` other than 0 or 1, or on a message that is not the assistant's.
    WEIGHT,
    /// A key the format needs is absent or not text.
    MISSING_KEY,
    /// Correct, but no model family here can spell it: function calls, or an order of roles the chat form does not have.
    FORM,
    /// No question, no gold query, no database, or a gold query that fails on it.
    SQL;

    /// As written in reports.
    public String key() {
      return name().toLowerCase(java.util.Locale.ROOT);
    }
  }

  @Override
  public String toString() {
    return "line " + line + (column > 0 ? ", column " + column : "") + ": " + kind.key() + ": " + sentence;
  }
}
