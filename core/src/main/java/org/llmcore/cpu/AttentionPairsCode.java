package org.llmcore.cpu;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Label;
import org.llmcore.cpu.code.Loads;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Mem;
import org.llmcore.cpu.code.Routines;
import org.llmcore.cpu.code.Vec;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

import static org.llmcore.cpu.AttentionTile.*;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// Attention's backward pass for bf16 where a processor multiplies pairs of bf16 (`vdpbf16ps`), at twice the rate of f32: all queries of one
/// sequence and head in one call, eight at a time, as `AttentionBackwardCode` does in f32. Every product sums over neighbours in pairs:
///
/// | product          | pairs of    | the operand at rest                        | the coefficient       |
/// |------------------|-------------|--------------------------------------------|-----------------------|
/// | s = q·kᵀ, dp     | dimensions  | panels of 16 keys, a word a pair           | a word of q, of do    |
/// | dq = ds·k        | keys        | rows of two keys, a word a dimension       | a word of a row of ds |
/// | dv = pᵀ·do, dk   | queries     | rows of two queries of the tile, likewise  | words of two rows     |
///
/// Sums are f32; p and ds are rounded to bf16 before they are multiplied, as on a GPU's tensor cores. Keys that a row of the tile does not see
/// have a p and a ds of 0.
final class AttentionPairsCode {
  private static final int PAIRS = ROWS / 2;
  private static final Routines BACKWARD = new Routines(AttentionCode.WIDEST + 1, AttentionPairsCode::backward);
  private static final Routines PAIRED = new Routines(1, _ -> paired());

  /// Where the code finds its arguments: 64-bit values in scratch, which it also uses as variables.
  private enum Argument {
    Q,
    DOUT,
    O,
    PITCH,
    DQ,
    DQ_PITCH,
    KEY_PANELS,
    VALUE_PANELS,
    KEYS,
    DK,
    DV,
    SCORE_BYTES,
    ROWS,
    VISIBLE,
    GROWTH,
    SCALE,
    LSE,
    LSE_PITCH,
    DIMENSIONS,
    P,
    DS,
    P_PAIRS,
    DS_PAIRS,
    TILES,
    TILE_ROW,
    SEEN, // keys that a row of the tile sees
    PAIRS_HERE;

    Mem at() {
      return R9.at(8 * ordinal());
    }
  }

  private AttentionPairsCode() {}

  static boolean takes(Lanes lanes, Tensor... tensors) {
    boolean takes = lanes.pairs() && tensors[0].columns() % 2 == 0;
    for (var t : tensors) takes &= t.dtype() == DType.BF16;
    return takes;
  }

  /// Vectors of words, each two of a head's dimensions.
  private static int words(int w) {
    return (w + 1) / 2;
  }

  /// Floats of the panels of n keys.
  static long panelFloats(int n, int d) {
    return (long) AttentionTiles.padded(n) * AttentionTiles.padded(d / 2);
  }

  /// Keys from element `from` on, `pitch` elements apart, as panels of pairs of dimensions.
  static void panels(long to, Tensor keys, long from, long pitch, int n, int d) {
    AttentionCode.panels(to, DType.F32, RowCode.at(keys, from), pitch / 2, n, d / 2); // a pair is a word
  }

  /// Rows of two keys each, a word a dimension and `padded(d)` words a row; beside an odd last key lies 0.
  static void rows(long to, Tensor keys, long from, long pitch, int n, int d) {
    PAIRED.get(0).run(to, RowCode.at(keys, from), 2 * pitch, n, d, 4L * AttentionTiles.padded(d));
  }

  /// Floats of scratch.
  static long scratchFloats(int width, int stride) {
    int w = width / 16;
    return 2L * Argument.values().length + 16 + (long) (2 * ROWS + 2 * PAIRS) * stride + 32L * (ROWS * words(w) + PAIRS * w);
  }

