package org.llmcore.cpu;

import org.llmcore.cpu.AttentionCpu.Call;
import org.llmcore.cpu.AttentionCpu.Span;
import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Label;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Routines;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// Attention's forward pass and decoding for bf16 where a processor multiplies pairs of bf16 (`vdpbf16ps`), at twice the rate of f32: eight rows at a time, or one
/// by one where there are no more than two. A single query brings all heads of its key/value head as rows.
///
/// | product | pairs of   | the operand at rest                    | the coefficient      |
/// |---------|------------|----------------------------------------|----------------------|
/// | s = q·kᵀ| dimensions | panels of 16 keys, a word a pair       | a word of q          |
/// | o = p·v | keys       | rows of two values, a word a dimension | a word of a row of p |
///
/// Sums are f32, two for a score and one for a result; p is rounded to bf16 before it is multiplied, Σp is of what was not rounded yet. Keys that a row does not see have a
/// p of 0. A row has the same bits whichever rows are beside it, so for every number of workers, and decoded as in a forward pass.
///
/// | register        | use                            |
/// |-----------------|--------------------------------|
/// | RDI             | the frame                      |
/// | RBX             | bytes of a row of scores       |
/// | RBP R9          | rows left, those of this turn  |
/// | R12 R8          | keys the first and last row see|
/// | R13 R14 R15     | scores, queries, statistics    |
/// | k7              | lanes of the last words of q   |
final class AttentionPairs {
  private static final int MANY = 8; // rows of a turn
  private static final int SHARED = 4; // heads from which a single query pays for packing their keys and values
  private static final int SUMS = 24; // registers for sums of a turn's results

  private static final int Q = 0;
  private static final int Q_PITCH = 8; // bytes
  private static final int OUT = 16; // f32 rows of w vectors
  private static final int PANELS = 24;
  private static final int VALUES = 32;
  private static final int S = 40;
  private static final int S_PITCH = 48; // bytes
  private static final int QUERIES = 56; // the turn's rows of q, padded
  private static final int STATS = 64; // four f32 a row: max, Σp, 1/Σp
  private static final int SCALE = 72; // bits of an f32
  private static final int WORDS = 80; // of a row of q
  private static final int VISIBLE = 88; // keys that the first row sees
  private static final int GROWTH = 96; // and how many more every further one
  private static final int ROWS = 104;
  private static final int FRAME = 112;

  private static final Gpr[] SAVED = {RBX, RBP, R12, R13, R14, R15};
  private static final Routines FORWARD = new Routines(2 * (AttentionCode.WIDEST + 1), v -> new AttentionPairs(v / 2, v % 2 == 0 ? MANY : 1).forward());

  private final Loop c = new Loop();
  private final Assembler a = c.a;
  private final int w; // vectors of a head
  private final int words; // vectors of words of a head
  private final int rows; // of a turn

  private AttentionPairs(int w, int rows) {
    this.w = w;
    this.rows = rows;
    words = (w + 1) / 2;
  }

  static boolean takes(Lanes lanes, Call call) {
    return lanes.pairs() && call.bf16() && call.d() <= 16 * AttentionCode.WIDEST;
  }

  /// One span and one key/value head.
  static void run(Call call, Span span, int group, Scratch scratch) {
    if (span.rows() == 1 && call.group() < SHARED && (span.blocks() == 0 || call.slots() % 2 == 0)) single(call, span, group, scratch);
    else staged(call, span, group, scratch);
  }

