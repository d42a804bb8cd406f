package org.llmcore.cpu;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

import org.llmcore.op.Attention;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// `Attention` on the CPU: exact softmax over a scratch row of scores, two passes. Forward and decode are one code, split by
/// (block of queries of a sequence, key/value head), so a decoded row has the bits of the same row in a forward pass.
///
/// Keys (transposed) and values of one head are staged in scratch once per block of queries and reused by every query head of
/// the group. A single new query instead takes its dot products row by row, in the same order of sums.
final class AttentionCpu {
  /// Queries of a block: staging keys and values costs about 1/128 of the products.
  private static final int BLOCK = 128;

  private AttentionCpu() {}

  /// Queries, results and keys of a call; `lse` is 0 where nobody wants it, `slots` is the length of a page.
  record Call(Tensor o, long lse, Tensor q, Tensor keys, Tensor values, float scale, int slots) {
    int heads() {
      return q.dim(1);
    }

    int kvHeads() {
      return keys.dim(-2);
    }

    /// Query heads of a key/value head.
    int group() {
      return heads() / kvHeads();
    }

    int d() {
      return q.dim(2);
    }

    /// Whether all is bf16, in heads of an even number of columns.
    boolean bf16() {
      return d() % 2 == 0 && Stream.of(q, keys, values, o).allMatch(t -> t.dtype() == DType.BF16);
    }

    /// Writes max + log Σ of `count` rows of heads, `step` apart, where machine code left `stats`, four floats a row: the largest score, the sum of exponentials and 1/sum.
    void lse(long row, int step, int count, long stats) {
      if (lse != 0) LogCode.lse(lse + 4 * row, 4L * step, stats, count);
    }
  }

  /// Query rows [row, row+rows) of one sequence. The first sees `visible` keys, each further one `growth` more. Key u is row
  /// `base + u` of the keys, or found through the block table at address `blocks` if that is not 0.
  record Span(int row, int rows, int visible, int growth, int base, long blocks) {
    int keys() {
      return visible + (rows - 1) * growth;
    }

    int visible(int i) {
      return visible + i * growth;
    }

    long key(int u, int slots) {
      return blocks == 0 ? base + u : (long) Memory.i32(blocks + 4L * (u / slots)) * slots + u % slots;
    }
  }

  static void run(Lanes lanes, Workers workers, Attention kernel) {
    switch (kernel) {
      case Attention.Forward k -> {
        var call = new Call(k.o(), k.lse().address(), k.q(), k.k(), k.v(), k.scale(), 1);
        attend(lanes, workers, call, spans(k, block(lanes, call)));
      }
      case Attention.Backward k -> AttentionBackwardCpu.run(lanes, workers, k);
      case Attention.Store k -> store(lanes, workers, k);
      case Attention.Decode k -> {
        var call = new Call(k.o(), 0, k.q(), k.keys(), k.values(), k.scale(), k.keys().dim(1));
        attend(lanes, workers, call, spans(k, block(lanes, call)));
      }
    }
  }

  /// bf16 rows of the keys and values of a head, `pitch` bytes apart.
  record Rows16(long keys, long values, long pitch) {}

  /// Where the keys and values of a span lie, or copies of them, for those of a cache come page by page.
  static Rows16 together(Call call, Span span, int group, Scratch scratch) {
    int d = call.d();
    long pitch = 2L * call.kvHeads() * d;
    if (span.blocks() == 0) {
      long key = ((long) span.base * call.kvHeads() + group) * d;
      return new Rows16(RowCode.at(call.keys, key), RowCode.at(call.values, key), pitch);
    }
    int n = span.keys();
    long keys = scratch.floats((n * (long) d + 1) / 2);
    long values = scratch.floats((n * (long) d + 1) / 2);
    for (int u = 0; u < n; u += call.slots) {
      long key = (span.key(u, call.slots) * call.kvHeads() + group) * d;
      int count = Math.min(call.slots, n - u);
      RowCode.convert(keys + 2L * u * d, 2L * d, DType.BF16, false, RowCode.at(call.keys, key), pitch, DType.BF16, count, d);
      RowCode.convert(values + 2L * u * d, 2L * d, DType.BF16, false, RowCode.at(call.values, key), pitch, DType.BF16, count, d);
    }
    return new Rows16(keys, values, 2L * d);
  }

