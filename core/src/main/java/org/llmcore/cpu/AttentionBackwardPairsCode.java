package org.llmcore.cpu;

import org.llmcore.cpu.AttentionBackwardCode.Argument;
import org.llmcore.cpu.AttentionBackwardCode.Staged;
import org.llmcore.cpu.AttentionBackwardCode.Strided;
import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Label;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Mem;
import org.llmcore.cpu.code.Routines;
import org.llmcore.cpu.code.Vec;
import org.llmcore.tensor.DType;
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
final class AttentionBackwardPairsCode {
  private static final int PAIRS = ROWS / 2;
  private static final Routines BACKWARD = new Routines(AttentionCode.WIDEST + 1, AttentionBackwardPairsCode::backward);
  private static final Routines PAIRED = new Routines(1, _ -> paired());

  private AttentionBackwardPairsCode() {}

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
    panels(to, RowCode.at(keys, from), 2 * pitch, n, d);
  }

  /// @param pitch bytes from key to key
  static void panels(long to, long keys, long pitch, int n, int d) {
    AttentionCode.panels(to, DType.F32, keys, pitch / 4, n, d / 2); // a pair is a word
  }

  /// Rows of two keys each, a word a dimension and `padded(d)` words a row; beside an odd last key lies 0.
  static void rows(long to, Tensor keys, long from, long pitch, int n, int d) {
    rows(to, RowCode.at(keys, from), 2 * pitch, n, d);
  }

  /// @param pitch bytes from key to key
  static void rows(long to, long keys, long pitch, int n, int d) {
    PAIRED.get(0).run(to, keys, pitch, n, d, 4L * AttentionTiles.padded(d));
  }

  /// Floats of scratch.
  static long scratchFloats(int width, int stride) {
    int w = width / 16;
    return Argument.FLOATS + (long) (2 * ROWS + 2 * PAIRS) * stride + 32L * (ROWS * words(w) + PAIRS * w);
  }

  /// @param q, dout, o bf16, of one pitch
  /// @param dq f32 rows
  /// @param s `panels` of keys and values, `rows` of keys, and sums in progress: f32 rows for a multiple of eight keys
  /// @param lse f32, one of every `lsePitch`
  static void backward(
      Strided q, long dout, long o, Strided dq, Staged s, int n, boolean causal, float scale, long lse, int lsePitch, int d, int stride, long scratch) {
    int width = AttentionTiles.padded(d);
    long p = scratch + 4L * Argument.FLOATS;
    long ds = p + 4L * ROWS * stride;
    long pPairs = ds + 4L * ROWS * stride;
    long dsPairs = pPairs + 4L * PAIRS * stride;
    long tiles = dsPairs + 4L * PAIRS * stride;
    Argument.put(
        scratch, q.address(), dout, o, 2 * q.pitch(), dq.address(), 4 * dq.pitch(), s.keyPanels(), s.valuePanels(), s.keys(), s.dk(), s.dv(), 4L * stride, n, causal ? 1 : n,
        causal ? 1 : 0, Float.floatToRawIntBits(scale), lse, 4L * lsePitch, d, p, ds, tiles, 0, pPairs, dsPairs);
    BACKWARD.get(width / 16).run(scratch);
  }

  private static Assembler backward(int w) {
    var c = new Loop();
    var a = c.a;
    var t = new AttentionTile(c, w);
    int dout = 64 * ROWS * words(w); // in the tile, behind q
    int qPairs = 2 * dout;
    int doutPairs = qPairs + 64 * PAIRS * w;
    AttentionBackwardCode.enter(t);
    var words = new AttentionTile(c, words(w), 6);
    a.mov(R11, Argument.DIMENSIONS.at());
    a.shr(R11, 1);
    words.tailMask(R11);
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
    words.stage(RDI, FIRST_PITCH, R14, 0);
    words.stage(RDX, FIRST_PITCH, R14, dout);
    pairs(a, w, 0, qPairs);
    pairs(a, w, dout, doutPairs);
    dots(a, w, 0, Argument.KEY_PANELS, R13);
    dots(a, w, dout, Argument.VALUE_PANELS, R15);
    AttentionBackwardCode.scores(c, w, DType.BF16, dout, 64 * words(w));
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
    AttentionBackwardCode.next(t);
    t.advance(tile);
    t.leave();
    return c.end();
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
    dots(a, w, ROWS, disp);
    for (int r = 0; r < ROWS; r++) a.vmovups(row(r < 4 ? R11 : RSI, r % 4), zmm(r));
    a.add(R10, 1024 * words(w));
    a.add(R11, 64);
    a.add(RSI, 64);
    a.sub(RCX, 16);
    a.j(Condition.GREATER, panel);
  }

  /// Registers 0 … rows−1 = rows of words, `disp` behind R14, · the panel at R10: two sums of pairs each, which are then added.
  static void dots(Assembler a, int w, int rows, int disp) {
    for (int i = 0; i < 2 * rows; i++) a.vpxord(zmm(i), zmm(i), zmm(i));
    for (int j = 0; j < 8 * w; j++) {
      var keys = zmm(16 + j % 8);
      a.vmovups(keys, R10.at(64 * j));
      for (int r = 0; r < rows; r++) a.vdpbf16ps(zmm(j % 2 * rows + r), keys, R14.at(disp + 64 * words(w) * r + 4 * j).all());
    }
    for (int r = 0; r < rows; r++) a.vaddps(zmm(r), zmm(r), zmm(rows + r));
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
    a.mov(R10, R15);
    a.mov(R11, Argument.KEYS.at());
    if (g.first() > 0) a.add(R11, 64 * g.first());
    a.mov(RCX, Argument.SEEN.at());
    sums(a, w, ROWS, g.count());
  }

  /// Registers row · count + i = Σ over the pairs among RCX keys: words of `rows` rows at R10, RBX bytes apart, · vectors [0, count) of rows of w at R11.
  static void sums(Assembler a, int w, int rows, int count) {
    for (int i = 0; i < rows * count; i++) a.vpxord(zmm(i), zmm(i), zmm(i));
    a.lea(RAX, RBX.at(RBX, 2, 0));
    a.lea(RSI, R10.at(RBX, 4, 0));
    a.inc(RCX);
    a.shr(RCX, 1);
    var pair = a.here();
    if (rows > 1) for (int i = 0; i < count; i++) a.vmovups(zmm(24 + i), R11.at(64 * i));
    for (int r = 0; r < rows; r++) {
      var coefficient = zmm(27 + r % 4);
      a.vbroadcastss(coefficient, row(r < 4 ? R10 : RSI, r % 4));
      for (int i = 0; i < count; i++) {
        if (rows > 1) a.vdpbf16ps(zmm(r * count + i), zmm(24 + i), coefficient);
        else a.vdpbf16ps(zmm(i), coefficient, R11.at(64 * i));
      }
    }
    a.add(R11, 64 * w);
    a.add(R10, 4);
    a.add(RSI, 4);
    a.dec(RCX);
    a.j(Condition.NOT_EQUAL, pair);
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
