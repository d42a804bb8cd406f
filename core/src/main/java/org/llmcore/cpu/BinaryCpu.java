package org.llmcore.cpu;

import org.llmcore.op.Binary;
import org.llmcore.op.Binary.Function;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// `Binary` on the CPU. Where no operand is stretched, split by elements; otherwise by rows of y, an operand's row being read
/// in place, or spread into scratch when its last dimension is stretched. The gradient of a stretched operand is split by the
/// operand's rows and blocks of columns, each a chain over the stretched positions.
final class BinaryCpu {
  private static final int COLUMNS = 256;

  private BinaryCpu() {}

  /// How an operand lies under y: its element stride for every dimension of y, 0 where it is stretched.
  private record Layout(int[] dims, long[] strides, boolean stretched) {
    static Layout of(Tensor t, Shape y) {
      int rank = Math.max(1, y.rank());
      var dims = new int[rank];
      var strides = new long[rank];
      long stride = 1;
      for (int d = rank - 1, own = t.shape().rank() - 1; d >= 0; d--, own--) {
        dims[d] = y.rank() == 0 ? 1 : y.dim(d);
        int size = own >= 0 ? t.dim(own) : 1;
        strides[d] = size == 1 && dims[d] != 1 ? 0 : stride;
        stride *= size;
      }
      return new Layout(dims, strides, t.elements() != y.elements());
    }

    int columns() {
      return dims[dims.length - 1];
    }

    boolean spread() {
      return strides[dims.length - 1] == 0;
    }

    /// Index of the operand's element under the first element of y's row.
    long under(long row) {
      long at = 0;
      for (int d = dims.length - 2; d >= 0; d--) {
        at += row % dims[d] * strides[d];
        row /= dims[d];
      }
      return at;
    }

    /// How many rows of y lie over one row of the operand.
    long over() {
      long n = 1;
      for (int d = 0; d < dims.length - 1; d++) if (strides[d] == 0) n *= dims[d];
      return n;
    }

    /// The i-th row of y, ascending, over the given row of the operand.
    long over(long row, long i) {
      long at = 0;
      long stride = 1;
      for (int d = dims.length - 2; d >= 0; d--) {
        if (strides[d] == 0) {
          at += i % dims[d] * stride;
          i /= dims[d];
        } else {
          at += row % dims[d] * stride;
          row /= dims[d];
        }
        stride *= dims[d];
      }
      return at;
    }
  }

  static void run(Lanes lanes, Workers workers, Binary kernel) {
    switch (kernel) {
      case Binary.Forward k -> forward(lanes, workers, k);
      case Binary.Backward k -> {
        if (k.da().wanted()) backward(lanes, workers, k, k.da(), k.a(), true);
        if (k.db().wanted()) backward(lanes, workers, k, k.db(), k.b(), false);
      }
    }
  }

  private static void forward(Lanes lanes, Workers workers, Binary.Forward k) {
    var shape = k.y().shape();
    var a = Layout.of(k.a(), shape);
    var b = Layout.of(k.b(), shape);
    if (!a.stretched && !b.stretched) {
      if (lanes.emitted() && RowCode.reads(k.y(), k.a(), k.b())) {
        Rows.split(
            lanes, workers, k.y().elements(), 1,
            (from, to, _) -> RowCode.combine(
                k.f(), RowCode.at(k.y(), from), k.y().dtype(), RowCode.at(k.a(), from), k.a().dtype(), RowCode.at(k.b(), from),
                k.b().dtype(), (int) (to - from)));
        return;
      }
      Rows.split(
          workers, k.y().elements(), 1,
          (from, to, s) -> forward(lanes, k, a, b, from, from, from, (int) (to - from), work(s, to - from)));
    } else {
      int n = a.columns();
      Rows.split(
          workers, shape.rows(), n,
          (from, to, s) -> {
            long work = work(s, n);
            for (long row = from; row < to; row++) forward(lanes, k, a, b, row * n, a.under(row), b.under(row), n, work);
          });
    }
  }

  private static void forward(Lanes lanes, Binary.Forward k, Layout la, Layout lb, long at, long atA, long atB, int n,
      long work) {
    long a = operand(lanes, k.a(), la, atA, n, work);
    long b = operand(lanes, k.b(), lb, atB, n, work + 4L * n);
    long y = Rows.target(k.y(), at, work + 8L * n);
    combine(lanes, k.f(), y, a, b, n);
    Rows.write(lanes, k.y(), at, n, y);
  }

  /// Scratch for the five rows of n elements that a backward step stages at most.
  private static long work(Scratch scratch, long n) {
    return scratch.floats(5 * n);
  }

  private static long operand(Lanes lanes, Tensor t, Layout layout, long at, int n, long staged) {
    if (!layout.spread()) return Rows.read(lanes, t, at, n, staged);
    Rows.fill(lanes, staged, Memory.load(t.dtype(), t.address(), at), n);
    return staged;
  }