  /// Rows of heads, `step` apart in q and o: the first sees `visible` keys, each further one `growth` more.
  interface Body {
    void attend(long row, int step, int count, int visible, int growth);
  }

  /// The rows of a span and a key/value head, up to `most` of a query head at a time; a single query brings all its heads.
  static void blocks(Call call, Span span, int group, int most, Body body) {
    int first = group * call.group();
    if (span.rows == 1) {
      body.attend((long) span.row * call.heads() + first, 1, call.group(), span.visible, 0);
      return;
    }
    for (int h = first; h < first + call.group(); h++) {
      for (int i = 0; i < span.rows; i += most) {
        body.attend((long) (span.row + i) * call.heads() + h, call.heads(), Math.min(most, span.rows - i), span.visible(i), span.growth);
      }
    }
  }

  private static int block(Lanes lanes, Call call) {
    return AttentionForwardAmx.takes(lanes, call) ? AttentionForwardAmx.SPAN : BLOCK;
  }

  /// The boundaries of the sequences, checked.
  static int[] starts(Tensor starts, int rows) {
    int[] s = starts.toInts();
    boolean fits = s[0] == 0 && s[s.length - 1] == rows;
    for (int i = 1; i < s.length; i++) fits &= s[i] >= s[i - 1];
    if (!fits) {
      throw new IllegalArgumentException(
          "Attention starts %s do not ascend from 0 to the %d rows of q".formatted(java.util.Arrays.toString(s), rows));
    }
    return s;
  }

  private static List<Span> spans(Attention.Forward k, int block) {
    int[] starts = starts(k.starts(), k.q().dim(0));
    var spans = new ArrayList<Span>();
    for (int s = 0; s + 1 < starts.length; s++) {
      int length = starts[s + 1] - starts[s];
      for (int t = 0; t < length; t += block) {
        spans.add(new Span(starts[s] + t, Math.min(block, length - t), k.causal() ? t + 1 : length, k.causal() ? 1 : 0,
            starts[s], 0));
      }
    }
    return spans;
  }

  private static List<Span> spans(Attention.Decode k, int block) {
    int[] starts = starts(k.starts(), k.q().dim(0));
    int[] lengths = k.lengths().toInts();
    int[] blocks = k.blocks().toInts();
    int perSequence = k.blocks().dim(1);
    int slots = k.keys().dim(1);
    var spans = new ArrayList<Span>();
    for (int s = 0; s < lengths.length; s++) {
      int queries = starts[s + 1] - starts[s];
      if (lengths[s] < queries || lengths[s] > (long) perSequence * slots) {
        throw new IllegalArgumentException(
            "Attention.Decode sequence %d has length %d, expected at least its %d queries and at most %d blocks of %d slots"
                .formatted(s, lengths[s], queries, perSequence, slots));
      }
      for (int b = 0; b * slots < lengths[s]; b++) {
        int page = blocks[s * perSequence + b];
        if (page < 0 || page >= k.keys().dim(0)) {
          throw new IllegalArgumentException(
              "Attention.Decode sequence %d block %d is page %d of %d".formatted(s, b, page, k.keys().dim(0)));
        }
      }
      for (int t = 0; t < queries; t += block) {
        int visible = lengths[s] - queries + t + 1;
        spans.add(new Span(starts[s] + t, Math.min(block, queries - t), visible, 1, 0,
            k.blocks().address() + 4L * s * perSequence));
      }
    }
    return spans;
  }

