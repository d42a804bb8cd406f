package org.llmcore.cpu;

import jdk.incubator.vector.VectorOperators;

import org.llmcore.op.Binary;
import org.llmcore.op.Sink;
import org.llmcore.tensor.Bf16;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// What row kernels share: f32 access to rows of any floating dtype, and sums by rule 3 of `Kernel`.
///
/// A row of an f32 tensor is read and written where it lies; rows of other dtypes pass through f32 scratch. Every loop has a
/// vector part of `lanes.whole(n)` elements and a scalar rest; in the scalar tier the rest is everything, so the twin is the
/// tail, and both give the same bits.
///
/// A rule-3 sum is kept as 16 partial sums in memory, so that it can be continued over pieces of a row whose lengths are
/// multiples of 16; a vector of fewer than 16 lanes sweeps the piece once for each of its 16/N groups of partials.
final class Rows {
  /// Partial sums of rule 3.
  static final int PARTIALS = 16;

  /// Elements of one task: enough to hide the cost of handing it out, few enough to stay in the first-level cache.
  static final int GRAIN = 4096;

  /// Elements of one task of machine code at most: some tens of microseconds.
  static final int WIDE = 65536;

  /// Work on units `[from, to)`.
  interface Piece {
    void run(long from, long to, Scratch scratch);
  }

  private Rows() {}

  /// Splits `units` of `elements` each into tasks of about `GRAIN` elements, always at the same places.
  static void split(Workers workers, long units, long elements, Piece piece) {
    long grain = Math.max(1, GRAIN / Math.max(1, elements));
    int tasks = Math.toIntExact((units + grain - 1) / grain);
    workers.run(tasks, (task, scratch) -> piece.run(task * grain, Math.min(units, (task + 1) * grain), scratch));
  }

  /// The same for work whose results do not depend on where it is split. Machine code takes larger pieces, so that the calls
  /// are few while the way to them is not compiled yet, but enough of them for all workers.
  static void split(Lanes lanes, Workers workers, long units, long elements, Piece piece) {
    long share = units * elements / (4L * workers.count());
    long size = lanes.emitted() ? Math.clamp(share, GRAIN, WIDE) : GRAIN;
    long grain = Math.max(1, size / Math.max(1, elements));
    int tasks = Math.toIntExact((units + grain - 1) / grain);
    workers.run(tasks, (task, scratch) -> piece.run(task * grain, Math.min(units, (task + 1) * grain), scratch));
  }

  /// Address of elements `[from, from+n)` as f32: their own, or `scratch` after conversion.
  static long read(Lanes lanes, Tensor t, long from, int n, long scratch) {
    if (t.dtype() == DType.F32) return t.address() + 4 * from;
    if (t.dtype() == DType.BF16) widen(lanes, t.address() + 2 * from, scratch, n);
    else for (int i = 0; i < n; i++) Memory.f32(scratch + 4L * i, Memory.load(t.dtype(), t.address(), from + i));
    return scratch;
  }

