package org.llmcore.cpu;

import java.util.stream.Stream;

import org.llmcore.cpu.AmxCode.Before;
import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routine;
import org.llmcore.op.Attention;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.AttentionBackwardCode.DELTA;
import static org.llmcore.cpu.AttentionBackwardCode.SCALE_FACTOR;
import static org.llmcore.cpu.AttentionBackwardCode.SHIFT;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// Attention's backward pass for bf16 on AMX tiles: one sequence and one key/value head, 128 queries at a time, all keys that any of them sees at once.
/// What lies in scratch between two of these steps stays in a second-level cache:
///
/// | step                       | a                 | b                    | y                                  |
/// |----------------------------|-------------------|----------------------|------------------------------------|
/// | s = q·kᵀ, dp = do·vᵀ       | rows of q, of do  | keys, values, turned | f32 rows of queries                |
/// | p = exp(scale·s − lse), ds = scale·p∘(dp − do·o) | |                    | bf16, where s and dp lay           |
/// | dv += pᵀ·do, dk += dsᵀ·q   | p, ds, turned     | do, q                | sums that start from what was there |
/// | dq = ds·k                  | rows of ds        | keys                 | f32 rows of queries                |
///
/// Sums are f32; p and ds are rounded to bf16 before they are multiplied. Keys that a query does not see have a p and a ds of 0. The same bits for every number of
/// workers: a task owns its rows of dq, dk and dv.
final class AttentionBackwardAmx {
  private static final int QUERIES = 128;

  // The frame of `scores`: fields of 64 bits.
  private static final int S = 0;
  private static final int DP = 8;
  private static final int S_PITCH = 16; // bytes
  private static final int DOUT = 24;
  private static final int O = 32;
  private static final int PITCH = 40; // bytes between rows of do and of o
  private static final int LSE = 48;
  private static final int LSE_PITCH = 56; // bytes
  private static final int SCALE = 64; // bits of an f32
  private static final int DIMENSIONS = 72;
  private static final int VISIBLE = 80; // keys that the first query sees
  private static final int GROWTH = 88; // and how many more every further one
  private static final int SEEN = 96; // keys of a row
  private static final int ROWS = 104;
  private static final int FRAME = 112;

  private static final class Code {
    static final Routine SCORES = new Routine(scores());
  }

  private final Attention.Backward k;
  private final int start;
  private final int n;
  private final int d;
  private final int width; // floats of a row of sums
  private final int stride; // floats of a row of s
  private final long row; // bytes between rows of q, do, o
  private final long keyRow; // of k and v
  private final long turnedKeys;
  private final long turnedValues;
  private final long keys;
  private final long dk;
  private final long dv;
  private final long dq;
  private final long s;
  private final long dp;
  private final long queries; // panels of q or do, or of ds
  private final long turned; // panels of p or ds
  private final long right; // panels of q or do as a right operand
  private final long sums;
  private final long at;

  private AttentionBackwardAmx(Attention.Backward k, int start, int end, Scratch scratch) {
    this.k = k;
    this.start = start;
    n = end - start;
    d = k.q().dim(2);
    width = AttentionTiles.padded(d);
    stride = AttentionTiles.padded(n) + 16; // not a power of two: rows would share cache sets
    row = 2L * k.q().dim(1) * d;
    keyRow = 2L * k.k().dim(1) * d;
    int m = Math.min(QUERIES, n);
    turnedKeys = scratch.floats(AmxCode.floats(n, d));
    turnedValues = scratch.floats(AmxCode.floats(n, d));
    keys = scratch.floats(AmxCode.floats(d, n));
    dk = scratch.floats((long) n * width);
    dv = scratch.floats((long) n * width);
    dq = scratch.floats((long) m * width);
    s = scratch.floats((long) m * stride);
    dp = scratch.floats((long) m * stride);
    queries = scratch.floats(AmxCode.floats(m, Math.max(n, d)));
    turned = scratch.floats(AmxCode.floats(n, m));
    right = scratch.floats(AmxCode.floats(d, m));
    sums = scratch.floats(AmxCode.sums(n));
    at = scratch.floats(Math.max(AmxCode.FLOATS, FRAME / 4));
  }

  /// Whether all is bf16, in heads of an even number of columns.
  static boolean takes(Lanes lanes, Attention.Backward k) {
    return lanes.tiles() && k.q().dim(2) % 2 == 0 && Stream.of(k.q(), k.k(), k.v(), k.o(), k.dout()).allMatch(t -> t.dtype() == DType.BF16);
  }

  /// One sequence and one key/value head.
  static void run(Attention.Backward k, int start, int end, int group, Scratch scratch) {
    if (end > start) new AttentionBackwardAmx(k, start, end, scratch).run(group);
  }

  private void run(int group) {
    long key = (long) start * keyRow / 2 + (long) group * d; // element
    long k0 = RowCode.at(k.k(), key);
    AmxCode.turnedColumns(k0, keyRow, n, d, turnedKeys, at);
    AmxCode.turnedColumns(RowCode.at(k.v(), key), keyRow, n, d, turnedValues, at);
    AmxCode.columns(k0, keyRow, d, n, keys, at);
    RowCode.fill(dk, 0, (long) n * width);
    RowCode.fill(dv, 0, (long) n * width);
    int heads = k.q().dim(1) / k.k().dim(1);
    for (int h = group * heads; h < (group + 1) * heads; h++) {
      for (int t = 0; t < n; t += QUERIES) block(h, t, Math.min(QUERIES, n - t));
    }
    if (k.dk().wanted()) AttentionCode.spread(k.dk().tensor(), k.dk().add(), key, keyRow / 2, dk, n, d);
    if (k.dv().wanted()) AttentionCode.spread(k.dv().tensor(), k.dv().add(), key, keyRow / 2, dv, n, d);
  }

