package org.llmcore.cpu;

import java.lang.foreign.MemorySegment;

import org.llmcore.op.Move;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// `Move` on the CPU, split by elements of the smaller side. f32 to f32 is a copy of bytes.
final class MoveCpu {
  private MoveCpu() {}

  static void run(Lanes lanes, Workers workers, Move kernel) {
    switch (kernel) {
      case Move.Fill k -> fill(lanes, workers, k.y(), k.value());
      case Move.Copy k -> Rows.split(
          lanes, workers, k.x().elements(), 1,
          (from, to, s) -> copy(lanes, k.y(), from, k.x(), from, (int) (to - from), s));
      case Move.Permute k -> permute(lanes, workers, k);
      case Move.Take k -> window(lanes, workers, k.y(), k.x(), k.y().tensor(), k.x(), k.axis(), k.from());
      case Move.Put k -> window(lanes, workers, k.y(), k.x(), k.x(), k.y().tensor(), k.axis(), k.from());
    }
  }

  static void fill(Lanes lanes, Workers workers, Tensor y, float value) {
    Rows.split(
        lanes, workers, y.elements(), 1,
        (from, to, s) -> {
          int n = (int) (to - from);
          long target = Rows.target(y, from, s.floats(n));
          Rows.fill(lanes, target, value, n);
          Rows.write(lanes, y, from, n, target);
        });
  }

  private static void copy(Lanes lanes, Sink y, long to, Tensor x, long from, int n, Scratch scratch) {
    var dtype = x.dtype();
    var target = y.tensor();
    if (lanes.emitted() && RowCode.reads(x, target) && (dtype == DType.F32 || target.dtype() == DType.F32 || y.add())) {
      RowCode.convert(RowCode.at(target, to), target.dtype(), y.add(), RowCode.at(x, from), dtype, n);
    } else if (dtype != DType.F32 && dtype == y.tensor().dtype() && !y.add()) {
      int bytes = dtype.bytes();
      MemorySegment.copy(Memory.ALL, x.address() + bytes * from, Memory.ALL, y.tensor().address() + bytes * to, (long) bytes * n);
    } else {
      Rows.write(lanes, y, to, n, Rows.read(lanes, x, from, n, scratch.floats(n)));
    }
  }

  /// Every run of consecutive elements of `small` is one of `large` too, `span` elements apart.
  private static void window(Lanes lanes, Workers workers, Sink y, Tensor x, Tensor small, Tensor large, int axis, int first) {
    int inner = large.shape().span(axis + 1, large.shape().rank());
    long run = (long) small.dim(axis) * inner;
    long span = (long) large.dim(axis) * inner;
    boolean take = small != x;
    Rows.split(
        workers, small.elements(), 1,
        (from, to, s) -> {
          for (long e = from; e < to; ) {
            int n = (int) Math.min(to - e, run - e % run);
            long at = e / run * span + (long) first * inner + e % run;
            copy(lanes, y, take ? e : at, x, take ? at : e, n, s);
            e += n;
          }
        });
  }

  private static void permute(Lanes lanes, Workers workers, Move.Permute k) {
    var shape = k.y().tensor().shape();
    int rank = shape.rank();
    if (rank == 0) {
      workers.run(1, (_, s) -> copy(lanes, k.y(), 0, k.x(), 0, 1, s));
      return;
    }
    var strides = new long[rank];
    for (int d = 0; d < rank; d++) strides[d] = k.x().shape().span(k.axes()[d] + 1, rank);
    int n = shape.columns();
    Rows.split(
        workers, shape.rows(), n,
        (from, to, s) -> {
          long staged = s.floats(n);
          for (long row = from; row < to; row++) {
            long at = 0;
            long rest = row;
            for (int d = rank - 2; d >= 0; d--) {
              at += rest % shape.dim(d) * strides[d];
              rest /= shape.dim(d);
            }
            gather(k.x().dtype(), k.x().address(), at, strides[rank - 1], n, staged);
            Rows.write(lanes, k.y(), row * n, n, staged);
          }
        });
  }

  private static void gather(DType dtype, long address, long at, long stride, int n, long to) {
    for (int i = 0; i < n; i++) Memory.f32(to + 4L * i, Memory.load(dtype, address, at + i * stride));
  }
}