  private static void attend(Lanes lanes, Workers workers, Call call, List<Span> spans) {
    int groups = call.kvHeads();
    if (AttentionForwardAmx.takes(lanes, call)) {
      workers.run(spans.size() * groups, (task, s) -> AttentionForwardAmx.run(call, spans.get(task / groups), task % groups, s));
      return;
    }
    if (AttentionPairs.takes(lanes, call)) {
      workers.run(spans.size() * groups, (task, s) -> AttentionPairs.run(call, spans.get(task / groups), task % groups, s));
      return;
    }
    workers.run(
        spans.size() * groups,
        (task, s) -> {
          var span = spans.get(task / groups);
          boolean emitted = lanes.emitted() && AttentionCode.takes(call.q, call.keys, call.values);
          if (span.rows == 1 && emitted && call.keys.dtype() == call.values.dtype()) one(lanes, call, span, task % groups, s);
          else if (span.rows == 1) single(lanes, call, span, task % groups, s);
          else if (emitted) emitted(lanes, call, span, task % groups, s);
          else block(lanes, call, span, task % groups, s);
        });
  }

  private static void block(Lanes lanes, Call call, Span span, int group, Scratch scratch) {
    int d = call.d();
    int width = AttentionTiles.padded(d);
    int n = span.keys();
    int stride = AttentionTiles.padded(n) + 16; // not a power of two: columns would share cache sets
    long staging = scratch.floats(width);
    long kt = scratch.floats((long) width * stride);
    long v = scratch.floats((long) n * width);
    long q = scratch.floats(AttentionTiles.ROWS * width);
    long o = scratch.floats(AttentionTiles.ROWS * width);
    long p = scratch.floats((long) AttentionTiles.ROWS * stride);
    long partials = scratch.floats(Rows.PARTIALS);
    Rows.fill(lanes, kt, 0, width * stride);
    for (int u = 0; u < n; u++) {
      long from = (span.key(u, call.slots) * call.kvHeads() + group) * d;
      AttentionTiles.column(lanes, call.keys, from, d, stride, u, kt, staging);
      AttentionTiles.row(lanes, call.values, from, d, width, v + 4L * u * width, staging);
    }
    int heads = call.group();
    for (int h = group * heads; h < (group + 1) * heads; h++) {
      for (int i = 0; i < span.rows; i += AttentionTiles.ROWS) {
        int rows = Math.min(AttentionTiles.ROWS, span.rows - i);
        Rows.fill(lanes, q, 0, AttentionTiles.ROWS * width);
        Rows.fill(lanes, o, 0, AttentionTiles.ROWS * width);
        for (int r = 0; r < rows; r++) {
          AttentionTiles.row(lanes, call.q, ((long) (span.row + i + r) * call.heads() + h) * d, d, width, q + 4L * r * width,
              staging);
        }
        AttentionTiles.dots(lanes, p, q, kt, stride, width, rows, span.visible(i + rows - 1));
        int common = rows == AttentionTiles.ROWS ? span.visible(i) : 0;
        for (int r = 0; r < rows; r++) softmax(lanes, call, p + 4L * r * stride, span, i + r, h, partials);
        AttentionTiles.chain4(lanes, o, p, stride, 1, v, width, width, 0, common);
        for (int r = 0; r < rows; r++) {
          long row = o + 4L * r * width;
          AttentionTiles.chain(lanes, row, p + 4L * r * stride, 1, v, width, width, common, span.visible(i + r));
          finish(lanes, call, row, p + 4L * r * stride, span, i + r, h);
        }
      }
    }
  }

