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

import static org.llmcore.cpu.AttentionTile.*;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// Attention's backward pass as machine code: all queries of one sequence and head in one call, eight at a time: scores and
/// dp from panels of keys and values, dq as a chain over keys, then dk and dv as chains that continue over the tile's
/// queries.
final class AttentionBackwardCode {
  private static final Routines BACKWARD = new Routines(AttentionCode.WIDEST + 1, AttentionBackwardCode::backward);

  /// Where the code finds its arguments: 64-bit values in scratch, which it also uses as variables. The last four are for pairs of bf16.
  enum Argument {
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
    TILES,
    TILE_ROW,
    P_PAIRS,
    DS_PAIRS,
    SEEN, // keys that a row of the tile sees
    PAIRS_HERE;

    /// Floats of all.
    static final long FLOATS = 2L * values().length + 15 & -16;

    /// All arguments into scratch at `address`, in order; those that are missing are variables.
    static void put(long address, long... values) {
      for (int i = 0; i < values.length; i++) Memory.i64(address + 8L * i, values[i]);
    }

    Mem at() {
      return R9.at(8 * ordinal());
    }
  }

  /// Rows of one head, `pitch` elements apart.
  record Strided(long address, long pitch) {}

  /// Staged keys and values of a sequence, and gradients in progress: rows of `width` floats.
  record Staged(long keyPanels, long valuePanels, long keys, long dk, long dv) {}

  // What `scoresOfRow` reads: do·o and −lse of the query, and the scale.
  static final Vec DELTA = zmm(5);
  static final Vec SHIFT = zmm(6);
  static final Vec SCALE_FACTOR = zmm(8);

  private AttentionBackwardCode() {}

  /// Floats of scratch.
  static long scratchFloats(int width, int stride) {
    return Argument.FLOATS + (long) 2 * ROWS * (stride + width);
  }

  /// @param q, dout, o of one pitch
  /// @param lse f32, one of every `lsePitch`
  static void backward(
      Strided q, long dout, long o, Strided dq, Staged s, int n, boolean causal, float scale, long lse, int lsePitch, int d,
      int stride, long scratch) {
    int width = AttentionTiles.padded(d);
    long p = scratch + 4L * Argument.FLOATS;
    long ds = p + 4L * ROWS * stride;
    long tiles = ds + 4L * ROWS * stride;
    Argument.put(
        scratch, q.address, dout, o, 4 * q.pitch, dq.address, 4 * dq.pitch, s.keyPanels, s.valuePanels, s.keys, s.dk, s.dv, 4L * stride, n,
        causal ? 1 : n, causal ? 1 : 0, Float.floatToRawIntBits(scale), lse, 4L * lsePitch, d, p, ds, tiles);
    BACKWARD.get(width / 16).run(scratch);
  }

  private static Assembler backward(int w) {
    var c = new Loop();
    var a = c.a;
    var t = new AttentionTile(c, w);
    int second = 64 * ROWS * w; // dout behind q in the tile
    enter(t);
    var tile = a.here();
    t.rows();
    t.stage(RDI, FIRST_PITCH, R14, 0);
    t.stage(RDX, FIRST_PITCH, R14, second);
    a.mov(R8, Argument.KEY_PANELS.at());
    t.dots(R14, 0, R8, R13, null);
    a.mov(R8, Argument.VALUE_PANELS.at());
    t.dots(R14, second, R8, R15, null);
    scores(c, w, DType.F32, second, 64 * w);
    a.mov(R8, Argument.KEYS.at());
    t.chains(
        R15, R8,
        group -> {
          a.mov(RSI, Argument.DQ.at());
          t.put(RSI, SECOND_PITCH, group, _ -> {}, _ -> {});
        });
    a.mov(R8, Argument.DV.at());
    columns(a, w, R8, R13, second);
    a.mov(R8, Argument.DK.at());
    columns(a, w, R8, R15, 0);
    next(t);
    t.advance(tile);
    t.leave();
    return c.end();
  }

  /// Registers of the loop over tiles.
  static void enter(AttentionTile t) {
    var a = t.a;
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
  }