  private void block(int head, int t, int m) {
    int seen = k.causal() ? t + m : n;
    long first = ((long) (start + t) * k.q().dim(1) + head) * d; // element
    long q = RowCode.at(k.q(), first);
    long dout = RowCode.at(k.dout(), first);
    long pitch = 4L * stride;
    AmxCode.rows(q, row, m, d, queries, at);
    AmxCode.multiply(queries, turnedKeys, AmxCode.bytes(d), m, seen, d, 1, Before.NOTHING, s, pitch, sums, at);
    AmxCode.rows(dout, row, m, d, queries, at);
    AmxCode.multiply(queries, turnedValues, AmxCode.bytes(d), m, seen, d, 1, Before.NOTHING, dp, pitch, sums, at);
    scores(head, t, m, seen, dout, RowCode.at(k.o(), first));
    if (k.dv().wanted()) gradient(s, dout, m, seen, dv);
    if (k.dk().wanted()) gradient(dp, q, m, seen, dk);
    if (!k.dq().wanted()) return;
    AmxCode.rows(dp, pitch, m, seen, queries, at);
    AmxCode.multiply(queries, keys, AmxCode.bytes(n), m, d, seen, 1, Before.NOTHING, dq, 4L * width, sums, at);
    AttentionCode.spread(k.dq().tensor(), k.dq().add(), first, row / 2, dq, m, d);
  }

  /// y (seen, d) += cᵀ·x for bf16 rows c (m, seen) in place of f32, and x (m, d).
  private void gradient(long c, long x, int m, int seen, long y) {
    AmxCode.turnedRows(c, 4L * stride, seen, m, turned, at);
    AmxCode.columns(x, row, d, m, right, at);
    AmxCode.multiply(turned, right, AmxCode.bytes(m), seen, d, m, 1, Before.START, y, 4L * width, sums, at);
  }

  private void scores(int head, int t, int m, int seen, long dout, long o) {
    var frame = Job.ofBytes(FRAME);
    frame.set(S, s);
    frame.set(DP, dp);
    frame.set(S_PITCH, 4L * stride);
    frame.set(DOUT, dout);
    frame.set(O, o);
    frame.set(PITCH, row);
    frame.set(LSE, RowCode.at(k.lse(), (long) (start + t) * k.q().dim(1) + head));
    frame.set(LSE_PITCH, 4L * k.q().dim(1));
    frame.set(SCALE, Float.floatToRawIntBits(k.scale()));
    frame.set(DIMENSIONS, d);
    frame.set(VISIBLE, k.causal() ? t + 1 : n);
    frame.set(GROWTH, k.causal() ? 1 : 0);
    frame.set(SEEN, seen);
    frame.set(ROWS, m);
    Code.SCORES.run(frame.at(at));
  }

  /// p over s and ds over dp, in bf16 from the front of every row.
  private static Assembler scores() {
    var c = new Loop();
    var a = c.a;
    a.push(RBX, RBP, R12, R13);
    var exp = new ExpCode(c);
    c.narrows(DType.BF16);
    var sign = c.bits(0x8000_0000);
    a.vbroadcastss(SCALE_FACTOR, RDI.at(SCALE));
    a.mov(RSI, RDI.at(S));
    a.mov(R8, RDI.at(DP));
    a.mov(RDX, RDI.at(DOUT));
    a.mov(RCX, RDI.at(O));
    a.mov(R9, RDI.at(LSE));
    a.mov(R12, RDI.at(DIMENSIONS));
    a.mov(RBX, RDI.at(VISIBLE));
    var row = a.here();
    a.vpxord(zmm(0), zmm(0), zmm(0));
    c.begin(R12);
    do {
      c.load(zmm(1), RDX, DType.BF16);
      c.load(zmm(2), RCX, DType.BF16);
      a.vfmadd231ps(c.kept(zmm(0)), zmm(1), zmm(2));
    } while (c.again());
    c.total(zmm(0), zmm(1));
    a.vbroadcastss(DELTA, zmm(0));
    a.vbroadcastss(SHIFT, R9.at(0));
    a.vpxord(SHIFT, SHIFT, sign);
    AttentionBackwardCode.scoresOfRow(c, exp, DType.BF16, RBX);
    // keys that this query does not see
    a.mov(R13, RDI.at(SEEN));
    a.sub(R13, RBX);
    a.lea(RSI, RSI.at(RBX, 2, 0));
    a.lea(R8, R8.at(RBX, 2, 0));
    a.vpxord(zmm(0), zmm(0), zmm(0));
    c.begin(R13);
    do {
      c.store(RSI, DType.BF16, false, zmm(0), zmm(4));
      c.store(R8, DType.BF16, false, zmm(0), zmm(4));
    } while (c.again());
    a.mov(RSI, RDI.at(S));
    a.mov(R8, RDI.at(DP));
    a.add(RSI, RDI.at(S_PITCH));
    a.add(R8, RDI.at(S_PITCH));
    a.mov(RDI.at(S), RSI);
    a.mov(RDI.at(DP), R8);
    a.add(RDX, RDI.at(PITCH));
    a.add(RCX, RDI.at(PITCH));
    a.add(R9, RDI.at(LSE_PITCH));
    a.add(RBX, RDI.at(GROWTH));
    a.mov(RBP, RDI.at(ROWS));
    a.dec(RBP);
    a.mov(RDI.at(ROWS), RBP);
    a.j(Condition.NOT_EQUAL, row);
    a.vzeroupper();
    a.pop(RBX, RBP, R12, R13);
    a.ret();
    return a;
  }
}