  /// @param q, dout, o bf16, rows `pitch` elements apart
  /// @param dq f32 rows of `padded(d)`
  /// @param s `panels` of keys and values, `rows` of keys, and sums in progress: f32 rows for a multiple of eight keys
  /// @param lse f32, one of every `lsePitch`
  static void backward(
      long q, long dout, long o, long pitch, long dq, AttentionBackwardCode.Staged s, int n, boolean causal, float scale, long lse, int lsePitch, int d,
      int stride, long scratch) {
    int width = AttentionTiles.padded(d);
    long p = scratch + 4L * (2L * Argument.values().length + 15 & -16);
    long ds = p + 4L * ROWS * stride;
    long pPairs = ds + 4L * ROWS * stride;
    long dsPairs = pPairs + 4L * PAIRS * stride;
    long tiles = dsPairs + 4L * PAIRS * stride;
    long[] values = {
      q, dout, o, 2 * pitch, dq, 4L * width, s.keyPanels(), s.valuePanels(), s.keys(), s.dk(), s.dv(), 4L * stride, n, causal ? 1 : n,
      causal ? 1 : 0, Float.floatToRawIntBits(scale), lse, 4L * lsePitch, d, p, ds, pPairs, dsPairs, tiles, 0, 0, 0
    };
    for (int i = 0; i < values.length; i++) Memory.i64(scratch + 8L * i, values[i]);
    BACKWARD.get(width / 16).run(scratch);
  }

  private static Assembler backward(int w) {
    var c = new Loop();
    var a = c.a;
    var t = new AttentionTile(c, w);
    int dout = 64 * ROWS * words(w); // in the tile, behind q
    int qPairs = 2 * dout;
    int doutPairs = qPairs + 64 * PAIRS * w;
    a.mov(R9, RDI);
    a.mov(RAX, Argument.PITCH.at());
    a.mov(RCX, Argument.DQ_PITCH.at());
    t.enter(RAX, RCX);
    a.mov(RDI, Argument.Q.at());
    a.mov(RDX, Argument.DOUT.at());
    a.mov(RBX, Argument.SCORE_BYTES.at());
    a.mov(RBP, Argument.ROWS.at());
    a.mov(R12, Argument.VISIBLE.at());
    a.mov(RAX, Argument.GROWTH.at());
    a.mov(GROWTH, RAX);
    a.mov(R13, Argument.P.at());
    a.mov(R15, Argument.DS.at());
    a.mov(R14, Argument.TILES.at());
    a.mov(R11, Argument.DIMENSIONS.at());
    t.tailMask(R11);
    a.mov(R11, Argument.DIMENSIONS.at());
    a.shr(R11, 1);
    a.sub(R11, 16 * (words(w) - 1));
    c.mask(6, R11); // words of the last vector
    var tile = a.here();
    t.rows();
    a.mov(RAX, GROWING);
    a.dec(RAX);
    a.add(RAX, R12);
    a.mov(Argument.SEEN.at(), RAX);
    a.mov(RAX, ROWS_HERE);
    a.inc(RAX);
    a.shr(RAX, 1);
    a.mov(Argument.PAIRS_HERE.at(), RAX);
    stage(a, w, RDI, 0);
    stage(a, w, RDX, dout);
    pairs(a, w, 0, qPairs);
    pairs(a, w, dout, doutPairs);
    dots(a, w, 0, Argument.KEY_PANELS, R13);
    dots(a, w, dout, Argument.VALUE_PANELS, R15);
    scores(c, w, dout);
    clear(a);
    together(a, R13, Argument.P_PAIRS);
    together(a, R15, Argument.DS_PAIRS);
    int groups = (w + 2) / 3;
    for (int g = 0, first = 0; g < groups; g++) {
      var group = new Group(first, (w - first + groups - g - 1) / (groups - g));
      chain(a, w, group);
      a.mov(RSI, Argument.DQ.at());
      t.put(RSI, SECOND_PITCH, group, _ -> {}, _ -> {});
      first += group.count();
    }
    columns(a, w, Argument.DV, Argument.P_PAIRS, doutPairs);
    columns(a, w, Argument.DK, Argument.DS_PAIRS, qPairs);
    t.next(RDI, FIRST_PITCH);
    t.next(RDX, FIRST_PITCH);
    a.mov(R8, Argument.DQ.at());
    t.next(R8, SECOND_PITCH);
    a.mov(Argument.DQ.at(), R8);
    t.advance(tile);
    t.leave();
    return c.end();
  }

