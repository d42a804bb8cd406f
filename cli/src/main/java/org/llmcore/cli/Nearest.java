package org.llmcore.cli;

import java.util.Collection;
import java.util.Locale;
import java.util.Optional;

/// The word somebody probably meant: the candidate with the fewest single-character changes (Levenshtein 1966), case apart,
/// if that is at most a third of its length.
final class Nearest {
  private Nearest() {}

  static Optional<String> to(String word, Collection<String> candidates) {
    String best = "";
    int fewest = Integer.MAX_VALUE;
    for (String candidate : candidates) {
      int changes = changes(word.toLowerCase(Locale.ROOT), candidate.toLowerCase(Locale.ROOT));
      if (changes < fewest && changes <= Math.max(1, candidate.length() / 3)) {
        best = candidate;
        fewest = changes;
      }
    }
    return best.isEmpty() ? Optional.empty() : Optional.of(best);
  }

  private static int changes(String a, String b) {
    int[] above = new int[b.length() + 1];
    for (int j = 0; j <= b.length(); j++) above[j] = j;
    for (int i = 1; i <= a.length(); i++) {
      int[] row = new int[b.length() + 1];
      row[0] = i;
      for (int j = 1; j <= b.length(); j++) {
        int replaced = above[j - 1] + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
        row[j] = Math.min(replaced, Math.min(above[j], row[j - 1]) + 1);
      }
      above = row;
    }
    return above[b.length()];
  }
}
