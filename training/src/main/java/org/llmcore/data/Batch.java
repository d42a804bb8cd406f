package org.llmcore.data;

import java.util.List;

/// One micro-batch: sequences laid one after another without padding, each isolated from its neighbours by `starts`.
///
/// | array     | length | meaning                                                                    |
/// |-----------|--------|----------------------------------------------------------------------------|
/// | ids       | T      | token ids                                                                  |
/// | targets   | T      | the sequence's next token where that token is learned, else `IGNORED`      |
/// | starts    | S+1    | row of each sequence's first token, and T (`cu_seqlens` of flash attention)|
/// | positions | T      | 0, 1, 2 … anew in every sequence                                           |
///
/// @param learned number of targets that are not `IGNORED`; the losses of an optimizer step are divided by their sum
public record Batch(int[] ids, int[] targets, int[] starts, int[] positions, int learned) {
  /// Target of a row that carries no loss; the value every framework uses.
  public static final int IGNORED = -100;

  public Batch {
    if (targets.length != ids.length || positions.length != ids.length)
      throw new IllegalArgumentException(
        "ids, targets and positions differ in length: " + ids.length + ", " + targets.length + ", " + positions.length);
    if (learned < 0 || learned > ids.length) throw new IllegalArgumentException(learned + " learned of " + ids.length);
  }

  /// Lays examples one after another. The last row of a sequence never has a target: its successor is another sequence.
  public static Batch of(List<Example> examples) {
    int rows = Math.toIntExact(examples.stream().mapToLong(Example::length).sum());
    var ids = new int[rows];
    var targets = new int[rows];
    var positions = new int[rows];
    var starts = new int[examples.size() + 1];
    int row = 0, learned = 0, sequence = 0;
    for (var e : examples) {
      int n = e.length();
      starts[sequence++] = row;
      for (int i = 0; i < n; i++, row++) {
        boolean target = i + 1 < n && e.learn()[i + 1];
        ids[row] = e.ids()[i];
        positions[row] = i;
        targets[row] = target ? e.ids()[i + 1] : IGNORED;
        if (target) learned++;
      }
    }
    starts[sequence] = rows;
    return new Batch(ids, targets, starts, positions, learned);
  }

  /// Number of sequences, S.
  public int sequences() {
    return starts.length - 1;
  }
}