  /// Copies the tile's rows of bf16, padded with zeros; rows that do not exist repeat the last.
  private static void stage(Assembler a, int w, Gpr from, int to) {
    int words = words(w);
    a.mov(RAX, from);
    for (int r = 0; r < ROWS; r++) {
      for (int v = 0; v < words; v++) {
        a.vmovups(v == words - 1 ? zmm(0).zero(6) : zmm(0), RAX.at(64 * v));
        a.vmovups(R14.at(to + 64 * (r * words + v)), zmm(0));
      }
      if (r == ROWS - 1) break;
      a.mov(R10, FIRST_PITCH);
      a.add(R10, RAX);
      a.cmp(RBP, r + 1);
      a.cmov(Condition.GREATER, RAX, R10);
    }
  }

  /// The tile's rows two by two, a word a dimension.
  private static void pairs(Assembler a, int w, int from, int to) {
    for (int i = 0; i < PAIRS; i++) {
      for (int v = 0; v < w; v++) {
        int at = from + 64 * words(w) * 2 * i + 32 * v;
        join(a, R14.at(at), R14.at(at + 64 * words(w)));
        a.vmovups(R14.at(to + 64 * (i * w + v)), zmm(0));
      }
    }
  }

  /// zmm0 = 16 bf16 in the lower halves of words, 16 others in the upper.
  private static void join(Assembler a, Mem lower, Mem upper) {
    a.vpmovzxwd(zmm(0), lower);
    a.vpmovzxwd(zmm(1), upper);
    a.vpslld(zmm(1), zmm(1), 16);
    a.vpord(zmm(0), zmm(0), zmm(1));
  }

  /// Scores (ROWS, …) at `to` = the tile's rows at `disp` · the panels, for every key that a row of the tile sees: two sums of pairs each.
  private static void dots(Assembler a, int w, int disp, Argument panels, Gpr to) {
    a.mov(R10, panels.at());
    a.mov(R11, to);
    a.lea(RSI, to.at(RBX, 4, 0));
    a.lea(RAX, RBX.at(RBX, 2, 0));
    a.mov(RCX, Argument.SEEN.at());
    var panel = a.here();
    for (int i = 0; i < 2 * ROWS; i++) a.vpxord(zmm(i), zmm(i), zmm(i));
    for (int j = 0; j < 8 * w; j++) {
      var keys = zmm(16 + j % 8);
      a.vmovups(keys, R10.at(64 * j));
      for (int r = 0; r < ROWS; r++) {
        a.vdpbf16ps(zmm(j % 2 * ROWS + r), keys, R14.at(disp + 64 * words(w) * r + 4 * j).all());
      }
    }
    for (int r = 0; r < ROWS; r++) {
      a.vaddps(zmm(r), zmm(r), zmm(ROWS + r));
      a.vmovups(row(r < 4 ? R11 : RSI, r % 4), zmm(r));
    }
    a.add(R10, 1024 * words(w));
    a.add(R11, 64);
    a.add(RSI, 64);
    a.sub(RCX, 16);
    a.j(Condition.GREATER, panel);
  }

  /// Row r < 4 of scores whose first row is at `to`; RAX is three rows.
  private static Mem row(Gpr to, int r) {
    return switch (r) {
      case 0 -> to.at(0);
      case 3 -> to.at(RAX, 1, 0);
      default -> to.at(RBX, r, 0);
    };
  }

