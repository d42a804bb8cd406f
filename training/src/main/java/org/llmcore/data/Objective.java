package org.llmcore.data;

/// What is learned from a data set.
public enum Objective {
  /// Answers and the EOS that ends them; everything else is given.
  ANSWERS,
  /// Every token of running text.
  TEXT
}