  /// A block through machine code.
  private static void emitted(Lanes lanes, Call call, Span span, int group, Scratch scratch) {
    int d = call.d();
    int width = AttentionTiles.padded(d);
    int n = span.keys();
    int stride = AttentionTiles.padded(n) + 16;
    int heads = call.group();
    long row = (long) call.heads() * d;
    long panels = scratch.floats(AttentionCode.panelFloats(n, width));
    long v = scratch.floats((long) n * width);
    long work = scratch.floats(AttentionCode.scratchFloats(width, stride));
    long stats = scratch.floats(4L * span.rows);
    stage(call, span, group, panels, v, scratch);
    boolean plainQ = call.q.dtype() == DType.F32;
    boolean plainO = call.o.dtype() == DType.F32;
    long stagedQ = scratch.floats(plainQ ? 0 : (long) span.rows * width);
    long stagedO = scratch.floats(plainO ? 0 : (long) span.rows * width);
    for (int h = group * heads; h < (group + 1) * heads; h++) {
      long first = span.row * row + (long) h * d;
      if (!plainQ) AttentionCode.padded(stagedQ, call.q, first, row, span.rows, d);
      AttentionCode.forward(
          plainQ ? RowCode.at(call.q, first) : stagedQ, plainQ ? row : width, plainO ? RowCode.at(call.o, first) : stagedO,
          plainO ? row : width, panels, v, span.rows, span.visible, span.growth, call.scale, d, stride, work, stats);
      if (!plainO) for (int i = 0; i < span.rows; i++) Rows.write(lanes, call.o, first + i * row, d, stagedO + 4L * i * width);
      call.lse((long) span.row * call.heads() + h, call.heads(), span.rows, stats);
    }
  }

  /// Keys of one head as panels and values as rows; those of a cache come page by page.
  private static void stage(Call call, Span span, int group, long panels, long v, Scratch scratch) {
    int d = call.d();
    int width = AttentionTiles.padded(d);
    int n = span.keys();
    long row = (long) call.kvHeads() * d;
    if (span.blocks == 0) {
      AttentionCode.panels(panels, call.keys, span.base * row + (long) group * d, row, n, d);
      AttentionCode.padded(v, call.values, span.base * row + (long) group * d, row, n, d);
      return;
    }
    long keys = scratch.floats((long) n * width);
    for (int u = 0; u < n; u += call.slots) {
      long from = span.key(u, call.slots) * row + (long) group * d;
      int count = Math.min(call.slots, n - u);
      AttentionCode.padded(keys + 4L * u * width, call.keys, from, row, count, d);
      AttentionCode.padded(v + 4L * u * width, call.values, from, row, count, d);
    }
    AttentionCode.panels(panels, DType.F32, keys, width, n, d);
  }

  /// One query: keys and values are used once per query head, so they are read where they lie, or staged row by row.
  private static void single(Lanes lanes, Call call, Span span, int group, Scratch scratch) {
    int d = call.d();
    int width = AttentionTiles.padded(d);
    int n = span.visible;
    int stride = AttentionTiles.padded(n) + 16;
    int heads = call.group();
    long staging = scratch.floats(width);
    long q = scratch.floats((long) heads * width);
    long o = scratch.floats((long) heads * width);
    long p = scratch.floats((long) heads * stride);
    long row = scratch.floats(width);
    long partials = scratch.floats(Rows.PARTIALS);
    Rows.fill(lanes, o, 0, heads * width);
    for (int h = 0; h < heads; h++) {
      AttentionTiles.row(lanes, call.q, ((long) span.row * call.heads() + group * heads + h) * d, d, width, q + 4L * h * width,
          staging);
    }
    for (int u = 0; u < n; u++) {
      long key = Rows.read(lanes, call.keys, (span.key(u, call.slots) * call.kvHeads() + group) * d, d, row);
      for (int h = 0; h < heads; h++) Memory.f32(p + 4L * (h * stride + u),
          Rows.dot(lanes, q + 4L * h * width, key, d, partials));
    }
    for (int h = 0; h < heads; h++) softmax(lanes, call, p + 4L * h * stride, span, 0, group * heads + h, partials);
    for (int u = 0; u < n; u++) {
      AttentionTiles.row(lanes, call.values, (span.key(u, call.slots) * call.kvHeads() + group) * d, d, width, row, staging);
      for (int h = 0; h < heads; h++) {
        AttentionTiles.chain(lanes, o + 4L * h * width, p + 4L * (h * stride + u), 1, row, width, width, 0, 1);
      }
    }
    for (int h = 0; h < heads; h++) finish(lanes, call, o + 4L * h * width, p + 4L * h * stride, span, 0, group * heads + h);
  }

