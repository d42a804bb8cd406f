package org.llmcore.text;

/// One contribution to a conversation.
/// @param role who speaks
/// @param content what is said, as plain text
public record Message(Role role, String content) {
  /// Who speaks.
  public enum Role {
    /// Instructions for the whole conversation; at most one, at the beginning.
    SYSTEM,
    /// The person.
    USER,
    /// The model.
    ASSISTANT
  }

  public static Message system(String content) {
    return new Message(Role.SYSTEM, content);
  }

  public static Message user(String content) {
    return new Message(Role.USER, content);
  }

  public static Message assistant(String content) {
    return new Message(Role.ASSISTANT, content);
  }
}
