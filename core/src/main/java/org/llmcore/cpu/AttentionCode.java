package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Loads;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routines;
import org.llmcore.cpu.code.Vec;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

import static org.llmcore.cpu.AttentionTile.*;
import static org.llmcore.cpu.RowCode.dtype;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.xmm;
import static org.llmcore.cpu.code.Vec.zmm;

/// Attention's forward pass as machine code: a block of queries of one head in one call, eight queries at a time: their
/// scores, the softmax of each and the weighted sum of values, all in registers or the first-level cache.
///
/// Keys come in panels: 16 keys side by side, one dimension after the other, so that `panel[d]` is a register of 16 keys.
final class AttentionCode {
  /// Vectors of a head at most.
  static final int WIDEST = 16;

  private static final Routines PANELS = new Routines(2, AttentionCode::panels);
  private static final Routines PADDED = new Routines(2, AttentionCode::padded);
  private static final Routines SPREAD = new Routines(4, AttentionCode::spread);
  private static final Routines FORWARD = new Routines(WIDEST + 1, AttentionCode::forward);

  private AttentionCode() {}

  static boolean takes(Tensor q, Tensor k, Tensor v) {
    return q.columns() <= 16 * WIDEST && RowCode.reads(q, k, v);
  }

  /// Floats of the panels of n keys.
  static long panelFloats(int n, int width) {
    return (long) AttentionTiles.padded(n) * width;
  }

  /// Keys from element `from` on, `pitch` elements apart, as panels; dimensions from d on are 0.
  static void panels(long to, Tensor keys, long from, long pitch, int n, int d) {
    panels(to, keys.dtype(), RowCode.at(keys, from), pitch, n, d);
  }

  static void panels(long to, DType dtype, long from, long pitch, int n, int d) {
    PANELS.get(RowCode.bit(dtype)).run(to, from, pitch * dtype.bytes(), n, d, AttentionTiles.padded(d));
  }

  /// n rows of words, `pitch` bytes apart, each padded with zeros to whole vectors.
  static void paddedWords(long to, long from, long pitch, int n, int words) {
    PADDED.get(RowCode.bit(DType.F32)).run(to, from, pitch, n, words, 4L * AttentionTiles.padded(words));
  }

  /// n rows from element `from` on as f32, `width` floats each, of which those from d on are 0.
  static void padded(long to, Tensor t, long from, long pitch, int n, int d) {
    PADDED.get(RowCode.bit(t.dtype())).run(
        to, RowCode.at(t, from), pitch * t.dtype().bytes(), n, d, 4L * AttentionTiles.padded(d));
  }

  /// n rows of f32, `width` apart, to element `to` of y on, `pitch` elements apart.
  static void spread(Tensor y, boolean add, long to, long pitch, long from, int n, int d) {
    SPREAD.get(RowCode.bit(y.dtype()) | (add ? 2 : 0)).run(
        RowCode.at(y, to), from, pitch * y.dtype().bytes(), n, d, 4L * AttentionTiles.padded(d));
  }

  /// f32 queries and results of one head; row i sees the first visible + i·growth keys. `stats` receives four floats a row: the
  /// largest score, the sum of exponentials and 1/sum. `scratch` has `scratchFloats`.
  static void forward(
      long q, long qPitch, long o, long oPitch, long panels, long values, int rows, int visible, int growth, float scale, int d,
      int stride, long scratch, long stats) {
    FORWARD.get(AttentionTiles.padded(d) / 16).run(
        q, 4 * qPitch, o, 4 * oPitch, panels, values, 4L * stride, rows, visible, growth, Float.floatToRawIntBits(scale), scratch,
        scratch + 4L * ROWS * stride, stats, d);
  }

  /// Scores of a tile and its queries.
  static long scratchFloats(int width, int stride) {
    return (long) ROWS * (stride + width);
  }

