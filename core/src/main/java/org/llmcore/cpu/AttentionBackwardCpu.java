package org.llmcore.cpu;

import org.llmcore.op.Attention;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// `Attention.Backward` on the CPU, split by (sequence, key/value head), so that one task owns its rows of dq, dk and dv.
///
/// Keys and values are staged transposed (for the scores and for do·v) and keys also as rows (for dq). Query heads of the group
/// follow each other, each in blocks of `BLOCK` queries: p and ds of a block lie in scratch, then dq sums over keys, dk and dv
/// continue their chains over the block's queries.
final class AttentionBackwardCpu {
  /// Queries of a block: p and ds of 16 rows and 2,048 keys are 256 KB, within a second-level cache.
  private static final int BLOCK = 16;

  private AttentionBackwardCpu() {}

  static void run(Lanes lanes, Workers workers, Attention.Backward k) {
    if (!k.dq().wanted() && !k.dk().wanted() && !k.dv().wanted()) return;
    int[] starts = AttentionCpu.starts(k.starts(), k.q().dim(0));
    int groups = k.k().dim(1);
    if (lanes.emitted() && AttentionCode.takes(k.q(), k.k(), k.v()) && RowCode.reads(k.o(), k.dout())
        && RowCode.reads(k.dq(), k.dk(), k.dv())) {
      if (AttentionBackwardAmx.takes(lanes, k)) {
        workers.run((starts.length - 1) * groups, (task, s) -> AttentionBackwardAmx.run(k, starts[task / groups], starts[task / groups + 1], task % groups, s));
        return;
      }
      boolean pairs = AttentionBackwardPairsCode.takes(lanes, k.q(), k.k(), k.v(), k.o(), k.dout());
      workers.run(
          (starts.length - 1) * groups,
          (task, s) -> emitted(k, starts[task / groups], starts[task / groups + 1], task % groups, pairs, s));
      return;
    }
    workers.run(
        (starts.length - 1) * groups,
        (task, s) -> new Unit(lanes, k, starts[task / groups], starts[task / groups + 1], task % groups, s).run());
  }

  /// One sequence and one key/value head through machine code.
  /// @param pairs whether in pairs of bf16
  private static void emitted(Attention.Backward k, int start, int end, int group, boolean pairs, Scratch scratch) {
    int n = end - start;
    if (n == 0) return;
    int d = k.q().dim(2);
    int width = AttentionTiles.padded(d);
    int stride = AttentionTiles.padded(n) + 16;
    int heads = k.q().dim(1) / k.k().dim(1);
    long row = (long) k.q().dim(1) * d;
    long keyRow = (long) k.k().dim(1) * d;
    long key = start * keyRow + (long) group * d;
    long panels = pairs ? AttentionBackwardPairsCode.panelFloats(n, d) : AttentionCode.panelFloats(n, width);
    long sums = (long) (n + 7 & -8) * width; // whole groups of eight keys
    var staged = new AttentionBackwardCode.Staged(
        scratch.floats(panels), scratch.floats(panels), scratch.floats((long) (pairs ? (n + 1) / 2 : n) * width), scratch.floats(sums),
        scratch.floats(sums));
    if (pairs) {
      AttentionBackwardPairsCode.panels(staged.keyPanels(), k.k(), key, keyRow, n, d);
      AttentionBackwardPairsCode.panels(staged.valuePanels(), k.v(), key, keyRow, n, d);
      AttentionBackwardPairsCode.rows(staged.keys(), k.k(), key, keyRow, n, d);
    } else {
      AttentionCode.panels(staged.keyPanels(), k.k(), key, keyRow, n, d);
      AttentionCode.panels(staged.valuePanels(), k.v(), key, keyRow, n, d);
      AttentionCode.padded(staged.keys(), k.k(), key, keyRow, n, d);
    }
    RowCode.fill(staged.dk(), 0, sums);
    RowCode.fill(staged.dv(), 0, sums);
    boolean plain = pairs || k.q().dtype() == DType.F32 && k.dout().dtype() == DType.F32 && k.o().dtype() == DType.F32;
    boolean direct = k.dq().wanted() && !k.dq().add() && k.dq().tensor().dtype() == DType.F32;
    long q = plain ? 0 : scratch.floats((long) n * width);
    long dout = plain ? 0 : scratch.floats((long) n * width);
    long o = plain ? 0 : scratch.floats((long) n * width);
    long dq = direct ? 0 : scratch.floats((long) n * width);
    long work = scratch.floats(pairs ? AttentionBackwardPairsCode.scratchFloats(width, stride) : AttentionBackwardCode.scratchFloats(width, stride));
    for (int h = group * heads; h < (group + 1) * heads; h++) {
      long first = start * row + (long) h * d;
      if (plain) {
        q = RowCode.at(k.q(), first);
        dout = RowCode.at(k.dout(), first);
        o = RowCode.at(k.o(), first);
      } else {
        AttentionCode.padded(q, k.q(), first, row, n, d);
        AttentionCode.padded(dout, k.dout(), first, row, n, d);
        AttentionCode.padded(o, k.o(), first, row, n, d);
      }
      var to = new AttentionBackwardCode.Strided(direct ? RowCode.at(k.dq().tensor(), first) : dq, direct ? row : width);
      var from = new AttentionBackwardCode.Strided(q, plain ? row : width);
      long lse = RowCode.at(k.lse(), (long) start * k.q().dim(1) + h);
      if (pairs) AttentionBackwardPairsCode.backward(from, dout, o, to, staged, n, k.causal(), k.scale(), lse, k.q().dim(1), d, stride, work);
      else AttentionBackwardCode.backward(from, dout, o, to, staged, n, k.causal(), k.scale(), lse, k.q().dim(1), d, stride, work);
      if (k.dq().wanted() && !direct) AttentionCode.spread(k.dq().tensor(), k.dq().add(), first, row, dq, n, d);
    }
    if (k.dk().wanted()) AttentionCode.spread(k.dk().tensor(), k.dk().add(), key, keyRow, staged.dk(), n, d);
    if (k.dv().wanted()) AttentionCode.spread(k.dv().tensor(), k.dv().add(), key, keyRow, staged.dv(), n, d);
  }

