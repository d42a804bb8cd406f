package org.llmcore.generate;

/// What a request produced.
/// @param ids generated ids, the end-of-sequence token that ended them included
/// @param text their text, cut before a stop string
/// @param finish why it ended
public record Generation(int[] prompt, int[] ids, String text, Finish finish) {
  /// Why generation ended: an end-of-sequence token or stop string, or the token budget or context was used up.
  public enum Finish {
    STOP,
    LENGTH
  }
}