  /// p = exp(scale·s − lse) and ds = (dp − do·o) · p · scale of the tile's rows, in bf16 where their rows begin, with zeros behind.
  private static void scores(Loop c, int w, int dout) {
    var a = c.a;
    var exp = new ExpCode(c);
    c.narrows(DType.BF16);
    var sign = c.bits(0x8000_0000);
    var scale = zmm(8);
    var delta = zmm(5);
    var shift = zmm(6);
    a.vbroadcastss(scale, Argument.SCALE.at());
    a.mov(RSI, R13);
    a.mov(R8, R15);
    a.mov(RCX, R12);
    a.lea(RAX, R14.at(dout));
    a.mov(Argument.TILE_ROW.at(), RAX);
    a.mov(RAX, ROWS_HERE);
    a.mov(COUNTER, RAX);
    var row = a.here();
    a.mov(R10, Argument.O.at());
    a.mov(R11, Argument.TILE_ROW.at());
    a.vpxord(zmm(0), zmm(0), zmm(0));
    for (int v = 0; v < w; v++) {
      Loads.load(a, v == w - 1 ? zmm(1).zero(7) : zmm(1), R10.at(32 * v), DType.BF16);
      Loads.load(a, zmm(2), R11.at(32 * v), DType.BF16);
      a.vfmadd231ps(zmm(0), zmm(1), zmm(2));
    }
    c.total(zmm(0), zmm(1));
    a.vbroadcastss(delta, zmm(0));
    a.mov(RAX, Argument.LSE.at());
    a.vbroadcastss(shift, RAX.at(0));
    a.vpxord(shift, shift, sign);
    a.add(RAX, Argument.LSE_PITCH.at());
    a.mov(Argument.LSE.at(), RAX);
    a.add(R10, FIRST_PITCH);
    a.mov(Argument.O.at(), R10);
    a.add(R11, 64 * words(w));
    a.mov(Argument.TILE_ROW.at(), R11);
    c.begin(RCX);
    do {
      c.load(zmm(0), RSI, DType.F32);
      c.load(zmm(7), R8, DType.F32);
      a.vmovaps(zmm(1), shift);
      a.vfmadd231ps(zmm(1), zmm(0), scale);
      exp.of(zmm(3), zmm(1), zmm(4));
      c.store(RSI, DType.BF16, false, zmm(3), zmm(4)); // behind what has been read
      a.vsubps(zmm(7), zmm(7), delta);
      a.vmulps(zmm(7), zmm(7), zmm(3));
      a.vmulps(zmm(7), zmm(7), scale);
      c.store(R8, DType.BF16, false, zmm(7), zmm(4));
    } while (c.again());
    a.vpxord(zmm(0), zmm(0), zmm(0));
    a.vmovups(RSI.at(RCX, 2, 0), zmm(0)); // 32 keys: more than any row of the tile sees beyond this one
    a.vmovups(R8.at(RCX, 2, 0), zmm(0));
    a.add(RSI, RBX);
    a.add(R8, RBX);
    a.add(RCX, GROWTH);
    a.mov(RAX, COUNTER);
    a.dec(RAX);
    a.mov(COUNTER, RAX);
    a.j(Condition.NOT_EQUAL, row);
  }

  /// Zeros in the row behind the tile's last, which may be half of a pair.
  private static void clear(Assembler a) {
    var done = new Label();
    a.mov(RAX, ROWS_HERE);
    a.cmp(RAX, ROWS);
    a.j(Condition.EQUAL, done);
    a.imul(RAX, RBX);
    a.lea(RSI, R13.at(RAX, 1, 0));
    a.lea(R8, R15.at(RAX, 1, 0));
    a.vpxord(zmm(0), zmm(0), zmm(0));
    a.xor(RCX, RCX);
    var keys = a.here();
    a.vmovups(RSI.at(RCX, 2, 0), zmm(0));
    a.vmovups(R8.at(RCX, 2, 0), zmm(0));
    a.add(RCX, 32);
    a.cmp(RCX, Argument.SEEN.at());
    a.j(Condition.LESS, keys);
    a.bind(done);
  }

  /// Rows of bf16 two by two, a word a key.
  private static void together(Assembler a, Gpr rows, Argument to) {
    a.mov(RSI, rows);
    a.mov(R11, to.at());
    a.mov(RCX, Argument.PAIRS_HERE.at());
    var pair = a.here();
    a.lea(R8, RSI.at(RBX, 1, 0));
    a.xor(R10, R10);
    var keys = a.here();
    join(a, RSI.at(R10, 2, 0), R8.at(R10, 2, 0));
    a.vmovups(R11.at(R10, 4, 0), zmm(0));
    a.add(R10, 16);
    a.cmp(R10, Argument.SEEN.at());
    a.j(Condition.LESS, keys);
    a.lea(RSI, RSI.at(RBX, 2, 0));
    a.add(R11, RBX);
    a.dec(RCX);
    a.j(Condition.NOT_EQUAL, pair);
  }

  /// dq of a group of vectors, in its sums: Σ over pairs of keys.
  private static void chain(Assembler a, int w, Group g) {
    for (int i = 0; i < ROWS * g.count(); i++) a.vpxord(zmm(i), zmm(i), zmm(i));
    a.lea(RAX, RBX.at(RBX, 2, 0));
    a.mov(R10, R15);
    a.lea(RSI, R15.at(RBX, 4, 0));
    a.mov(R11, Argument.KEYS.at());
    if (g.first() > 0) a.add(R11, 64 * g.first());
    a.mov(RCX, Argument.SEEN.at());
    a.inc(RCX);
    a.shr(RCX, 1);
    var step = a.here();
    for (int i = 0; i < g.count(); i++) a.vmovups(zmm(24 + i), R11.at(64 * i));
    for (int r = 0; r < ROWS; r++) {
      var coefficient = zmm(27 + r % 4);
      a.vbroadcastss(coefficient, row(r < 4 ? R10 : RSI, r % 4));
      for (int i = 0; i < g.count(); i++) a.vdpbf16ps(g.sum(r, i), zmm(24 + i), coefficient);
    }
    a.add(R11, 64 * w);
    a.add(R10, 4);
    a.add(RSI, 4);
    a.dec(RCX);
    a.j(Condition.NOT_EQUAL, step);
  }