  /// f32 from n bfloat16.
  private static void widen(Lanes lanes, long from, long to, int n) {
    if (lanes.emitted()) {
      RowCode.convert(to, DType.F32, false, from, DType.BF16, n);
      return;
    }
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) Lanes.store(to + 4L * i, Bf16Vectors.widen(from + 2L * i));
    for (; i < n; i++) Memory.f32(to + 4L * i, Bf16.toFloat(Memory.u16(from + 2L * i)));
  }

  /// n bfloat16 from f32, as `Bf16.of` rounds.
  private static void narrow(Lanes lanes, long from, long to, int n) {
    if (lanes.emitted()) {
      RowCode.convert(to, DType.BF16, false, from, DType.F32, n);
      return;
    }
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) Bf16Vectors.narrow(Lanes.load(from + 4L * i), to + 2L * i);
    for (; i < n; i++) Memory.u16(to + 2L * i, Bf16.of(Memory.f32(from + 4L * i)));
  }

  /// y += x for bfloat16 y and f32 x.
  private static void addNarrow(Lanes lanes, long y, long x, int n) {
    if (lanes.emitted()) {
      RowCode.convert(y, DType.BF16, true, x, DType.F32, n);
      return;
    }
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) {
      Bf16Vectors.narrow(Bf16Vectors.widen(y + 2L * i).add(Lanes.load(x + 4L * i)), y + 2L * i);
    }
    for (; i < n; i++) Memory.u16(y + 2L * i, Bf16.of(Bf16.toFloat(Memory.u16(y + 2L * i)) + Memory.f32(x + 4L * i)));
  }

  /// Where a kernel puts f32 results for elements `[from, …)` of `y`: in place if nothing is left to do, else `scratch`;
  /// `write` does what is left.
  static long target(Sink y, long from, long scratch) {
    return y.add() ? scratch : target(y.tensor(), from, scratch);
  }

  static long target(Tensor y, long from, long scratch) {
    return y.dtype() == DType.F32 ? y.address() + 4 * from : scratch;
  }

  /// Stores, or adds, the n results at `source` (from `target`) to elements `[from, from+n)`.
  static void write(Lanes lanes, Sink y, long from, int n, long source) {
    if (!y.add()) {
      write(lanes, y.tensor(), from, n, source);
      return;
    }
    var dtype = y.tensor().dtype();
    long address = y.tensor().address();
    switch (dtype) {
      case F32 -> add(lanes, address + 4 * from, source, n);
      case BF16 -> addNarrow(lanes, address + 2 * from, source, n);
      default -> {
        for (int i = 0; i < n; i++) {
          Memory.store(dtype, address, from + i, Memory.load(dtype, address, from + i) + Memory.f32(source + 4L * i));
        }
      }
    }
  }

  static void write(Lanes lanes, Tensor y, long from, int n, long source) {
    long address = y.address();
    switch (y.dtype()) {
      case F32 -> {
        if (source != address + 4 * from) copy(lanes, address + 4 * from, source, n);
      }
      case BF16 -> narrow(lanes, source, address + 2 * from, n);
      default -> {
        for (int i = 0; i < n; i++) Memory.store(y.dtype(), address, from + i, Memory.f32(source + 4L * i));
      }
    }
  }

  /// Fills `sums` with where a chain of rule 2 starts: the destination if it adds, else 0.
  static void start(Lanes lanes, Sink y, long from, int n, long sums) {
    if (!y.add()) {
      fill(lanes, sums, 0, n);
    } else {
      long old = read(lanes, y.tensor(), from, n, sums);
      if (old != sums) copy(lanes, sums, old, n);
    }
  }

  /// y = x, for rows too short to be worth a call of the runtime's copy.
  static void copy(Lanes lanes, long y, long x, int n) {
    if (lanes.emitted()) {
      RowCode.convert(y, DType.F32, false, x, DType.F32, n);
      return;
    }
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) Lanes.store(y + 4L * c, Lanes.load(x + 4L * c));
    for (; c < n; c++) Memory.f32(y + 4L * c, Memory.f32(x + 4L * c));
  }

  /// y += x.
  static void add(Lanes lanes, long y, long x, int n) {
    if (lanes.emitted()) {
      RowCode.convert(y, DType.F32, true, x, DType.F32, n);
      return;
    }
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) Lanes.store(y + 4L * c, Lanes.load(y + 4L * c).add(Lanes.load(x + 4L * c)));
    for (; c < n; c++) Memory.f32(y + 4L * c, Memory.f32(y + 4L * c) + Memory.f32(x + 4L * c));
  }

  /// y = a·x.
  static void scale(Lanes lanes, long y, long x, float a, int n) {
    if (lanes.emitted()) {
      ElementCode.SCALE.run(y, x, 0, n, a, 0);
      return;
    }
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) Lanes.store(y + 4L * c, Lanes.load(x + 4L * c).mul(a));
    for (; c < n; c++) Memory.f32(y + 4L * c, Memory.f32(x + 4L * c) * a);
  }

  /// y = x − a.
  static void minus(Lanes lanes, long y, long x, float a, int n) {
    if (lanes.emitted()) {
      ElementCode.MINUS.run(y, x, 0, n, a, 0);
      return;
    }
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) Lanes.store(y + 4L * c, Lanes.load(x + 4L * c).sub(a));
    for (; c < n; c++) Memory.f32(y + 4L * c, Memory.f32(x + 4L * c) - a);
  }

  /// y = a·b.
  static void multiply(Lanes lanes, long y, long a, long b, int n) {
    if (lanes.emitted()) {
      RowCode.combine(Binary.Function.MUL, y, DType.F32, a, DType.F32, b, DType.F32, n);
      return;
    }
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) Lanes.store(y + 4L * c, Lanes.load(a + 4L * c).mul(Lanes.load(b + 4L * c)));
    for (; c < n; c++) Memory.f32(y + 4L * c, Memory.f32(a + 4L * c) * Memory.f32(b + 4L * c));
  }

  /// y /= divisor.
  static void divide(Lanes lanes, long y, float divisor, int n) {
    if (lanes.emitted()) {
      ElementCode.DIVIDE.run(y, y, 0, n, divisor, 0);
      return;
    }
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) Lanes.store(y + 4L * c, Lanes.load(y + 4L * c).div(divisor));
    for (; c < n; c++) Memory.f32(y + 4L * c, Memory.f32(y + 4L * c) / divisor);
  }

  /// y = max(y, x).
  static void max(Lanes lanes, long y, long x, int n) {
    if (lanes.emitted()) {
      ElementCode.MAX.run(y, y, x, n);
      return;
    }
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) Lanes.store(y + 4L * c, Lanes.load(y + 4L * c).max(Lanes.load(x + 4L * c)));
    for (; c < n; c++) Memory.f32(y + 4L * c, Math.max(Memory.f32(y + 4L * c), Memory.f32(x + 4L * c)));
  }

  /// y = value.
  static void fill(Lanes lanes, long y, float value, int n) {
    if (lanes.emitted()) {
      RowCode.fill(y, value, n);
      return;
    }
    int c = 0;
    for (; c < lanes.whole(n); c += Lanes.N) Lanes.store(y + 4L * c, Lanes.all(value));
    for (; c < n; c++) Memory.f32(y + 4L * c, value);
  }

  /// Largest of n ≥ 1 elements; NaN if there is one.
  static float max(Lanes lanes, long x, int n) {
    if (lanes.emitted()) return RowCode.max(x, n);
    float max = Float.NEGATIVE_INFINITY;
    int c = 0;
    int whole = lanes.whole(n);
    if (whole > 0) {
      var m = Lanes.all(max);
      for (; c < whole; c += Lanes.N) m = m.max(Lanes.load(x + 4L * c));
      max = m.reduceLanes(VectorOperators.MAX);
    }
    for (; c < n; c++) max = Math.max(max, Memory.f32(x + 4L * c));
    return max;
  }

  /// y = log(x); they may be the same row.
  static void log(Lanes lanes, long y, long x, int n) {
    if (lanes.emitted()) ElementCode.LOG.run(y, x, n);
    else for (int i = 0; i < n; i++) Memory.f32(y + 4L * i, Log.of(Memory.f32(x + 4L * i)));
  }

  /// y = exp(factor·x + shift).
  static void exp(Lanes lanes, long y, long x, float factor, float shift, int n) {
    if (lanes.emitted()) {
      ElementCode.EXP.run(y, x, 0, n, factor, shift);
      return;
    }
    int whole = lanes.whole(n);
    for (int c = 0; c < whole; c += Lanes.N) {
      Lanes.store(y + 4L * c, Exp.of(Lanes.load(x + 4L * c).fma(Lanes.all(factor), Lanes.all(shift))));
    }
    for (int c = whole; c < n; c++) Memory.f32(y + 4L * c, Exp.of(Math.fma(Memory.f32(x + 4L * c), factor, shift)));
  }

  /// y = σ(x) = 1/(1+e⁻ˣ).
  static void sigmoid(Lanes lanes, long y, long x, int n) {
    if (lanes.emitted()) {
      ElementCode.SIGMOID.run(y, x, n);
      return;
    }
    int whole = lanes.whole(n);
    for (int c = 0; c < whole; c += Lanes.N) {
      Lanes.store(y + 4L * c, Lanes.all(1).div(Exp.of(Lanes.load(x + 4L * c).neg()).add(1)));
    }
    for (int c = whole; c < n; c++) Memory.f32(y + 4L * c, 1 / (1 + Exp.of(-Memory.f32(x + 4L * c))));
  }

  /// Σ x.
  static float sum(Lanes lanes, long x, int n, long partials) {
    if (lanes.emitted()) return RowCode.sum(x, n);
    clear(partials);
    sumInto(lanes, partials, x, n);
    return total(partials);
  }

  /// Σ a·b.
  static float dot(Lanes lanes, long a, long b, int n, long partials) {
    if (lanes.emitted()) return RowCode.dot(a, b, n);
    clear(partials);
    dotInto(lanes, partials, a, b, n);
    return total(partials);
  }

  static void clear(long partials) {
    for (int i = 0; i < PARTIALS; i += Lanes.N) Lanes.store(partials + 4L * i, Lanes.all(0));
  }

  static void sumInto(Lanes lanes, long partials, long x, int n) {
    if (lanes.emitted()) {
      RowCode.sumInto(partials, x, n);
      return;
    }
    int c = 0;
    if (lanes.vector()) {
      c = n & -PARTIALS;
      for (int p = 0; p < PARTIALS; p += Lanes.N) {
        var s = Lanes.load(partials + 4L * p);
        for (int i = p; i < c; i += PARTIALS) s = s.add(Lanes.load(x + 4L * i));
        Lanes.store(partials + 4L * p, s);
      }
    }
    for (; c < n; c++) {
      long p = partials + 4L * (c % PARTIALS);
      Memory.f32(p, Memory.f32(p) + Memory.f32(x + 4L * c));
    }
  }

  static void dotInto(Lanes lanes, long partials, long a, long b, int n) {
    if (lanes.emitted()) {
      RowCode.dotInto(partials, a, b, n);
      return;
    }
    int c = 0;
    if (lanes.vector()) {
      c = n & -PARTIALS;
      for (int p = 0; p < PARTIALS; p += Lanes.N) {
        var s = Lanes.load(partials + 4L * p);
        for (int i = p; i < c; i += PARTIALS) s = Lanes.load(a + 4L * i).fma(Lanes.load(b + 4L * i), s);
        Lanes.store(partials + 4L * p, s);
      }
    }
    for (; c < n; c++) {
      long p = partials + 4L * (c % PARTIALS);
      Memory.f32(p, Math.fma(Memory.f32(a + 4L * c), Memory.f32(b + 4L * c), Memory.f32(p)));
    }
  }

  /// The tree over the partials: i with i+8, then +4, +2, +1.
  static float total(long partials) {
    float even = quarter(partials) + quarter(partials + 8);
    float odd = quarter(partials + 4) + quarter(partials + 12);
    return even + odd;
  }

  private static float quarter(long p) {
    return Memory.f32(p) + Memory.f32(p + 32) + (Memory.f32(p + 16) + Memory.f32(p + 48));
  }
}
