package org.llmcore.cpu.code;

import static org.llmcore.cpu.code.Condition.*;

/// Rows of bf16 by twos: below each other two rows become one of pairs, and a last row without a partner is paired with 0.
final class RowPairs {
  private RowPairs() {}

  interface Body {
    /// @param alone whether a second row is missing
    void emit(boolean alone);
  }

  /// A body for `count` ≥ 1 rows, `from` standing at the first of each two and `pitch` bytes before the next. Both registers move.
  static void each(Assembler a, Gpr count, Gpr from, Gpr pitch, Body body) {
    var alone = new Label();
    var done = new Label();
    a.sub(count, 1);
    a.j(EQUAL, alone);
    var loop = a.here();
    body.emit(false);
    a.lea(from, from.at(pitch, 2, 0));
    a.sub(count, 2);
    a.j(GREATER, loop);
    a.j(NOT_EQUAL, done);
    a.bind(alone);
    body.emit(true);
    a.bind(done);
  }

  /// d = pairs of words of `low` and of `high`, of 0 where that is null; what a mask leaves out, if it is not 0, becomes 0.
  static void load(Assembler a, Vec d, Vec scratch, int mask, Mem low, Mem high) {
    a.vpmovzxwd(mask == 0 ? d : d.zero(mask), low);
    if (high == null) return;
    a.vpmovzxwd(mask == 0 ? scratch : scratch.zero(mask), high);
    a.vpslld(scratch, scratch, 16);
    a.vpord(d, d, scratch);
  }
}
