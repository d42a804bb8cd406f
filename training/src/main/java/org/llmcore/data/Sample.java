package org.llmcore.data;

import java.util.List;

/// One item of a data file: read and checked, not yet tokenised. `origin` is file name and line.
public sealed interface Sample {
  String origin();

  /// One message of a conversation.
  /// @param role `system`, `user` or `assistant`
  /// @param learn whether the model is trained on it: assistant messages, unless their `weight` is 0
  record Turn(String role, String content, boolean learn) {}

  /// A conversation with any number of assistant messages.
  record Chat(List<Turn> turns, String origin) implements Sample {
    public Chat {
      turns = List.copyOf(turns);
    }

    /// Whether some message has this role.
    public boolean has(String role) {
      return turns.stream().anyMatch(t -> t.role().equals(role));
    }
  }

  /// A text to continue and its continuation, both taken literally.
  record Pair(String prompt, String completion, String origin) implements Sample {}

  /// An instruction with optional input, to be put in Alpaca's words.
  /// @param input empty where the instruction stands alone
  record Instruction(String instruction, String input, String output, String origin) implements Sample {}

  /// Plain text, learned as a whole.
  record Document(String text, String origin) implements Sample {}
}