  /// One query, head by head.
  private static void single(Call call, Span span, int group, Scratch scratch) {
    int d = call.d();
    int n = span.visible();
    long words = AttentionTiles.padded(d / 2);
    var pages = AttentionCpu.pages(call, span, group, scratch);
    long q = scratch.floats(call.group() * words);
    long o = scratch.floats(AttentionTiles.padded(d));
    long p = scratch.floats(AttentionTiles.padded(n));
    long stats = scratch.floats(4);
    long first = (long) span.row() * call.heads() + (long) group * call.group();
    AttentionCode.paddedWords(q, RowCode.at(call.q(), first * d), 2L * d, call.group(), d / 2);
    for (int h = 0; h < call.group(); h++) {
      AttentionSingleCode.attendInPairs(q + 4 * h * words, o, pages, n, call.scale(), d, p, stats);
      RowCode.convert(RowCode.at(call.o(), (first + h) * d), DType.BF16, false, o, DType.F32, d);
      call.lse(first + h, 1, 1, stats);
    }
  }

  private static void staged(Call call, Span span, int group, Scratch scratch) {
    int d = call.d();
    int n = span.keys();
    int width = AttentionTiles.padded(d);
    int stride = AttentionTiles.padded(n) + 16; // not a power of two: rows would share cache sets
    var at = AttentionCpu.together(call, span, group, scratch);
    long panels = scratch.floats(AttentionBackwardPairsCode.panelFloats(n, d));
    long values = scratch.floats((n + 1L) / 2 * width);
    AttentionBackwardPairsCode.panels(panels, at.keys(), at.pitch(), n, d);
    AttentionBackwardPairsCode.rows(values, at.values(), at.pitch(), n, d);
    int most = Math.max(span.rows(), call.group());
    long out = scratch.floats((long) most * width);
    long stats = scratch.floats(4L * most);
    var frame = Job.ofBytes(FRAME);
    frame.set(OUT, out);
    frame.set(PANELS, panels);
    frame.set(VALUES, values);
    frame.set(S, scratch.floats((long) MANY * stride));
    frame.set(S_PITCH, 4L * stride);
    frame.set(QUERIES, scratch.floats((long) MANY * width));
    frame.set(STATS, stats);
    frame.set(SCALE, Float.floatToRawIntBits(call.scale()));
    frame.set(WORDS, d / 2);
    long job = scratch.floats(FRAME / 4);
    AttentionCpu.blocks(call, span, group, span.rows(), (row, step, count, visible, growth) -> {
      frame.set(Q, RowCode.at(call.q(), row * d));
      frame.set(Q_PITCH, 2L * step * d);
      frame.set(VISIBLE, visible);
      frame.set(GROWTH, growth);
      frame.set(ROWS, count);
      FORWARD.get(width / 16 * 2 + (count > 2 ? 0 : 1)).run(frame.at(job));
      AttentionCode.spread(call.o(), false, row * d, (long) step * d, out, count, d);
      call.lse(row, step, count, stats);
    });
  }

  private Assembler forward() {
    a.push(SAVED);
    a.mov(R11, RDI.at(WORDS));
    a.sub(R11, 16 * (words - 1));
    c.mask(7, R11);
    a.mov(RBX, RDI.at(S_PITCH));
    a.mov(RBP, RDI.at(ROWS));
    a.mov(R12, RDI.at(VISIBLE));
    a.mov(R13, RDI.at(S));
    a.mov(R14, RDI.at(QUERIES));
    a.mov(R15, RDI.at(STATS));
    var turn = a.here();
    a.mov(R9, rows);
    a.cmp(R9, RBP);
    a.cmov(Condition.GREATER, R9, RBP);
    a.mov(R8, R9);
    a.dec(R8);
    a.mov(RAX, RDI.at(GROWTH));
    a.imul(R8, RAX);
    a.add(R8, R12);
    stage();
    scores();
    softmax();
    int parts = Math.ceilDiv(w * rows, SUMS);
    for (int i = 0; i < parts; i++) results(w * i / parts, w * (i + 1) / parts - w * i / parts);
    a.mov(RAX, RDI.at(OUT));
    a.add(RAX, 64 * w * rows);
    a.mov(RDI.at(OUT), RAX);
    a.add(R15, 16 * rows);
    a.mov(RAX, RDI.at(GROWTH));
    a.imul(RAX, R9);
    a.add(R12, RAX);
    a.sub(RBP, rows);
    a.j(Condition.GREATER, turn);
    a.pop(SAVED);
    return c.end();
  }

