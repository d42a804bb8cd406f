package org.llmcore.cpu;

import jdk.incubator.vector.IntVector;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Memory;

import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

/// `Grouped` matrices: 16 weights are one load, shift, mask and lookup in the 16 values of their group, or arithmetic where a
/// register does not hold them.
record GroupedRight(
    Grouped w, int bits, int inputs, int groups, int groupSize, boolean uniform, long codes, int rowBytes, DType scaleType, long scales, long zeros)
    implements Right {
  static GroupedRight of(Grouped w) {
    boolean uniform = w.groupOf().isEmpty() && (w.groups() == 1 || w.groupSize() % Lanes.N == 0);
    return new GroupedRight(
        w, w.bits(), w.inputs(), w.groups(), w.groupSize(), uniform, w.codes().address(), w.codes().columns(), w.scales().dtype(),
        w.scales().address(), w.zeros().address());
  }

  @Override
  public long read(Lanes lanes, long first, int n, long to) {
    int row = Math.toIntExact(first / inputs);
    int from = (int) (first - (long) row * inputs);
    int whole = from + lanes.whole(n);
    long line = codes + (long) row * rowBytes;
    long grid = (long) row * groups;
    if (uniform) {
      for (int c = from, g = from / groupSize; c < whole; g++) {
        int stop = (int) Math.min(whole, (g + 1L) * groupSize);
        run(line, c, stop, scale(grid + g), zero(grid + g), to + 4L * (c - from));
        c = stop;
      }
    } else {
      run(line, from, whole, 1, 0, to);
      for (int c = from; c < whole; c++) {
        int g = w.group(c);
        long at = to + 4L * (c - from);
        Memory.f32(at, scale(grid + g) * (Memory.f32(at) - zero(grid + g)));
      }
    }
    for (int c = whole; c < from + n; c++) Memory.f32(to + 4L * (c - from), w.get(row, c));
    return to;
  }

  private float scale(long at) {
    return scaleType == DType.F16 ? Float.float16ToFloat(Memory.u16(scales + 2 * at)) : Memory.f32(scales + 4 * at);
  }

  private float zero(long at) {
    return Float.float16ToFloat(Memory.u16(zeros + 2 * at));
  }

  /// scale·(q − zero) for whole vectors of columns `[c, end)`.
  private void run(long line, int c, int end, float scale, float zero, long to) {
    switch (bits) {
      case 2 -> two(line, c, end, scale, zero, to);
      case 3 -> three(line, c, end, scale, zero, to);
      case 4 -> four(line, c, end, scale, zero, to);
      default -> eight(line, c, end, scale, zero, to);
    }
  }

  private static void eight(long codes, int c, int end, float scale, float zero, long to) {
    for (; c < end; c += Lanes.N, to += 4L * Lanes.N) Lanes.store(to, Codes.floats(Codes.unsigned(codes + c)).sub(zero).mul(scale));
  }

  /// The values of codes below 16: the same operations on each of them as on a weight, once per group.
  private static IntVector table(float scale, float zero) {
    return Codes.floats(Codes.INDEX).sub(zero).mul(scale).reinterpretAsInts();
  }

  private static void four(long codes, int c, int end, float scale, float zero, long to) {
    var table = table(scale, zero);
    if (Codes.TABLES && (c & 31) == 0) {
      for (; c + 32 <= end; c += 32, to += 128) {
        var q = Codes.unsigned(codes + (c >> 1));
        Lanes.store(to, Codes.lookup(q.and(15), table));
        Lanes.store(to + 64, Codes.lookup(q.lanewise(LSHR, 4), table));
      }
    }
    for (; c < end; c += Lanes.N, to += 4L * Lanes.N) {
      var q = Codes.field(codes + (c >> 5 << 4) + (c & 15), c >> 2 & 4, 15);
      Lanes.store(to, Codes.TABLES ? Codes.lookup(q, table) : Codes.floats(q).sub(zero).mul(scale));
    }
  }

  private static void two(long codes, int c, int end, float scale, float zero, long to) {
    var table = table(scale, zero);
    if (Codes.TABLES && (c & 63) == 0) {
      for (; c + 64 <= end; c += 64, to += 256) {
        var q = Codes.unsigned(codes + (c >> 2));
        Lanes.store(to, Codes.lookup(q.and(3), table));
        Lanes.store(to + 64, Codes.lookup(q.lanewise(LSHR, 2).and(3), table));
        Lanes.store(to + 128, Codes.lookup(q.lanewise(LSHR, 4).and(3), table));
        Lanes.store(to + 192, Codes.lookup(q.lanewise(LSHR, 6), table));
      }
    }
    for (; c < end; c += Lanes.N, to += 4L * Lanes.N) {
      var q = Codes.field(codes + (c >> 6 << 4) + (c & 15), c >> 3 & 6, 3);
      Lanes.store(to, Codes.TABLES ? Codes.lookup(q, table) : Codes.floats(q).sub(zero).mul(scale));
    }
  }

  private static void three(long codes, int c, int end, float scale, float zero, long to) {
    var table = table(scale, zero);
    for (; c < end; c += Lanes.N, to += 4L * Lanes.N) {
      long pack = codes + 48L * (c >> 7) + (c & 15);
      var low = Codes.field(pack + (c >> 6 & 1) * 16, c >> 3 & 6, 3);
      var q = low.or(Codes.field(pack + 32, c >> 4 & 7, 1).lanewise(LSHL, 2));
      Lanes.store(to, Codes.TABLES ? Codes.lookup(q, table) : Codes.floats(q).sub(zero).mul(scale));
    }
  }
}
