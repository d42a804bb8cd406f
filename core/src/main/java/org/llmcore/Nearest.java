package org.llmcore;

import java.util.Collection;
import java.util.Locale;
import java.util.Optional;

/// The word somebody probably meant: the candidate with the fewest single-character changes (Damerau 1964: replaced, inserted,
/// left out, or two neighbours swapped), case apart, if those are at most a third of its length.
public final class Nearest {
  private static final int LONGEST = 100;

  private Nearest() {}

  public static Optional<String> to(String word, Collection<String> candidates) {
    if (word.length() > LONGEST) return Optional.empty();
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
    int[][] d = new int[a.length() + 1][b.length() + 1]; // d[i][j]: changes from the first i characters to the first j
    for (int j = 0; j <= b.length(); j++) d[0][j] = j;
    for (int i = 1; i <= a.length(); i++) {
      d[i][0] = i;
      for (int j = 1; j <= b.length(); j++) {
        boolean same = a.charAt(i - 1) == b.charAt(j - 1);
        d[i][j] = Math.min(d[i - 1][j - 1] + (same ? 0 : 1), Math.min(d[i - 1][j], d[i][j - 1]) + 1);
        boolean swapped = i > 1 && j > 1 && a.charAt(i - 1) == b.charAt(j - 2) && a.charAt(i - 2) == b.charAt(j - 1);
        if (swapped) d[i][j] = Math.min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
    return d[a.length()][b.length()];
  }
}
