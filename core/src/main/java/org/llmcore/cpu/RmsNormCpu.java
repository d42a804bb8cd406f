package org.llmcore.cpu;

import org.llmcore.op.RmsNorm;
import org.llmcore.tensor.Memory;

/// `RmsNorm` on the CPU. y and dx are split by rows; dw is split by columns, each a chain over all rows.
final class RmsNormCpu {
  /// Columns of dw that one task owns: 4 cache lines, so that rows are read in runs worth a memory transaction.
  private static final int COLUMNS = 64;

  private RmsNormCpu() {}

  static void run(Lanes lanes, Workers workers, RmsNorm kernel) {
    switch (kernel) {
      case RmsNorm.Forward k -> Rows.split(
          lanes, workers, k.x().rows(), k.x().columns(),
          (from, to, s) -> {
            if (lanes.emitted() && RmsNormCode.takes(k)) RmsNormCode.forward(k, from, to);
            else forward(lanes, k, from, to, s);
          });
      case RmsNorm.ForwardAdded k -> Rows.split(
          lanes, workers, k.h().rows(), k.h().columns(),
          (from, to, s) -> {
            if (lanes.emitted() && RmsNormCode.takes(k)) RmsNormCode.forward(k, from, to);
            else added(lanes, k, from, to, s);
          });
      case RmsNorm.Backward k -> {
        int c = k.x().columns();
        if (k.dx().wanted()) Rows.split(lanes, workers, k.x().rows(), c, (from, to, s) -> dx(lanes, k, from, to, s));
        if (k.dw().wanted()) workers.run(
            (c + COLUMNS - 1) / COLUMNS,
            (task, s) -> dw(lanes, k, task * COLUMNS, Math.min(COLUMNS, c - task * COLUMNS), s));
      }
    }
  }

  /// Sums, then norms, of a few rows: a sum is still in a cache when it is normalised.
  private static void added(Lanes lanes, RmsNorm.ForwardAdded k, long from, long to, Scratch scratch) {
    int n = k.h().columns();
    long stagedX = scratch.floats(n);
    long stagedR = scratch.floats(n);
    long result = scratch.floats(n);
    for (long row = from; row < to; row++) {
      long x = Rows.read(lanes, k.x(), row * n, n, stagedX);
      long r = Rows.read(lanes, k.r(), row * n, n, stagedR);
      long h = Rows.target(k.h(), row * n, result);
      Rows.copy(lanes, h, x, n);
      Rows.add(lanes, h, r, n);
      Rows.write(lanes, k.h(), row * n, n, h);
    }
    forward(lanes, k.norm(), from, to, scratch);
  }

  private static void forward(Lanes lanes, RmsNorm.Forward k, long from, long to, Scratch scratch) {
    int n = k.x().columns();
    long partials = scratch.floats(Rows.PARTIALS);
    long staged = scratch.floats(n);
    long result = scratch.floats(n);
    long w = Rows.read(lanes, k.w(), 0, n, scratch.floats(n));
    long rstds = k.rstd().address();
    for (long row = from; row < to; row++) {
      long x = Rows.read(lanes, k.x(), row * n, n, staged);
      float rstd = (float) (1 / Math.sqrt(Rows.dot(lanes, x, x, n, partials) / n + k.eps()));
      Memory.f32(rstds + 4 * row, rstd);
      long y = Rows.target(k.y(), row * n, result);
      Rows.scale(lanes, y, x, rstd, n);
      Rows.multiply(lanes, y, y, w, n);
      Rows.write(lanes, k.y(), row * n, n, y);
    }
  }

  private static void dx(Lanes lanes, RmsNorm.Backward k, long from, long to, Scratch scratch) {
    if (lanes.emitted() && RmsNormCode.takes(k)) {
      RmsNormCode.dx(k, from, to);
      return;
    }
    int n = k.x().columns();
    long partials = scratch.floats(Rows.PARTIALS);
    long stagedX = scratch.floats(n);
    long stagedDy = scratch.floats(n);
    long weighted = scratch.floats(n);
    long result = scratch.floats(n);
    long w = Rows.read(lanes, k.w(), 0, n, scratch.floats(n));
    long rstds = k.rstd().address();
    for (long row = from; row < to; row++) {
      long x = Rows.read(lanes, k.x(), row * n, n, stagedX);
      long dy = Rows.read(lanes, k.dy(), row * n, n, stagedDy);
      float rstd = Memory.f32(rstds + 4 * row);
      Rows.multiply(lanes, weighted, w, dy, n);
      float pull = -Rows.dot(lanes, weighted, x, n, partials) / n * rstd * rstd;
      long y = Rows.target(k.dx(), row * n, result);
      dx(lanes, y, x, weighted, pull, rstd, n);
      Rows.write(lanes, k.dx(), row * n, n, y);
    }
  }

  /// dx = rstd · (x·pull + w∘dy).
  private static void dx(Lanes lanes, long dx, long x, long weighted, float pull, float rstd, int n) {
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) {
      Lanes.store(dx + 4L * c, Lanes.load(x + 4L * c).fma(Lanes.all(pull), Lanes.load(weighted + 4L * c)).mul(rstd));
    }
    for (; c < n; c++) Memory.f32(dx + 4L * c, Math.fma(Memory.f32(x + 4L * c), pull, Memory.f32(weighted + 4L * c)) * rstd);
  }

  private static void dw(Lanes lanes, RmsNorm.Backward k, int column, int n, Scratch scratch) {
    long sums = scratch.floats(n);
    long stagedX = scratch.floats(n);
    long stagedDy = scratch.floats(n);
    long rstds = k.rstd().address();
    Rows.start(lanes, k.dw(), column, n, sums);
    boolean emitted = lanes.emitted() && RmsNormCode.takes(k) && k.x().rows() > 0;
    if (emitted) RmsNormCode.dw(k, sums, column, n);
    for (long row = emitted ? k.x().rows() : 0; row < k.x().rows(); row++) {
      long at = row * k.x().columns() + column;
      long x = Rows.read(lanes, k.x(), at, n, stagedX);
      long dy = Rows.read(lanes, k.dy(), at, n, stagedDy);
      dw(lanes, sums, x, dy, Memory.f32(rstds + 4 * row), n);
    }
    Rows.write(lanes, k.dw().tensor(), column, n, sums);
  }

  /// sums += dy∘x·rstd.
  private static void dw(Lanes lanes, long sums, long x, long dy, float rstd, int n) {
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) {
      long sum = sums + 4L * c;
      Lanes.store(sum, Lanes.load(dy + 4L * c).mul(Lanes.load(x + 4L * c)).fma(Lanes.all(rstd), Lanes.load(sum)));
    }
    for (; c < n; c++) {
      long sum = sums + 4L * c;
      Memory.f32(sum, Math.fma(Memory.f32(dy + 4L * c) * Memory.f32(x + 4L * c), rstd, Memory.f32(sum)));
    }
  }
}