  /// Keys and values of a head where they lie; those that are no cache are one page.
  static AttentionSingleCode.Pages pages(Call call, Span span, int group, Scratch scratch) {
    long contiguous = scratch.floats(1);
    Memory.i32(contiguous, 0);
    int bytes = call.keys.dtype().bytes();
    long head = (long) group * call.d() * bytes;
    long pitch = (long) call.kvHeads() * call.d() * bytes;
    boolean cache = span.blocks != 0;
    long first = cache ? head : span.base * pitch + head;
    return new AttentionSingleCode.Pages(
        call.keys.address() + first, call.values.address() + first, call.keys.dtype(), pitch, cache ? span.blocks : contiguous, cache ? call.slots : span.keys(),
        call.slots * pitch);
  }

  /// One query through machine code, head by head.
  private static void one(Lanes lanes, Call call, Span span, int group, Scratch scratch) {
    int d = call.d();
    int width = AttentionTiles.padded(d);
    int n = span.visible;
    int heads = call.group();
    long from = ((long) span.row * call.heads() + (long) group * heads) * d;
    long q = scratch.floats((long) heads * width);
    long o = scratch.floats(width);
    long p = scratch.floats(AttentionTiles.padded(n));
    long stats = scratch.floats(3);
    var pages = pages(call, span, group, scratch);
    AttentionCode.padded(q, call.q, from, d, heads, d);
    for (int h = 0; h < heads; h++) {
      boolean plain = call.o.dtype() == DType.F32;
      AttentionSingleCode.attend(
          q + 4L * h * width, plain ? RowCode.at(call.o, from + (long) h * d) : o, pages, n, call.scale, d, p, stats);
      if (!plain) Rows.write(lanes, call.o, from + (long) h * d, d, o);
      call.lse((long) span.row * call.heads() + group * heads + h, 1, 1, stats);
    }
  }

  /// Turns dot products into exponentials; their sum goes to the slot behind the last visible key.
  private static void softmax(Lanes lanes, Call call, long p, Span span, int i, int head, long partials) {
    int n = span.visible(i);
    Rows.scale(lanes, p, p, call.scale, n);
    float max = Rows.max(lanes, p, n);
    Rows.exp(lanes, p, p, 1, -max, n);
    float sum = Rows.sum(lanes, p, n, partials);
    Memory.f32(p + 4L * n, sum);
    if (call.lse != 0) Memory.f32(call.lse + 4L * ((long) (span.row + i) * call.heads() + head),
        max + Log.of(sum));
  }

  private static void finish(Lanes lanes, Call call, long o, long p, Span span, int i, int head) {
    Rows.scale(lanes, o, o, 1 / Memory.f32(p + 4L * span.visible(i)), call.d());
    Rows.write(lanes, call.o, ((long) (span.row + i) * call.heads() + head) * call.d(), call.d(), o);
  }

  private static void store(Lanes lanes, Workers workers, Attention.Store k) {
    int[] slots = k.slots().toInts();
    int capacity = k.pages().dim(0) * k.pages().dim(1);
    for (int r = 0; r < slots.length; r++) {
      if (slots[r] < 0 || slots[r] >= capacity) {
        throw new IllegalArgumentException("Attention.Store row %d goes to slot %d of %d".formatted(r, slots[r], capacity));
      }
    }
    int n = k.x().dim(1) * k.x().dim(2);
    Rows.split(
        workers, slots.length, n,
        (from, to, s) -> {
          long staged = s.floats(n);
          for (int r = (int) from; r < to; r++) {
            Rows.write(lanes, k.pages(), (long) slots[r] * n, n, Rows.read(lanes, k.x(), (long) r * n, n, staged));
          }
        });
  }
}
