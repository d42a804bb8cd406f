package org.llmcore.cpu;

import java.util.function.IntFunction;

import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Label;
import org.llmcore.cpu.code.Mem;
import org.llmcore.cpu.code.Vec;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// What `StreamCode` does in bf16: rounds decoded weights, and multiplies pairs of them with pairs of x. A register holds four pairs of
/// each of four rows of W, a quarter a row, so that the four partial sums of four rows are one register for every row of x. Uses
/// zmm8 … 15; k masks are the form's.
final class StreamPairs {
  private static final int ROW = 2 * 256; // bytes between rows of a round in the frame

  /// Bytes of the largest round.
  static final int BYTES = 4 * ROW;

  private static final int QUARTER = 16; // bytes of four pairs

  private final StreamCode s;

  StreamPairs(StreamCode s) {
    this.s = s;
  }

  /// Vector v of row r into the frame.
  void keep(int r, int v, Vec w) {
    narrow(v, w, RDI.at(StreamCode.PAIRS + ROW * r));
  }

  /// Vector v into a row of bf16; two at a time, where a round has two.
  void narrow(int v, Vec w, Mem row) {
    var low = zmm(8);
    if (s.inTail() || s.unit() == Rows.PARTIALS) {
      s.a.vcvtneps2bf16(low, w);
      s.a.vmovups(row.plus(32 * v), Vec.ymm(8));
    } else if (v % 2 == 0) {
      s.a.vmovaps(low, w);
    } else {
      s.a.vcvtne2ps2bf16(low, w, low);
      s.a.vmovups(row.plus(32 * (v - 1)), low);
    }
  }

  /// Multiplies what is kept of a round: whole registers of each row, whose quarters change places, where it has them.
  void round() {
    fifthRow();
    int bytes = 2 * s.unit();
    if (bytes < 4 * QUARTER) {
      for (int at = 0; at < bytes; at += QUARTER) multiply(s, at, kept(RDI.at(StreamCode.PAIRS + at)));
      return;
    }
    for (int at = 0; at < bytes; at += 4 * QUARTER) {
      for (int r = 0; r < 4; r++) s.a.vmovups(zmm(8 + r), RDI.at(StreamCode.PAIRS + ROW * r + at));
      for (int i = 0; i < 4; i++) s.a.vshuff32x4(zmm(12 + i), zmm(8 + i % 2 * 2), zmm(9 + i % 2 * 2), i < 2 ? 0x44 : 0xee); // halves of two rows
      for (int i = 0; i < 4; i++) s.a.vshuff32x4(zmm(8 + i), zmm(12 + i / 2 * 2), zmm(13 + i / 2 * 2), i % 2 == 0 ? 0x88 : 0xdd);
      for (int i = 0; i < 4; i++) multiply(s, zmm(8 + i), at + QUARTER * i);
    }
  }

  /// The same of the columns after the last whole round, a multiple of 8.
  void rest() {
    s.a.mov(R12, RDI.at(StreamCode.TAIL));
    s.a.mov(RBX, RDI);
    Label again = s.a.here();
    fifthRow();
    multiply(s, 0, kept(RBX.at(StreamCode.PAIRS)));
    s.a.add(RBX, QUARTER);
    s.a.add(RSI, QUARTER);
    s.a.sub(R12, 8);
    s.a.j(Condition.NOT_EQUAL, again);
  }

  /// RAX = this round in row 4 of x, if there is one (`StreamCode.x`).
  private void fifthRow() {
    if (s.m() > 4) s.a.lea(RAX, RSI.at(RDX, 4, 0));
  }

  private static IntFunction<Mem> kept(Mem first) {
    return r -> first.plus(ROW * r);
  }

  /// Multiplies four pairs of every row of W, each in memory, with those of all rows of x, `at` bytes on.
  static void multiply(StreamCode s, int at, IntFunction<Mem> row) {
    var w = zmm(8 + at / QUARTER % 4);
    s.a.vmovups(Vec.xmm(w.index()), row.apply(0));
    for (int r = 1; r < 4; r++) s.a.vinsertf32x4(w, w, row.apply(r), r);
    multiply(s, w, at);
  }

  private static void multiply(StreamCode s, Vec w, int at) {
    for (int i = 0; i < s.m(); i++) {
      var x = zmm(12 + i % 4);
      s.a.vbroadcastf32x4(x, s.x(i).plus(at));
      s.a.vdpbf16ps(zmm(i), w, x);
    }
  }
}