  private static Assembler forward(int w) {
    var c = new Loop();
    var a = c.a;
    var t = new AttentionTile(c, w);
    t.enter(RSI, RCX);
    a.mov(RBX, t.argument(6)); // bytes of a row of scores
    a.mov(RBP, t.argument(7)); // rows left
    a.mov(R12, t.argument(8)); // keys the first row of the tile sees
    a.mov(RAX, t.argument(9));
    a.mov(GROWTH, RAX);
    a.mov(R13, t.argument(11)); // scores
    a.mov(R14, t.argument(12)); // queries of the tile
    a.mov(R15, t.argument(13)); // stats
    a.mov(R11, t.argument(14));
    t.tailMask(R11);
    var tile = a.here();
    t.rows();
    t.stage(RDI, FIRST_PITCH, R14, 0);
    a.vbroadcastss(zmm(31), t.argument(10));
    t.dots(R14, 0, R8, R13, zmm(31));
    softmax(c);
    t.chains(R13, R9, group -> finish(t, group));
    t.next(RDI, FIRST_PITCH);
    t.next(RDX, SECOND_PITCH);
    a.add(R15, 16 * ROWS);
    t.advance(tile);
    t.leave();
    return c.end();
  }

  /// Exponentials in place of the scores of the tile's rows, and their stats at R15.
  private static void softmax(Loop c) {
    var a = c.a;
    var exp = new ExpCode(c);
    var one = c.all(1f);
    a.mov(RSI, R13);
    a.mov(RCX, R12);
    a.mov(SAVED_STATS, R15);
    a.mov(RAX, ROWS_HERE);
    a.mov(COUNTER, RAX);
    var row = a.here();
    softmaxOfRow(c, exp, RSI, RCX, one, DType.F32);
    a.add(R15, 16);
    a.add(RSI, RBX);
    a.add(RCX, GROWTH);
    a.mov(RAX, COUNTER);
    a.dec(RAX);
    a.mov(COUNTER, RAX);
    a.j(Condition.NOT_EQUAL, row);
    a.mov(R15, SAVED_STATS);
  }

  /// Results of the tile: the sums times 1/sum.
  private static void finish(AttentionTile t, Group group) {
    t.put(
        RDX, SECOND_PITCH, group,
        r -> t.a.vbroadcastss(zmm(31), R15.at(16 * r + 8)),
        v -> t.a.vmulps(v, v, zmm(31)));
  }

  /// Panels (RDI) of keys (RSI), RDX bytes apart, RCX of them, of R8 dimensions; R9 is the padded number of dimensions.
  private static Assembler panels(int variant) {
    var c = new Loop();
    var a = c.a;
    var dtype = dtype(variant);
    a.push(RBX, RBP);
    var block = a.here(); // 16 keys
    a.mov(RBX, R8); // dimensions left
    a.mov(RBP, RSI);
    var part = a.here(); // 16 dimensions
    a.mov(R11, 16);
    a.cmp(RBX, R11);
    a.cmov(Condition.LESS, R11, RBX);
    c.mask(1, R11);
    a.mov(RAX, RBP);
    for (int i = 0; i < 16; i++) {
      Loads.load(a, zmm(i).zero(1), RAX.at(0), dtype);
      a.lea(R10, RAX.at(RDX, 1, 0));
      a.cmp(RCX, i + 1);
      a.cmov(Condition.GREATER, RAX, R10); // the last key again where there is none
    }
    transpose(a);
    for (int i = 0; i < 16; i++) a.vmovups(RDI.at(64 * i), zmm(i));
    a.add(RDI, 1024);
    a.add(RBP, 16 * dtype.bytes());
    a.sub(RBX, 16);
    a.j(Condition.GREATER, part);
    a.mov(RAX, RDX);
    a.shl(RAX, 4);
    a.add(RSI, RAX);
    a.sub(RCX, 16);
    a.j(Condition.GREATER, block);
    a.pop(RBX, RBP);
    return c.end();
  }

