package org.llmcore.cpu;

import org.llmcore.op.Reduce;
import org.llmcore.op.Reduce.Function;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// `Reduce` on the CPU. Along the last axis split by rows; along others split by blocks of the columns behind the axis, each
/// a chain down the axis.
final class ReduceCpu {
  private static final int COLUMNS = 256;

  private ReduceCpu() {}

  /// x seen as (outer, n, inner) with the axis in the middle.
  private record View(int outer, int n, int inner, boolean last) {
    static View of(Tensor x, int axis) {
      int rank = x.shape().rank();
      return new View(x.shape().span(0, axis), x.dim(axis), x.shape().span(axis + 1, rank), axis == rank - 1);
    }

    int blocks() {
      return (inner + COLUMNS - 1) / COLUMNS;
    }
  }

  static void run(Lanes lanes, Workers workers, Reduce kernel) {
    switch (kernel) {
      case Reduce.Forward k -> {
        var v = View.of(k.x(), k.axis());
        if (v.last) Rows.split(workers, v.outer, v.n, (from, to, s) -> rows(lanes, k, v, from, to, s));
        else Rows.split(
            workers,
            (long) v.outer * v.blocks(), (long) v.n * Math.min(COLUMNS, v.inner), (from, to, s) -> columns(lanes, k, v, from,
                to, s));
      }
      case Reduce.Backward k -> {
        if (!k.dx().wanted()) return;
        var v = View.of(k.x(), k.axis());
        if (v.last && k.f() != Function.MAX) Rows.split(workers, v.outer, v.n, (from, to, s) -> spread(lanes, k, v, from, to, s));
        else Rows.split(
            workers,
            (long) v.outer * v.blocks(), (long) v.n * Math.min(COLUMNS, v.inner), (from, to, s) -> backward(lanes, k, v, from,
                to, s));
      }
    }
  }

  private static void rows(Lanes lanes, Reduce.Forward k, View v, long from, long to, Scratch scratch) {
    long partials = scratch.floats(Rows.PARTIALS);
    long staged = scratch.floats(v.n);
    for (long row = from; row < to; row++) {
      long x = Rows.read(lanes, k.x(), row * v.n, v.n, staged);
      float y =
          switch (k.f()) {
            case SUM -> Rows.sum(lanes, x, v.n, partials);
            case MEAN -> Rows.sum(lanes, x, v.n, partials) / v.n;
            case MAX -> Rows.max(lanes, x, v.n);
          };
      Memory.store(k.y().dtype(), k.y().address(), row, y);
    }
  }

  private static void columns(Lanes lanes, Reduce.Forward k, View v, long from, long to, Scratch scratch) {
    long sums = scratch.floats(COLUMNS);
    long staged = scratch.floats(COLUMNS);
    for (long task = from; task < to; task++) {
      long outer = task / v.blocks();
      int column = (int) (task % v.blocks()) * COLUMNS;
      int n = Math.min(COLUMNS, v.inner - column);
      reduce(lanes, k.x(), v, outer, column, n, k.f(), sums, staged);
      Rows.write(lanes, k.y(), outer * v.inner + column, n, sums);
    }
  }

  /// The reduction of one block of columns, down the axis.
  private static void reduce(Lanes lanes, Tensor t, View v, long outer, int column, int n, Function f, long sums, long staged) {
    Rows.fill(lanes, sums, f == Function.MAX ? Float.NEGATIVE_INFINITY : 0, n);
    for (int i = 0; i < v.n; i++) {
      long x = Rows.read(lanes, t, (outer * v.n + i) * v.inner + column, n, staged);
      if (f == Function.MAX) Rows.max(lanes, sums, x, n);
      else Rows.add(lanes, sums, x, n);
    }
    if (f == Function.MEAN) Rows.divide(lanes, sums, v.n, n);
  }

  private static void spread(Lanes lanes, Reduce.Backward k, View v, long from, long to, Scratch scratch) {
    long row = scratch.floats(v.n);
    for (long r = from; r < to; r++) {
      float dy = Memory.load(k.dy().dtype(), k.dy().address(), r);
      Rows.fill(lanes, row, k.f() == Function.MEAN ? dy / v.n : dy, v.n);
      Rows.write(lanes, k.dx(), r * v.n, v.n, row);
    }
  }

  private static void backward(Lanes lanes, Reduce.Backward k, View v, long from, long to, Scratch scratch) {
    long staged = scratch.floats(COLUMNS);
    long best = scratch.floats(COLUMNS);
    long given = scratch.floats(COLUMNS);
    long result = scratch.floats(COLUMNS);
    for (long task = from; task < to; task++) {
      long outer = task / v.blocks();
      int column = (int) (task % v.blocks()) * COLUMNS;
      int n = Math.min(COLUMNS, v.inner - column);
      Rows.copy(lanes, given, Rows.read(lanes, k.dy(), outer * v.inner + column, n, staged), n);
      if (k.f() == Function.MEAN) Rows.divide(lanes, given, v.n, n);
      if (k.f() == Function.MAX) reduce(lanes, k.x(), v, outer, column, n, Function.MAX, best, staged);
      for (int i = 0; i < v.n; i++) {
        long at = (outer * v.n + i) * v.inner + column;
        long dx = given;
        if (k.f() == Function.MAX) {
          long x = Rows.read(lanes, k.x(), at, n, staged);
          for (int c = 0; c < n; c++) {
            boolean first = Memory.f32(x + 4L * c) == Memory.f32(best + 4L * c);
            Memory.f32(result + 4L * c, first ? Memory.f32(given + 4L * c) : 0);
            if (first) Memory.f32(best + 4L * c, Float.NaN); // equal to nothing: later maxima get 0
          }
          dx = result;
        }
        Rows.write(lanes, k.dx(), at, n, dx);
      }
    }
  }
}
