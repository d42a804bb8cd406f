package org.llmcore.data;

import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

import org.llmcore.InvalidInput;

/// Everything wrong in one file: all of it counted, the first `limit` kept in words, reported together.
public final class Problems {
  private final int limit;
  private final List<Problem> kept = new ArrayList<>();
  private final Map<Problem.Kind, Integer> counts = new EnumMap<>(Problem.Kind.class);

  public Problems(int limit) {
    this.limit = limit;
  }

  /// A problem of a whole line.
  public void add(Problem.Kind kind, long line, String sentence) {
    add(kind, line, 0, sentence);
  }

  void add(Problem.Kind kind, long line, int column, String sentence) {
    counts.merge(kind, 1, Integer::sum);
    if (kept.size() < limit) kept.add(new Problem(kind, line, column, sentence));
  }

  /// The first ones, in the file's order.
  public List<Problem> list() {
    return Collections.unmodifiableList(kept);
  }

  /// How many there are of each kind, kept or not.
  public Map<Problem.Kind, Integer> counts() {
    return Collections.unmodifiableMap(counts);
  }

  /// How many there are.
  public int total() {
    return counts.values().stream().mapToInt(Integer::intValue).sum();
  }

  /// @throws InvalidInput if there is any
  public void refuse(String file) {
    if (counts.isEmpty()) return;
    var kinds = counts.entrySet().stream().map(e -> e.getKey().key() + " " + e.getValue()).collect(Collectors.joining(", "));
    var lines = kept.stream().map(p -> "\n  " + p).collect(Collectors.joining());
    int more = total() - kept.size();
    throw new InvalidInput(
      file + ": " + total() + (total() == 1 ? " problem (" : " problems (") + kinds + ")" + lines
        + (more > 0 ? "\n  … and " + more + " more" : ""),
      "mend or remove these lines; nothing is skipped silently");
  }
}
