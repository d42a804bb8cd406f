package org.llmcore.cpu;

import org.llmcore.cpu.AmxCode.Before;
import org.llmcore.cpu.AttentionCpu.Call;
import org.llmcore.cpu.AttentionCpu.Span;
import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routine;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// Attention's forward pass and decoding for bf16 on AMX tiles: the queries of a span and one key/value head share packed keys and values, 128 queries at a time see all
/// their keys at once; a single query brings all its heads instead. What lies in scratch between two of these steps stays in a second-level cache:
///
/// | step                      | a         | b            | y                                  |
/// |---------------------------|-----------|--------------|------------------------------------|
/// | s = scale·q·kᵀ            | rows of q | keys, turned | f32 rows of queries                |
/// | p = exp(s − max), Σp      |           |              | bf16, where s lay; statistics      |
/// | o = p·v / Σp              | rows of p | values       | f32 rows of queries, o as bf16     |
///
/// Sums are f32, Σp of what was not rounded yet; p is rounded to bf16 before it is multiplied. A row has the same bits whichever rows it shares tiles with, so for every
/// number of workers, and decoded as in a forward pass.
final class AttentionForwardAmx {
  /// Queries of a span: packing keys for 128 alone would take about as long as their products.
  static final int SPAN = 512;

  private static final int QUERIES = 128;

  // The frame of `softmax`: fields of 64 bits.
  private static final int S = 0;
  private static final int S_PITCH = 8; // bytes
  private static final int STATS = 16; // four f32 a row: max, Σp, 1/Σp
  private static final int VISIBLE = 24; // keys that the first query sees
  private static final int GROWTH = 32; // and how many more every further one
  private static final int SEEN = 40; // keys of a row
  private static final int ROWS = 48;
  private static final int FRAME = 56;

  private static final class Code {
    static final Routine SOFTMAX = new Routine(softmax());
    static final Routine RESULTS = new Routine(results());
  }

  private final Call call;
  private final Span span;
  private final int d;
  private final int n; // keys
  private final int width; // floats of a row of sums
  private final int stride; // floats of a row of s
  private final Scratch scratch;
  private final long keys;
  private final long values;
  private final long s;
  private final long out;
  private final long left; // panels of q or p
  private final long sums;
  private final long stats;
  private final long at;

  private AttentionForwardAmx(Call call, Span span, Scratch scratch) {
    this.call = call;
    this.span = span;
    this.scratch = scratch;
    d = call.d();
    n = span.keys();
    width = AttentionTiles.padded(d);
    stride = AttentionTiles.padded(n) + 16; // not a power of two: rows would share cache sets
    int m = span.rows() == 1 ? call.group() : Math.min(QUERIES, span.rows());
    keys = scratch.floats(AmxCode.floats(n, d));
    values = scratch.floats(AmxCode.floats(d, n));
    s = scratch.floats((long) m * stride);
    out = scratch.floats((long) m * width);
    left = scratch.floats(AmxCode.floats(m, Math.max(n, d)));
    sums = scratch.floats(AmxCode.sums(m));
    stats = scratch.floats(4L * m);
    at = scratch.floats(Math.max(AmxCode.FLOATS, FRAME / 4));
  }

  static boolean takes(Lanes lanes, Call call) {
    return lanes.tiles() && call.bf16();
  }

  /// One span and one key/value head.
  static void run(Call call, Span span, int group, Scratch scratch) {
    new AttentionForwardAmx(call, span, scratch).run(group);
  }

  private void run(int group) {
    var rows = AttentionCpu.together(call, span, group, scratch);
    AmxCode.turnedColumns(rows.keys(), rows.pitch(), n, d, keys, at);
    AmxCode.columns(rows.values(), rows.pitch(), d, n, values, at);
    AttentionCpu.blocks(call, span, group, QUERIES, this::block);
  }

  /// m rows of heads, `step` apart in q and o: the first sees `visible` keys, each further one `growth` more.
  private void block(long row, int step, int m, int visible, int growth) {
    int seen = visible + (m - 1) * growth;
    long q = RowCode.at(call.q(), row * d);
    long between = 2L * step * d;
    AmxCode.rows(q, between, m, d, left, at);
    AmxCode.multiply(left, keys, AmxCode.bytes(d), m, seen, d, call.scale(), Before.NOTHING, s, 4L * stride, sums, at);
    softmax(m, visible, growth);
    AmxCode.rows(s, 4L * stride, m, seen, left, at);
    AmxCode.multiply(left, values, AmxCode.bytes(n), m, d, seen, 1, Before.NOTHING, out, 4L * width, sums, at);
    Code.RESULTS.run(RowCode.at(call.o(), row * d), between, out, 4L * width, stats, m, d);
    call.lse(row, step, m, stats);
  }

  private void softmax(int m, int visible, int growth) {
    var frame = Job.ofBytes(FRAME);
    frame.set(S, s);
    frame.set(S_PITCH, 4L * stride);
    frame.set(STATS, stats);
    frame.set(VISIBLE, visible);
    frame.set(GROWTH, growth);
    frame.set(SEEN, visible + (m - 1) * growth);
    frame.set(ROWS, m);
    Code.SOFTMAX.run(frame.at(at));
  }

  /// p over s, in bf16 from the front of every row.
  private static Assembler softmax() {
    var c = new Loop();
    var a = c.a;
    a.push(R15);
    var exp = new ExpCode(c);
    var one = c.all(1f);
    c.narrows(DType.BF16);
    a.mov(RSI, RDI.at(S));
    a.mov(R15, RDI.at(STATS));
    a.mov(RCX, RDI.at(VISIBLE));
    a.mov(RDX, RDI.at(ROWS));
    var row = a.here();
    AttentionCode.softmaxOfRow(c, exp, RSI, RCX, one, DType.BF16);
    // keys that this query does not see
    a.mov(R8, RDI.at(SEEN));
    a.sub(R8, RCX);
    a.lea(R9, RSI.at(RCX, 2, 0));
    a.vpxord(zmm(0), zmm(0), zmm(0));
    c.begin(R8);
    do c.store(R9, DType.BF16, false, zmm(0), zmm(4)); while (c.again());
    a.add(RSI, RDI.at(S_PITCH));
    a.add(R15, 16);
    a.add(RCX, RDI.at(GROWTH));
    a.dec(RDX);
    a.j(Condition.NOT_EQUAL, row);
    a.pop(R15);
    return c.end();
  }

  /// Rows of o (RDI, RSI bytes apart) in bf16 from f32 sums (RDX, RCX bytes apart) times 1/Σp of the statistics (R8); R9 of them.
  private static Assembler results() {
    var c = new Loop();
    var a = c.a;
    a.push(RBX);
    c.narrows(DType.BF16);
    a.mov(RBX, Routine.argument(6, 1));
    var row = a.here();
    a.vbroadcastss(zmm(2), R8.at(8));
    c.begin(RBX);
    do {
      c.load(zmm(0), RDX, DType.F32);
      a.vmulps(zmm(0), zmm(0), zmm(2));
      c.store(RDI, DType.BF16, false, zmm(0), zmm(1));
    } while (c.again());
    a.add(RDI, RSI);
    a.add(RDX, RCX);
    a.add(R8, 16);
    a.dec(R9);
    a.j(Condition.NOT_EQUAL, row);
    a.pop(RBX);
    return c.end();
  }
}