  /// y[u] += Σ over the tile's pairs of rows, eight keys at a time; the pairs of x lie `disp` bytes into the tile.
  private static void columns(Assembler a, int w, Argument y, Argument coefficients, int disp) {
    a.mov(R8, y.at());
    a.mov(R10, coefficients.at());
    a.mov(RCX, Argument.SEEN.at());
    a.add(RCX, ROWS - 1);
    a.shr(RCX, 3);
    var keys = a.here();
    int groups = (w + 2) / 3;
    for (int g = 0, first = 0; g < groups; g++) {
      var group = new Group(first, (w - first + groups - g - 1) / (groups - g));
      eight(a, w, group, disp);
      first += group.count();
    }
    a.add(R8, 64 * ROWS * w);
    a.add(R10, 4 * ROWS);
    a.dec(RCX);
    a.j(Condition.NOT_EQUAL, keys);
  }

  /// Eight keys at R8, all pairs of rows; coefficients of the first pair at R10.
  private static void eight(Assembler a, int w, Group g, int disp) {
    for (int k = 0; k < ROWS; k++) {
      for (int i = 0; i < g.count(); i++) a.vmovups(g.sum(k, i), R8.at(64 * (k * w + g.first() + i)));
    }
    a.mov(R11, R10);
    a.lea(RSI, R14.at(disp + 64 * g.first()));
    a.mov(RAX, Argument.PAIRS_HERE.at());
    var pair = a.here();
    for (int i = 0; i < g.count(); i++) a.vmovups(zmm(24 + i), RSI.at(64 * i));
    for (int k = 0; k < ROWS; k++) {
      Vec coefficient = zmm(27 + k % 4);
      a.vbroadcastss(coefficient, R11.at(4 * k));
      for (int i = 0; i < g.count(); i++) a.vdpbf16ps(g.sum(k, i), zmm(24 + i), coefficient);
    }
    a.add(RSI, 64 * w);
    a.add(R11, RBX);
    a.dec(RAX);
    a.j(Condition.NOT_EQUAL, pair);
    for (int k = 0; k < ROWS; k++) {
      for (int i = 0; i < g.count(); i++) a.vmovups(R8.at(64 * (k * w + g.first() + i)), g.sum(k, i));
    }
  }

  /// RCX rows of bf16 from RSI, RDX bytes apart, of R8 elements, two by two to RDI, R9 bytes apart.
  private static Assembler paired() {
    var c = new Loop();
    var a = c.a;
    var single = new Label();
    var done = new Label();
    a.push(RBX);
    var pair = a.here();
    a.cmp(RCX, 1);
    a.j(Condition.EQUAL, single);
    a.lea(RBX, RSI.at(RDX, 1, 0));
    c.begin(R8);
    do {
      c.load(zmm(0), RSI, DType.BF16);
      c.load(zmm(1), RBX, DType.BF16);
      a.vpsrld(zmm(0), zmm(0), 16);
      a.vpord(zmm(0), zmm(0), zmm(1));
      a.vmovups(RDI.at(RAX, 4, 0), zmm(0)); // whole: the padding becomes 0
    } while (c.again());
    a.add(RDI, R9);
    a.lea(RSI, RSI.at(RDX, 2, 0));
    a.sub(RCX, 2);
    a.j(Condition.NOT_EQUAL, pair);
    a.jmp(done);
    a.bind(single);
    c.begin(R8);
    do {
      c.load(zmm(0), RSI, DType.BF16);
      a.vpsrld(zmm(0), zmm(0), 16);
      a.vmovups(RDI.at(RAX, 4, 0), zmm(0));
    } while (c.again());
    a.bind(done);
    a.pop(RBX);
    return c.end();
  }
}
