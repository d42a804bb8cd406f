package org.llmcore.cpu;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Memory;

import static jdk.incubator.vector.VectorOperators.LSHL;

/// Rows of `Grouped` matrices as f32: a vector is one load, shift, mask, conversion, subtraction and product.
final class GroupedDecoding {
  private GroupedDecoding() {}

  /// Columns `[from, from+n)` of a row; `from` is a multiple of 16.
  static void decode(Lanes lanes, Grouped w, int row, int from, int n, long to) {
    int end = from + n;
    int whole = from + lanes.whole(n);
    boolean uniform = w.groupOf().isEmpty() && (w.groups() == 1 || w.groupSize() % Lanes.N == 0);
    if (uniform) {
      for (int c = from; c < whole; ) {
        int g = c / w.groupSize();
        int stop = (int) Math.min(whole, (g + 1L) * w.groupSize());
        run(w, row, c, stop, scale(w, row, g), zero(w, row, g), to + 4L * (c - from));
        c = stop;
      }
    } else {
      run(w, row, from, whole, 1, 0, to);
      for (int c = from; c < whole; c++) {
        int g = w.group(c);
        long at = to + 4L * (c - from);
        Memory.f32(at, scale(w, row, g) * (Memory.f32(at) - zero(w, row, g)));
      }
    }
    for (int c = whole; c < end; c++) Memory.f32(to + 4L * (c - from), w.get(row, c));
  }

  private static float scale(Grouped w, int row, int group) {
    return Memory.load(w.scales().dtype(), w.scales().address(), (long) row * w.groups() + group);
  }

  private static float zero(Grouped w, int row, int group) {
    return Memory.load(DType.F16, w.zeros().address(), (long) row * w.groups() + group);
  }

  /// scale·(q − zero) for whole vectors of columns `[c, end)`.
  private static void run(Grouped w, int row, int c, int end, float scale, float zero, long to) {
    long codes = w.codes().address() + (long) row * w.codes().columns();
    switch (w.bits()) {
      case 2 -> two(codes, c, end, scale, zero, to);
      case 3 -> three(codes, c, end, scale, zero, to);
      case 4 -> four(codes, c, end, scale, zero, to);
      default -> eight(codes, c, end, scale, zero, to);
    }
  }

  private static void eight(long codes, int c, int end, float scale, float zero, long to) {
    for (; c < end; c += Lanes.N, to += 4L * Lanes.N) Lanes.store(to, Codes.floats(Codes.unsigned(codes + c)).sub(zero).mul(scale));
  }

  private static void four(long codes, int c, int end, float scale, float zero, long to) {
    for (; c < end; c += Lanes.N, to += 4L * Lanes.N) {
      var q = Codes.field(codes + (c >> 5 << 4) + (c & 15), c >> 2 & 4, 15);
      Lanes.store(to, Codes.floats(q).sub(zero).mul(scale));
    }
  }

  private static void two(long codes, int c, int end, float scale, float zero, long to) {
    for (; c < end; c += Lanes.N, to += 4L * Lanes.N) {
      var q = Codes.field(codes + (c >> 6 << 4) + (c & 15), c >> 3 & 6, 3);
      Lanes.store(to, Codes.floats(q).sub(zero).mul(scale));
    }
  }

  private static void three(long codes, int c, int end, float scale, float zero, long to) {
    for (; c < end; c += Lanes.N, to += 4L * Lanes.N) {
      long pack = codes + 48L * (c >> 7) + (c & 15);
      var low = Codes.field(pack + (c >> 6 & 1) * 16, c >> 3 & 6, 3);
      var high = Codes.field(pack + 32, c >> 4 & 7, 1).lanewise(LSHL, 2);
      Lanes.store(to, Codes.floats(low.or(high)).sub(zero).mul(scale));
    }
  }
}