  /// Registers 0 … 15 as rows of a 16×16 matrix become its columns: pairs, then pairs of pairs, then 128-bit lanes.
  static void transpose(Assembler a) {
    for (int i = 0; i < 16; i += 2) {
      a.vunpcklps(zmm(16 + i), zmm(i), zmm(i + 1));
      a.vunpckhps(zmm(17 + i), zmm(i), zmm(i + 1));
    }
    for (int i = 0; i < 16; i += 4) {
      a.vunpcklpd(zmm(i), zmm(16 + i), zmm(18 + i));
      a.vunpckhpd(zmm(i + 1), zmm(16 + i), zmm(18 + i));
      a.vunpcklpd(zmm(i + 2), zmm(17 + i), zmm(19 + i));
      a.vunpckhpd(zmm(i + 3), zmm(17 + i), zmm(19 + i));
    }
    for (int j = 0; j < 4; j++) {
      a.vshuff32x4(zmm(16 + j), zmm(j), zmm(4 + j), 0x88);
      a.vshuff32x4(zmm(20 + j), zmm(j), zmm(4 + j), 0xdd);
      a.vshuff32x4(zmm(24 + j), zmm(8 + j), zmm(12 + j), 0x88);
      a.vshuff32x4(zmm(28 + j), zmm(8 + j), zmm(12 + j), 0xdd);
    }
    for (int j = 0; j < 4; j++) {
      a.vshuff32x4(zmm(j), zmm(16 + j), zmm(24 + j), 0x88);
      a.vshuff32x4(zmm(8 + j), zmm(16 + j), zmm(24 + j), 0xdd);
      a.vshuff32x4(zmm(4 + j), zmm(20 + j), zmm(28 + j), 0x88);
      a.vshuff32x4(zmm(12 + j), zmm(20 + j), zmm(28 + j), 0xdd);
    }
  }

  /// RCX rows to RDI, RDX bytes apart, from RSI, R9 bytes apart, of R8 elements.
  private static Assembler spread(int variant) {
    var c = new Loop();
    var a = c.a;
    c.narrows(dtype(variant));
    var row = a.here();
    c.begin(R8);
    do {
      c.load(zmm(0), RSI, DType.F32);
      c.store(RDI, dtype(variant), variant > 1, zmm(0), zmm(1));
    } while (c.again());
    a.add(RDI, RDX);
    a.add(RSI, R9);
    a.dec(RCX);
    a.j(Condition.NOT_EQUAL, row);
    return c.end();
  }

  /// RCX rows to RDI, R9 bytes apart, from RSI, RDX bytes apart, of R8 elements.
  private static Assembler padded(int variant) {
    var c = new Loop();
    var a = c.a;
    var row = a.here();
    c.begin(R8);
    do {
      c.load(zmm(0), RSI, dtype(variant));
      a.vmovups(RDI.at(RAX, 4, 0), zmm(0)); // whole: the padding becomes 0
    } while (c.again());
    a.add(RDI, R9);
    a.add(RSI, RDX);
    a.dec(RCX);
    a.j(Condition.NOT_EQUAL, row);
    return c.end();
  }

  /// The n scores at `row`, at least one, become exp(score − max), of dtype `to` from the front of the row; to R15 go max, the sum of what was not rounded yet, and
  /// 1/sum. Overwrites zmm0 … 4.
  static void softmaxOfRow(Loop c, ExpCode exp, Gpr row, Gpr n, Vec one, DType to) {
    c.a.vbroadcastss(zmm(0), row.at(0));
    c.begin(n);
    do {
      c.load(zmm(2), row, DType.F32);
      c.a.vmaxps(c.kept(zmm(0)), zmm(2), zmm(0)); // passes over NaN, which comes back by the sum
    } while (c.again());
    exponentials(c, exp, row, n, one, to);
  }

  /// The same where zmm0 has the largest of every lane.
  static void exponentials(Loop c, ExpCode exp, Gpr row, Gpr n, Vec one, DType to) {
    var a = c.a;
    c.largest(zmm(0), zmm(2));
    a.vmovss(R15.at(0), xmm(0));
    a.vbroadcastss(zmm(0), xmm(0));
    a.vpxord(zmm(1), zmm(1), zmm(1)); // the sum
    c.begin(n);
    do {
      c.load(zmm(2), row, DType.F32);
      a.vsubps(zmm(2), zmm(2), zmm(0));
      exp.of(zmm(3), zmm(2), zmm(4));
      c.store(row, to, false, zmm(3), zmm(4));
      a.vaddps(c.kept(zmm(1)), zmm(1), zmm(3));
    } while (c.again());
    c.total(zmm(1), zmm(2));
    a.vmovss(R15.at(4), xmm(1));
    a.vdivps(xmm(1), xmm(one.index()), xmm(1));
    a.vmovss(R15.at(8), xmm(1));
  }
}
