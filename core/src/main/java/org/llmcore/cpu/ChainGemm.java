package org.llmcore.cpu;

import java.nio.ByteOrder;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

import org.llmcore.tensor.Memory;

/// y (+)= a·b by rule 2 of `Kernel`: every element is one chain of fused multiply-adds in ascending k that starts from y or 0.
/// Lanes run along the columns of b, whose rows are read as they lie; elements of a are broadcast. The kernel keeps 8 rows by
/// 2 vectors of y in registers: per k, 10 loads feed 16 multiply-adds, which is below what both ports of a core can load.
/// k is cut at 256, so that a strip of b (256 × 32 floats) stays in the first-level cache; between cuts the chains rest in y,
/// which is exact.
final class ChainGemm {
  private static final int DEPTH = 256;
  private static final int ROWS = 8;
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  private ChainGemm() {}

  /// One block of y. `aRow` and `aStep` are the bytes between rows and between consecutive k of a, `bRow` between k of b.
  static void block(
      Lanes lanes, long y, long yRow, long a, long aRow, long aStep, long b, long bRow, int rows, int columns, int k, boolean add) {
    if (k == 0 && !add) {
      for (int r = 0; r < rows; r++) for (int c = 0; c < columns; c++) Memory.f32(y + r * yRow + 4L * c, 0);
    }
    for (int from = 0; from < k; from += DEPTH) {
      int depth = Math.min(DEPTH, k - from);
      boolean chained = add || from > 0;
      int c = 0;
      int pair = 2 * Lanes.N;
      if (lanes.vector()) {
        for (; c + pair <= columns; c += pair) {
          for (int r = 0; r < rows; r += ROWS) {
            two(y + r * yRow + 4L * c, yRow, a + r * aRow + from * aStep, aRow, aStep, b + from * bRow + 4L * c, bRow, Math.min(ROWS, rows - r), depth, chained);
          }
        }
        for (; c < columns; c += Lanes.N) {
          var mask = Lanes.F.indexInRange(0, columns - c);
          for (int r = 0; r < rows; r++) {
            one(y + r * yRow + 4L * c, a + r * aRow + from * aStep, aStep, b + from * bRow + 4L * c, bRow, depth, chained, mask);
          }
        }
      }
      for (; c < columns; c++) {
        for (int r = 0; r < rows; r++) {
          long at = y + r * yRow + 4L * c;
          float sum = chained ? Memory.f32(at) : 0;
          for (int i = from; i < from + depth; i++) {
            sum = Math.fma(Memory.f32(a + r * aRow + i * aStep), Memory.f32(b + i * bRow + 4L * c), sum);
          }
          Memory.f32(at, sum);
        }
      }
    }
  }

  /// Up to 8 rows by 2 vectors. Missing rows repeat the last one and are not stored.
  private static void two(long y, long yRow, long a, long aRow, long aStep, long b, long bRow, int rows, int depth, boolean chained) {
    int w = 4 * Lanes.N;
    long r1 = Math.min(1, rows - 1);
    long r2 = Math.min(2, rows - 1);
    long r3 = Math.min(3, rows - 1);
    long r4 = Math.min(4, rows - 1);
    long r5 = Math.min(5, rows - 1);
    long r6 = Math.min(6, rows - 1);
    long r7 = Math.min(7, rows - 1);
    FloatVector s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3, t4, t5, t6, t7;
    if (chained) {
      s0 = Lanes.load(y);
      t0 = Lanes.load(y + w);
      s1 = Lanes.load(y + r1 * yRow);
      t1 = Lanes.load(y + r1 * yRow + w);
      s2 = Lanes.load(y + r2 * yRow);
      t2 = Lanes.load(y + r2 * yRow + w);
      s3 = Lanes.load(y + r3 * yRow);
      t3 = Lanes.load(y + r3 * yRow + w);
      s4 = Lanes.load(y + r4 * yRow);
      t4 = Lanes.load(y + r4 * yRow + w);
      s5 = Lanes.load(y + r5 * yRow);
      t5 = Lanes.load(y + r5 * yRow + w);
      s6 = Lanes.load(y + r6 * yRow);
      t6 = Lanes.load(y + r6 * yRow + w);
      s7 = Lanes.load(y + r7 * yRow);
      t7 = Lanes.load(y + r7 * yRow + w);
    } else {
      s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = Lanes.all(0);
    }
    long a1 = r1 * aRow;
    long a2 = r2 * aRow;
    long a3 = r3 * aRow;
    long a4 = r4 * aRow;
    long a5 = r5 * aRow;
    long a6 = r6 * aRow;
    long a7 = r7 * aRow;
    for (int i = 0; i < depth; i++) {
      var u = Lanes.load(b);
      var v = Lanes.load(b + w);
      var x = Lanes.all(Memory.f32(a));
      s0 = x.fma(u, s0);
      t0 = x.fma(v, t0);
      x = Lanes.all(Memory.f32(a + a1));
      s1 = x.fma(u, s1);
      t1 = x.fma(v, t1);
      x = Lanes.all(Memory.f32(a + a2));
      s2 = x.fma(u, s2);
      t2 = x.fma(v, t2);
      x = Lanes.all(Memory.f32(a + a3));
      s3 = x.fma(u, s3);
      t3 = x.fma(v, t3);
      x = Lanes.all(Memory.f32(a + a4));
      s4 = x.fma(u, s4);
      t4 = x.fma(v, t4);
      x = Lanes.all(Memory.f32(a + a5));
      s5 = x.fma(u, s5);
      t5 = x.fma(v, t5);
      x = Lanes.all(Memory.f32(a + a6));
      s6 = x.fma(u, s6);
      t6 = x.fma(v, t6);
      x = Lanes.all(Memory.f32(a + a7));
      s7 = x.fma(u, s7);
      t7 = x.fma(v, t7);
      a += aStep;
      b += bRow;
    }
    put(y, w, s0, t0);
    if (rows > 1) put(y + yRow, w, s1, t1);
    if (rows > 2) put(y + 2 * yRow, w, s2, t2);
    if (rows > 3) put(y + 3 * yRow, w, s3, t3);
    if (rows > 4) put(y + 4 * yRow, w, s4, t4);
    if (rows > 5) put(y + 5 * yRow, w, s5, t5);
    if (rows > 6) put(y + 6 * yRow, w, s6, t6);
    if (rows > 7) put(y + 7 * yRow, w, s7, t7);
  }

  private static void put(long y, int w, FloatVector s, FloatVector t) {
    Lanes.store(y, s);
    Lanes.store(y + w, t);
  }

  /// One row by one vector whose mask says which columns exist.
  private static void one(long y, long a, long aStep, long b, long bRow, int depth, boolean chained, VectorMask<Float> mask) {
    var s = chained ? FloatVector.fromMemorySegment(Lanes.F, Memory.ALL, y, ORDER, mask) : Lanes.all(0);
    for (int i = 0; i < depth; i++) {
      s = Lanes.all(Memory.f32(a)).fma(FloatVector.fromMemorySegment(Lanes.F, Memory.ALL, b, ORDER, mask), s);
      a += aStep;
      b += bRow;
    }
    s.intoMemorySegment(Memory.ALL, y, ORDER, mask);
  }
}
