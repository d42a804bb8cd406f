package org.llmcore.data;

/// What to do with examples longer than the context.
public enum TooLong {
  /// Stop, with their number and the longest.
  REFUSE,
  /// Keep their beginning; an example of which nothing learned is left is dropped.
  TRUNCATE,
  /// Leave them out.
  SKIP
}