  /// The turn's rows of q, padded with zeros; rows that do not exist repeat the last.
  private void stage() {
    a.mov(RSI, RDI.at(Q));
    for (int r = 0; r < rows; r++) {
      for (int v = 0; v < words; v++) {
        a.vmovups(v == words - 1 ? zmm(0).zero(7) : zmm(0), RSI.at(64 * v));
        a.vmovups(R14.at(64 * (r * words + v)), zmm(0));
      }
      a.mov(RAX, RSI);
      a.add(RAX, RDI.at(Q_PITCH));
      a.cmp(RBP, r + 1);
      a.cmov(Condition.GREATER, RSI, RAX);
    }
    a.mov(RDI.at(Q), RSI);
  }

  /// scale · q·kᵀ for every key that a row of the turn sees.
  private void scores() {
    a.vbroadcastss(zmm(31), RDI.at(SCALE));
    a.mov(R10, RDI.at(PANELS));
    a.mov(R11, R13);
    a.lea(RSI, R13.at(RBX, 4, 0));
    a.lea(RAX, RBX.at(RBX, 2, 0));
    a.mov(RCX, R8);
    var panel = a.here();
    AttentionBackwardPairsCode.dots(a, w, rows, 0);
    for (int r = 0; r < rows; r++) {
      a.vmulps(zmm(r), zmm(r), zmm(31));
      a.vmovups(AttentionTile.row(r < 4 ? R11 : RSI, r % 4), zmm(r));
    }
    a.add(R10, 1024 * words);
    a.add(R11, 64);
    a.add(RSI, 64);
    a.sub(RCX, 16);
    a.j(Condition.GREATER, panel);
  }

  /// p in bf16 from the front of every row of scores, with zeros for keys it does not see, up to a whole pair.
  private void softmax() {
    var exp = new ExpCode(c);
    var one = c.all(1f);
    c.narrows(DType.BF16);
    a.mov(RSI, R13);
    a.mov(RCX, R12);
    a.mov(RDX, R9);
    var row = a.here();
    AttentionCode.softmaxOfRow(c, exp, RSI, RCX, one, DType.BF16);
    a.lea(RAX, R8.at(1));
    a.and(RAX, -2);
    a.sub(RAX, RCX); // eight at most
    c.mask(1, RAX);
    a.lea(R11, RSI.at(RCX, 2, 0));
    a.vpxord(zmm(0), zmm(0), zmm(0));
    a.vpmovdw(R11.at(0), zmm(0).keep(1));
    a.add(R15, 16);
    a.add(RSI, RBX);
    a.add(RCX, RDI.at(GROWTH));
    a.dec(RDX);
    a.j(Condition.NOT_EQUAL, row);
    a.mov(RAX, R9);
    a.shl(RAX, 4);
    a.sub(R15, RAX);
  }

  /// Vectors [first, first+count) of the results: Σ over pairs of keys, divided by Σp.
  private void results(int first, int count) {
    a.mov(R10, R13);
    a.mov(R11, RDI.at(VALUES));
    if (first > 0) a.add(R11, 64 * first);
    a.mov(RCX, R8);
    AttentionBackwardPairsCode.sums(a, w, rows, count);
    var done = new Label();
    a.mov(RSI, RDI.at(OUT));
    for (int r = 0; r < rows; r++) {
      a.vbroadcastss(zmm(31), R15.at(16 * r + 8));
      for (int i = 0; i < count; i++) {
        a.vmulps(zmm(r * count + i), zmm(r * count + i), zmm(31));
        a.vmovups(RSI.at(64 * (r * w + first + i)), zmm(r * count + i));
      }
      a.cmp(R9, r + 1);
      a.j(Condition.LESS_OR_EQUAL, done);
    }
    a.bind(done);
  }
}