  /// One sequence and one key/value head; addresses of its scratch.
  private static final class Unit {
    private final Lanes lanes;
    private final Attention.Backward k;
    private final int start;
    private final int n;
    private final int group;
    private final int d;
    private final int width;
    private final int stride;
    private final long staging;
    private final long partials;
    private final long kt;
    private final long vt;
    private final long keys;
    private final long dk;
    private final long dv;
    private final long q;
    private final long dout;
    private final long dq;
    private final long out;
    private final long p;
    private final long ds;

    Unit(Lanes lanes, Attention.Backward k, int start, int end, int group, Scratch scratch) {
      this.lanes = lanes;
      this.k = k;
      this.start = start;
      this.n = end - start;
      this.group = group;
      d = k.q().dim(2);
      width = AttentionTiles.padded(d);
      stride = AttentionTiles.padded(n) + 16; // not a power of two: columns would share cache sets
      staging = scratch.floats(width);
      partials = scratch.floats(Rows.PARTIALS);
      kt = scratch.floats((long) width * stride);
      vt = scratch.floats((long) width * stride);
      keys = scratch.floats((long) n * width);
      dk = scratch.floats((long) n * width);
      dv = scratch.floats((long) n * width);
      q = scratch.floats(BLOCK * width);
      dout = scratch.floats(BLOCK * width);
      dq = scratch.floats(AttentionTiles.ROWS * width);
      out = scratch.floats(width);
      p = scratch.floats((long) BLOCK * stride);
      ds = scratch.floats((long) BLOCK * stride);
    }

    void run() {
      Rows.fill(lanes, kt, 0, width * stride);
      Rows.fill(lanes, vt, 0, width * stride);
      Rows.fill(lanes, dk, 0, n * width);
      Rows.fill(lanes, dv, 0, n * width);
      for (int u = 0; u < n; u++) {
        long from = at(k.k(), u, group);
        AttentionTiles.column(lanes, k.k(), from, d, stride, u, kt, staging);
        AttentionTiles.column(lanes, k.v(), from, d, stride, u, vt, staging);
        AttentionTiles.row(lanes, k.k(), from, d, width, keys + 4L * u * width, staging);
      }
      int heads = k.q().dim(1) / k.k().dim(1);
      for (int h = group * heads; h < (group + 1) * heads; h++) {
        for (int t = 0; t < n; t += BLOCK) block(h, t, Math.min(BLOCK, n - t));
      }
      for (int u = 0; u < n; u++) {
        if (k.dk().wanted()) put(k.dk(), u, group, dk + 4L * u * width);
        if (k.dv().wanted()) put(k.dv(), u, group, dv + 4L * u * width);
      }
    }