  private static void combine(Lanes lanes, Function f, long y, long a, long b, int n) {
    if (lanes.emitted()) {
      RowCode.combine(f, y, DType.F32, a, DType.F32, b, DType.F32, n);
      return;
    }
    int whole = lanes.whole(n);
    int c = 0;
    switch (f) {
      case ADD -> {
        for (; c < whole; c += Lanes.N) Lanes.store(y + 4L * c, Lanes.load(a + 4L * c).add(Lanes.load(b + 4L * c)));
        for (; c < n; c++) Memory.f32(y + 4L * c, Memory.f32(a + 4L * c) + Memory.f32(b + 4L * c));
      }
      case SUB -> {
        for (; c < whole; c += Lanes.N) Lanes.store(y + 4L * c, Lanes.load(a + 4L * c).sub(Lanes.load(b + 4L * c)));
        for (; c < n; c++) Memory.f32(y + 4L * c, Memory.f32(a + 4L * c) - Memory.f32(b + 4L * c));
      }
      case MUL -> {
        for (; c < whole; c += Lanes.N) Lanes.store(y + 4L * c, Lanes.load(a + 4L * c).mul(Lanes.load(b + 4L * c)));
        for (; c < n; c++) Memory.f32(y + 4L * c, Memory.f32(a + 4L * c) * Memory.f32(b + 4L * c));
      }
      case DIV -> {
        for (; c < whole; c += Lanes.N) Lanes.store(y + 4L * c, Lanes.load(a + 4L * c).div(Lanes.load(b + 4L * c)));
        for (; c < n; c++) Memory.f32(y + 4L * c, Memory.f32(a + 4L * c) / Memory.f32(b + 4L * c));
      }
    }
  }

  private static void backward(Lanes lanes, Workers workers, Binary.Backward k, Sink sink, Tensor operand, boolean first) {
    var shape = k.dy().shape();
    var a = Layout.of(k.a(), shape);
    var b = Layout.of(k.b(), shape);
    var own = first ? a : b;
    int n = a.columns();
    if (!a.stretched && !b.stretched) {
      Rows.split(
          workers, k.dy().elements(), 1,
          (from, to, s) -> {
            int m = (int) (to - from);
            Rows.write(lanes, sink, from, m, terms(lanes, k, a, b, first, from, from, from, m, work(s, m)));
          });
      return;
    }
    int blocks = own.spread() ? 1 : (n + COLUMNS - 1) / COLUMNS;
    int width = own.spread() ? 1 : n;
    long over = own.over();
    Rows.split(
        workers, operand.elements() / Math.max(1, width) * blocks, over * Math.min(n, COLUMNS),
        (from, to, s) -> {
          long work = work(s, own.spread() ? n : COLUMNS);
          long sums = s.floats(COLUMNS);
          for (long task = from; task < to; task++) {
            long row = task / blocks;
            int column = (int) (task % blocks) * COLUMNS;
            int m = own.spread() ? n : Math.min(COLUMNS, n - column);
            int kept = own.spread() ? 1 : m;
            Rows.start(lanes, sink, row * width + column, kept, sums);
            for (long i = 0; i < over; i++) {
              long y = own.over(row, i);
              long atA = a.under(y) + (a.spread() ? 0 : column);
              long atB = b.under(y) + (b.spread() ? 0 : column);
              long terms = terms(lanes, k, a, b, first, y * n + column, atA, atB, m, work);
              if (own.spread()) chain(sums, terms, m);
              else Rows.add(lanes, sums, terms, m);
            }
            Rows.write(lanes, sink.tensor(), row * width + column, kept, sums);
          }
        });
  }

  private static void chain(long sum, long terms, int n) {
    float s = Memory.f32(sum);
    for (int c = 0; c < n; c++) s += Memory.f32(terms + 4L * c);
    Memory.f32(sum, s);
  }

  /// What n elements of dy contribute to the gradient of the first or second operand.
  private static long terms(
      Lanes lanes, Binary.Backward k, Layout la, Layout lb, boolean first, long at, long atA, long atB, int n, long work) {
    long dy = Rows.read(lanes, k.dy(), at, n, work);
    if (k.f() == Function.ADD || k.f() == Function.SUB && first) return dy;
    long out = work + 4L * n;
    if (k.f() == Function.SUB) {
      Rows.scale(lanes, out, dy, -1, n);
      return out;
    }
    long b = first || k.f() == Function.DIV ? operand(lanes, k.b(), lb, atB, n, work + 8L * n) : 0;
    if (first) {
      combine(lanes, k.f(), out, dy, b, n);
      return out;
    }
    combine(lanes, Function.MUL, out, dy, operand(lanes, k.a(), la, atA, n, work + 12L * n), n);
    if (k.f() == Function.DIV) {
      long square = work + 16L * n;
      combine(lanes, Function.MUL, square, b, b, n);
      combine(lanes, Function.DIV, out, out, square, n);
      Rows.scale(lanes, out, out, -1, n);
    }
    return out;
  }
}
