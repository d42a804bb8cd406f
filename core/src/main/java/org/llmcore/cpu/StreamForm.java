package org.llmcore.cpu;

import java.util.Arrays;

import org.llmcore.cpu.code.Vec;

import static org.llmcore.cpu.code.Gpr.R12;
import static org.llmcore.cpu.code.Gpr.RDI;

/// How rows of W in one form become registers of 16 weights: what `StreamCode` asks while it writes a function.
sealed interface StreamForm permits DenseStream, PairStream, GroupedStream, Nf4Stream, BlockStream, SuperBlockStream, Int8Stream {
  /// Floats of x of a round, which are its columns where x is f32.
  int unit();

  /// Bytes of a round in one row.
  int bytes();

  /// Whether the rows of a strip share registers: four partial sums of each of four rows in one, for every row of x.
  default boolean shared() {
    return false;
  }

  /// Loads what no row changes.
  default void constants(StreamCode s) {}

  /// Begins a strip of rows.
  default void start(StreamCode s) {}

  /// All whole rounds of a strip.
  default void rounds(StreamCode s) {
    s.a.mov(R12, RDI.at(StreamCode.ROUNDS));
    s.loop(unit(), bytes());
  }

  /// A round: all rows.
  default void strip(StreamCode s) {
    for (int r = 0; r < s.rows(); r++) row(s, r);
  }

  /// The columns of a strip after its last whole round, if rows may end within one.
  default void rest(StreamCode s) {}

  /// Row r of a round: `StreamCode.vector` before and `StreamCode.use` after each vector is decoded, in ascending order.
  void row(StreamCode s, int r);

  /// Ends a round.
  default void step(StreamCode s) {}

  /// Ends a strip.
  default void next(StreamCode s) {}

  /// Sets where rows `row`, `row + apart` … of b lie, `width` of them.
  void bind(Job frame, Right b, long row, int width, int apart);

  /// 16 numbers from `first` on.
  static float[] index(int first) {
    var values = new float[16];
    for (int i = 0; i < values.length; i++) values[i] = first + i;
    return values;
  }

  /// 16 times the same.
  static int[] all(int value) {
    var values = new int[16];
    Arrays.fill(values, value);
    return values;
  }

  /// a of every bit where `c` has one, else b: the table for `vpternlogd(b, a, c)`.
  int CHOOSE = 0xd8;

  /// Sets the offsets of rows 1 … 3; those that do not exist repeat the last.
  static void offsets(Job frame, int at, int width, long pitch) {
    for (int i = 1; i < 4; i++) frame.set(at + 8 * (i - 1), Math.min(i, width - 1) * pitch);
  }

  /// A register.
  static Vec z(int index) {
    return Vec.zmm(index);
  }
}