    private long at(Tensor t, int row, int head) {
      return ((long) (start + row) * t.dim(1) + head) * d;
    }

    private void put(Sink y, int row, int head, long from) {
      Rows.write(lanes, y, at(y.tensor(), row, head), d, from);
    }

    private int visible(int t) {
      return k.causal() ? t + 1 : n;
    }

    private void block(int head, int t, int rows) {
      Rows.fill(lanes, q, 0, BLOCK * width);
      Rows.fill(lanes, dout, 0, BLOCK * width);
      for (int i = 0; i < rows; i++) {
        AttentionTiles.row(lanes, k.q(), at(k.q(), t + i, head), d, width, q + 4L * i * width, staging);
        AttentionTiles.row(lanes, k.dout(), at(k.dout(), t + i, head), d, width, dout + 4L * i * width, staging);
      }
      int seen = visible(t + rows - 1);
      AttentionTiles.dots(lanes, p, q, kt, stride, width, rows, seen);
      AttentionTiles.dots(lanes, ds, dout, vt, stride, width, rows, seen);
      for (int i = 0; i < rows; i++) scores(head, t + i, i);
      if (k.dq().wanted()) dq(head, t, rows);
      if (k.dv().wanted()) columns(dv, p, dout, t, rows, seen);
      if (k.dk().wanted()) columns(dk, ds, q, t, rows, seen);
    }

    /// p = exp(scale·s − lse) and ds = scale · p∘(dp − do·o) of one query.
    private void scores(int head, int t, int i) {
      long o = Rows.read(lanes, k.o(), at(k.o(), t, head), d, out);
      float delta = Rows.dot(lanes, dout + 4L * i * width, o, d, partials);
      float lse = Memory.f32(k.lse().address() + 4L * ((long) (start + t) * k.q().dim(1) + head));
      float scale = k.scale();
      long row = p + 4L * i * stride;
      long dp = ds + 4L * i * stride;
      int m = visible(t);
      Rows.exp(lanes, row, row, scale, -lse, m);
      int u = 0;
      for (; u < lanes.whole(m); u += Lanes.N) {
        Lanes.store(dp + 4L * u, Lanes.load(dp + 4L * u).sub(delta).mul(Lanes.load(row + 4L * u)).mul(scale));
      }
      for (; u < m; u++) Memory.f32(dp + 4L * u, (Memory.f32(dp + 4L * u) - delta) * Memory.f32(row + 4L * u) * scale);
    }

    private void dq(int head, int t, int rows) {
      for (int i = 0; i < rows; i += AttentionTiles.ROWS) {
        int m = Math.min(AttentionTiles.ROWS, rows - i);
        int common = m == AttentionTiles.ROWS ? visible(t + i) : 0;
        Rows.fill(lanes, dq, 0, AttentionTiles.ROWS * width);
        AttentionTiles.chain4(lanes, dq, ds + 4L * i * stride, stride, 1, keys, width, width, 0, common);
        for (int r = 0; r < m; r++) {
          long row = dq + 4L * r * width;
          AttentionTiles.chain(lanes, row, ds + 4L * (i + r) * stride, 1, keys, width, width, common, visible(t + i + r));
          put(k.dq(), t + i + r, head, row);
        }
      }
    }

    /// y[u] += Σ_i c[i,u] · x[i] over the block's queries that see key u; four keys together where all queries see them.
    private void columns(long y, long c, long x, int t, int rows, int seen) {
      int u = 0;
      for (; u <= visible(t) - AttentionTiles.ROWS; u += AttentionTiles.ROWS) {
        AttentionTiles.chain4(lanes, y + 4L * u * width, c + 4L * u, 1, stride, x, width, width, 0, rows);
      }
      for (; u < seen; u++) {
        int first = k.causal() ? Math.max(0, u - t) : 0;
        AttentionTiles.chain(lanes, y + 4L * u * width, c + 4L * u, stride, x, width, width, first, rows);
      }
    }
  }
}
