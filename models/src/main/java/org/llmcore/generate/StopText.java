package org.llmcore.generate;

import java.util.List;

/// Cuts a stream of text at the first of some strings to be complete, the longest of those that end together. How the text is
/// split into pieces does not matter: text that could still become a stop string is held back.
final class StopText {
  private final List<String> stops;
  private final StringBuilder held = new StringBuilder();
  private boolean stopped;

  StopText(List<String> stops) {
    this.stops = stops;
  }

  /// Whether a stop string was met; the text before it has been returned.
  boolean stopped() {
    return stopped;
  }

  /// The part of the text so far that can be shown.
  String next(String piece) {
    if (stopped) return "";
    held.append(piece);
    int cut = -1;
    int end = Integer.MAX_VALUE;
    for (var s : stops) {
      int i = held.indexOf(s);
      if (i < 0 || i + s.length() > end || (i + s.length() == end && i > cut)) continue;
      cut = i;
      end = i + s.length();
    }
    if (cut >= 0) {
      stopped = true;
      return take(cut);
    }
    int keep = 0;
    for (var s : stops) {
      for (int n = Math.min(s.length() - 1, held.length()); n > keep; n--) {
        if (s.startsWith(held.substring(held.length() - n))) keep = n;
      }
    }
    return take(held.length() - keep);
  }

  /// What was held back, once nothing more can come.
  String finish() {
    return stopped ? "" : take(held.length());
  }

  private String take(int n) {
    var out = held.substring(0, n);
    held.delete(0, n);
    return out;
  }
}
