package org.llmcore.cpu;

import org.llmcore.op.Softmax;
import org.llmcore.tensor.Memory;

/// `Softmax` on the CPU, split by rows.
final class SoftmaxCpu {
  private SoftmaxCpu() {}

  static void run(Lanes lanes, Workers workers, Softmax kernel) {
    switch (kernel) {
      case Softmax.Forward k -> Rows.split(
          workers, k.x().rows(), k.x().columns(),
          (from, to, s) -> forward(lanes, k, from, to, s));
      case Softmax.Backward k -> {
        if (k.dx().wanted()) Rows.split(workers, k.y().rows(), k.y().columns(), (from, to, s) -> backward(lanes, k, from, to, s));
      }
    }
  }

  private static void forward(Lanes lanes, Softmax.Forward k, long from, long to, Scratch scratch) {
    int n = k.x().columns();
    long partials = scratch.floats(Rows.PARTIALS);
    long staged = scratch.floats(n);
    long powers = scratch.floats(n);
    for (long row = from; row < to; row++) {
      long x = Rows.read(lanes, k.x(), row * n, n, staged);
      float max = Rows.max(lanes, x, n);
      Rows.exp(lanes, powers, x, 1, -max, n);
      float sum = Rows.sum(lanes, powers, n, partials);
      long y = Rows.target(k.y(), row * n, powers);
      if (k.log()) {
        float lse = max + Log.of(sum);
        Rows.minus(lanes, y, x, lse, n);
      } else {
        Rows.scale(lanes, y, powers, 1 / sum, n);
      }
      Rows.write(lanes, k.y(), row * n, n, y);
    }
  }

  private static void backward(Lanes lanes, Softmax.Backward k, long from, long to, Scratch scratch) {
    int n = k.y().columns();
    long partials = scratch.floats(Rows.PARTIALS);
    long stagedDy = scratch.floats(n);
    long stagedY = scratch.floats(n);
    long result = scratch.floats(n);
    long powers = scratch.floats(n);
    for (long row = from; row < to; row++) {
      long dy = Rows.read(lanes, k.dy(), row * n, n, stagedDy);
      long y = Rows.read(lanes, k.y(), row * n, n, stagedY);
      long dx = Rows.target(k.dx(), row * n, result);
      if (k.log()) log(lanes, dx, dy, y, Rows.sum(lanes, dy, n, partials), n, powers);
      else plain(lanes, dx, dy, y, Rows.dot(lanes, dy, y, n, partials), n);
      Rows.write(lanes, k.dx(), row * n, n, dx);
    }
  }

  private static void plain(Lanes lanes, long dx, long dy, long y, float sum, int n) {
    if (lanes.emitted()) {
      ElementCode.SOFTMAX_SLOPE.run(dx, dy, y, n, sum, 0);
      return;
    }
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) Lanes.store(dx + 4L * c,
        Lanes.load(dy + 4L * c).sub(sum).mul(Lanes.load(y + 4L * c)));
    for (; c < n; c++) Memory.f32(dx + 4L * c, (Memory.f32(dy + 4L * c) - sum) * Memory.f32(y + 4L * c));
  }

  private static void log(Lanes lanes, long dx, long dy, long y, float sum, int n, long powers) {
    if (lanes.emitted()) {
      ElementCode.LOG_SOFTMAX_SLOPE.run(dx, dy, y, n, -sum, 0);
      return;
    }
    Rows.exp(lanes, powers, y, 1, 0, n);
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) {
      Lanes.store(dx + 4L * c, Lanes.load(powers + 4L * c).fma(Lanes.all(-sum), Lanes.load(dy + 4L * c)));
    }
    for (; c < n; c++) Memory.f32(dx + 4L * c, Math.fma(Memory.f32(powers + 4L * c), -sum, Memory.f32(dy + 4L * c)));
  }
}