  /// On to the next tile's rows.
  static void next(AttentionTile t) {
    t.next(RDI, FIRST_PITCH);
    t.next(RDX, FIRST_PITCH);
    t.a.mov(R8, Argument.DQ.at());
    t.next(R8, SECOND_PITCH);
    t.a.mov(Argument.DQ.at(), R8);
  }

  /// p = exp(scale·s − lse) and ds = (dp − do·o) · p · scale of the tile's rows, in place; of bf16 rows in bf16, where the rows begin, with zeros for 32
  /// keys behind: more than any other row of the tile sees.
  /// @param second where in the tile dout is, `rowBytes` a row
  static void scores(Loop c, int w, DType dtype, int second, int rowBytes) {
    var a = c.a;
    var exp = new ExpCode(c);
    c.narrows(dtype);
    var sign = c.bits(0x8000_0000);
    a.vbroadcastss(SCALE_FACTOR, Argument.SCALE.at());
    a.mov(RSI, R13);
    a.mov(R8, R15);
    a.mov(RCX, R12);
    a.lea(RAX, R14.at(second));
    a.mov(Argument.TILE_ROW.at(), RAX);
    a.mov(RAX, ROWS_HERE);
    a.mov(COUNTER, RAX);
    var row = a.here();
    a.mov(R10, Argument.O.at());
    a.mov(R11, Argument.TILE_ROW.at());
    a.vpxord(zmm(0), zmm(0), zmm(0));
    for (int v = 0; v < w; v++) {
      boolean last = v == w - 1;
      int at = 16 * v * dtype.bytes();
      Loads.load(a, last ? zmm(1).zero(7) : zmm(1), R10.at(at), dtype);
      Loads.load(a, zmm(2), R11.at(at), dtype);
      a.vfmadd231ps(last ? zmm(0).keep(7) : zmm(0), zmm(1), zmm(2));
    }
    c.total(zmm(0), zmm(1));
    a.vbroadcastss(DELTA, zmm(0));
    a.mov(RAX, Argument.LSE.at());
    a.vbroadcastss(SHIFT, RAX.at(0));
    a.vpxord(SHIFT, SHIFT, sign);
    a.add(RAX, Argument.LSE_PITCH.at());
    a.mov(Argument.LSE.at(), RAX);
    a.add(R10, FIRST_PITCH);
    a.mov(Argument.O.at(), R10);
    a.add(R11, rowBytes);
    a.mov(Argument.TILE_ROW.at(), R11);
    scoresOfRow(c, exp, dtype, RCX);
    if (dtype == DType.BF16) {
      a.vpxord(zmm(0), zmm(0), zmm(0));
      a.vmovups(RSI.at(RCX, 2, 0), zmm(0));
      a.vmovups(R8.at(RCX, 2, 0), zmm(0));
    }
    a.add(RSI, RBX);
    a.add(R8, RBX);
    a.add(RCX, GROWTH);
    a.mov(RAX, COUNTER);
    a.dec(RAX);
    a.mov(COUNTER, RAX);
    a.j(Condition.NOT_EQUAL, row);
  }

  /// Of `keys` scores at RSI and do·v at R8: p = exp(scale·s − lse) and ds = scale·p∘(do·v − do·o) in their places, as `dtype`.
  static void scoresOfRow(Loop c, ExpCode exp, DType dtype, Gpr keys) {
    var a = c.a;
    c.begin(keys);
    do {
      c.load(zmm(0), RSI, DType.F32);
      c.load(zmm(7), R8, DType.F32);
      a.vmovaps(zmm(1), SHIFT);
      a.vfmadd231ps(zmm(1), zmm(0), SCALE_FACTOR);
      exp.of(zmm(3), zmm(1), zmm(4));
      c.store(RSI, dtype, false, zmm(3), zmm(4)); // bf16 lies behind what has been read
      a.vsubps(zmm(7), zmm(7), DELTA);
      a.vmulps(zmm(7), zmm(7), zmm(3));
      a.vmulps(zmm(7), zmm(7), SCALE_FACTOR);
      c.store(R8, dtype, false, zmm(7), zmm(4));
    } while (c.again());
  }

  /// y[u] += Σ_i c[i,u] · x[i] over the tile's rows that see key u: eight keys at a time while all rows see them, then one by
  /// one. y advances; x lies `disp` bytes into the tile at R14.
  private static void columns(Assembler a, int w, Gpr y, Gpr c, int disp) {
    var rest = new Label();
    var done = new Label();
    a.mov(R10, c);
    a.mov(RCX, R12);
    a.shr(RCX, 3);
    a.j(Condition.EQUAL, rest);
    var keys = a.here();
    int groups = (w + 2) / 3;
    for (int g = 0, first = 0; g < groups; g++) {
      var group = new Group(first, (w - first + groups - g - 1) / (groups - g));
      eight(a, w, group, y, disp);
      first += group.count();
    }
    a.add(y, 64 * ROWS * w);
    a.add(R10, 4 * ROWS);
    a.dec(RCX);
    a.j(Condition.NOT_EQUAL, keys);
    a.bind(rest);
    a.mov(RAX, R12);
    a.and(RAX, ROWS - 1);
    a.mov(RCX, RAX);
    a.add(RCX, GROWING);
    a.dec(RCX); // keys left
    a.j(Condition.EQUAL, done);
    a.mov(RSI, 1);
    a.sub(RSI, RAX);
    a.mov(COUNTER, RSI); // first row that sees the key, if positive
    var key = a.here();
    one(a, w, y, disp);
    a.add(y, 64 * w);
    a.add(R10, 4);
    a.mov(RAX, COUNTER);
    a.inc(RAX);
    a.mov(COUNTER, RAX);
    a.dec(RCX);
    a.j(Condition.NOT_EQUAL, key);
    a.bind(done);
  }

  /// Eight keys, all rows; coefficients of the first row at R10.
  private static void eight(Assembler a, int w, Group g, Gpr y, int disp) {
    for (int k = 0; k < ROWS; k++) {
      for (int i = 0; i < g.count(); i++) a.vmovups(g.sum(k, i), y.at(64 * (k * w + g.first() + i)));
    }
    a.mov(R11, R10);
    a.lea(RSI, R14.at(disp + 64 * g.first()));
    a.mov(RAX, ROWS_HERE);
    var row = a.here();
    for (int i = 0; i < g.count(); i++) a.vmovups(zmm(24 + i), RSI.at(64 * i));
    for (int k = 0; k < ROWS; k++) {
      var coefficient = zmm(27 + k % 4);
      a.vbroadcastss(coefficient, R11.at(4 * k));
      for (int i = 0; i < g.count(); i++) a.vfmadd231ps(g.sum(k, i), zmm(24 + i), coefficient);
    }
    a.add(RSI, 64 * w);
    a.add(R11, RBX);
    a.dec(RAX);
    a.j(Condition.NOT_EQUAL, row);
    for (int k = 0; k < ROWS; k++) {
      for (int i = 0; i < g.count(); i++) a.vmovups(y.at(64 * (k * w + g.first() + i)), g.sum(k, i));
    }
  }

  /// One key, rows from COUNTER on.
  private static void one(Assembler a, int w, Gpr y, int disp) {
    for (int v = 0; v < w; v++) a.vmovups(zmm(v), y.at(64 * v));
    a.mov(RAX, 0);
    a.cmp(RAX, COUNTER);
    a.mov(RSI, COUNTER);
    a.cmov(Condition.LESS, RAX, RSI); // first row
    a.mov(R11, RAX);
    a.imul(R11, RBX);
    a.add(R11, R10);
    a.mov(RSI, RAX);
    a.shl(RSI, 6);
    for (int v = 1; v < w; v++) { // · 64 w
      if (v == 1) a.mov(SPARE, RSI);
      a.add(RSI, SPARE);
    }
    a.add(RSI, R14);
    a.sub(RAX, ROWS_HERE);
    var row = a.here();
    Vec coefficient = zmm(31);
    a.vbroadcastss(coefficient, R11.at(0));
    for (int v = 0; v < w; v++) a.vfmadd231ps(zmm(v), coefficient, RSI.at(disp + 64 * v));
    a.add(RSI, 64 * w);
    a.add(R11, RBX);
    a.inc(RAX);
    a.j(Condition.NOT_EQUAL, row);
    for (int v = 0; v < w; v++) a.vmovups(y.at(64 * v), zmm(v));
  }
}
