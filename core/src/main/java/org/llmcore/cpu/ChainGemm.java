package org.llmcore.cpu;

import java.nio.ByteOrder;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;

import org.llmcore.tensor.Memory;

/// y (+)= a·b by rule 2 of `Kernel`: every element is one chain of fused multiply-adds in ascending k that starts from y or 0.
/// Lanes run along the columns of b, whose rows are read as they lie; elements of a are broadcast. The kernel keeps 4 rows by
/// 4 vectors of y in registers: per k, 8 loads feed 16 multiply-adds. k is cut at 256, so that a strip of b (256 × 64 floats)
/// stays in the caches; between cuts the chains rest in y, which is exact.
///
/// The method of the 16 accumulators is as large as the compiler's inlining budget allows: a larger one silently boxes its
/// vectors and runs ten times slower.
final class ChainGemm {
  private static final int DEPTH = 256;
  private static final int ROWS = 4;
  private static final int W = 4 * Lanes.N;
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  private ChainGemm() {}

  /// One block of y. `aRow` and `aStep` are the bytes between rows and between consecutive k of a, `bRow` between k of b.
  static void block(
      Lanes lanes, long y, long yRow, long a, long aRow, long aStep, long b, long bRow, int rows, int columns, int k, boolean add) {
    if (!add) {
      for (int r = 0; r < rows; r++) Memory.ALL.asSlice(y + r * yRow, 4L * columns).fill((byte) 0);
    }
    for (int from = 0; from < k; from += DEPTH) {
      strip(lanes, y, yRow, a + from * aStep, aRow, aStep, b + from * bRow, bRow, rows, columns, Math.min(DEPTH, k - from));
    }
  }

  private static void strip(
      Lanes lanes, long y, long yRow, long a, long aRow, long aStep, long b, long bRow, int rows, int columns, int depth) {
    int c = 0;
    if (lanes.vector()) {
      for (; c + 4 * Lanes.N <= columns; c += 4 * Lanes.N) {
        for (int r = 0; r < rows; r += ROWS) four(y + r * yRow + 4L * c, yRow, a + r * aRow, aRow, aStep, b + 4L * c, bRow, rows - r, depth);
      }
      for (; c + 2 * Lanes.N <= columns; c += 2 * Lanes.N) {
        for (int r = 0; r < rows; r += ROWS) two(y + r * yRow + 4L * c, yRow, a + r * aRow, aRow, aStep, b + 4L * c, bRow, rows - r, depth);
      }
      for (; c < columns; c += Lanes.N) {
        var mask = Lanes.F.indexInRange(0, columns - c);
        for (int r = 0; r < rows; r += ROWS) one(y + r * yRow + 4L * c, yRow, a + r * aRow, aRow, aStep, b + 4L * c, bRow, rows - r, depth, mask);
      }
    }
    for (; c < columns; c++) {
      for (int r = 0; r < rows; r++) {
        long at = y + r * yRow + 4L * c;
        float sum = Memory.f32(at);
        for (int i = 0; i < depth; i++) sum = Math.fma(Memory.f32(a + r * aRow + i * aStep), Memory.f32(b + i * bRow + 4L * c), sum);
        Memory.f32(at, sum);
      }
    }
  }

  /// 4 rows by 4 vectors. Missing rows repeat the last one: they compute and store its values again.
  private static void four(long y, long yRow, long a, long aRow, long aStep, long b, long bRow, int rows, int depth) {
    long r1 = Math.min(1, rows - 1);
    long r2 = Math.min(2, rows - 1);
    long r3 = Math.min(3, rows - 1);
    long y1 = y + r1 * yRow;
    long y2 = y + r2 * yRow;
    long y3 = y + r3 * yRow;
    var s00 = Lanes.load(y);
    var s01 = Lanes.load(y + W);
    var s02 = Lanes.load(y + 2 * W);
    var s03 = Lanes.load(y + 3 * W);
    var s10 = Lanes.load(y1);
    var s11 = Lanes.load(y1 + W);
    var s12 = Lanes.load(y1 + 2 * W);
    var s13 = Lanes.load(y1 + 3 * W);
    var s20 = Lanes.load(y2);
    var s21 = Lanes.load(y2 + W);
    var s22 = Lanes.load(y2 + 2 * W);
    var s23 = Lanes.load(y2 + 3 * W);
    var s30 = Lanes.load(y3);
    var s31 = Lanes.load(y3 + W);
    var s32 = Lanes.load(y3 + 2 * W);
    var s33 = Lanes.load(y3 + 3 * W);
    long a1 = r1 * aRow;
    long a2 = r2 * aRow;
    long a3 = r3 * aRow;
    for (int i = 0; i < depth; i++) {
      var u0 = Lanes.load(b);
      var u1 = Lanes.load(b + W);
      var u2 = Lanes.load(b + 2 * W);
      var u3 = Lanes.load(b + 3 * W);
      var x = Lanes.all(Memory.f32(a));
      s00 = x.fma(u0, s00);
      s01 = x.fma(u1, s01);
      s02 = x.fma(u2, s02);
      s03 = x.fma(u3, s03);
      x = Lanes.all(Memory.f32(a + a1));
      s10 = x.fma(u0, s10);
      s11 = x.fma(u1, s11);
      s12 = x.fma(u2, s12);
      s13 = x.fma(u3, s13);
      x = Lanes.all(Memory.f32(a + a2));
      s20 = x.fma(u0, s20);
      s21 = x.fma(u1, s21);
      s22 = x.fma(u2, s22);
      s23 = x.fma(u3, s23);
      x = Lanes.all(Memory.f32(a + a3));
      s30 = x.fma(u0, s30);
      s31 = x.fma(u1, s31);
      s32 = x.fma(u2, s32);
      s33 = x.fma(u3, s33);
      a += aStep;
      b += bRow;
    }
    Lanes.store(y, s00);
    Lanes.store(y + W, s01);
    Lanes.store(y + 2 * W, s02);
    Lanes.store(y + 3 * W, s03);
    Lanes.store(y1, s10);
    Lanes.store(y1 + W, s11);
    Lanes.store(y1 + 2 * W, s12);
    Lanes.store(y1 + 3 * W, s13);
    Lanes.store(y2, s20);
    Lanes.store(y2 + W, s21);
    Lanes.store(y2 + 2 * W, s22);
    Lanes.store(y2 + 3 * W, s23);
    Lanes.store(y3, s30);
    Lanes.store(y3 + W, s31);
    Lanes.store(y3 + 2 * W, s32);
    Lanes.store(y3 + 3 * W, s33);
  }

  /// 4 rows by 2 vectors, for what is left of the columns.
  private static void two(long y, long yRow, long a, long aRow, long aStep, long b, long bRow, int rows, int depth) {
    long r1 = Math.min(1, rows - 1);
    long r2 = Math.min(2, rows - 1);
    long r3 = Math.min(3, rows - 1);
    long y1 = y + r1 * yRow;
    long y2 = y + r2 * yRow;
    long y3 = y + r3 * yRow;
    var s00 = Lanes.load(y);
    var s01 = Lanes.load(y + W);
    var s10 = Lanes.load(y1);
    var s11 = Lanes.load(y1 + W);
    var s20 = Lanes.load(y2);
    var s21 = Lanes.load(y2 + W);
    var s30 = Lanes.load(y3);
    var s31 = Lanes.load(y3 + W);
    for (int i = 0; i < depth; i++) {
      var u0 = Lanes.load(b);
      var u1 = Lanes.load(b + W);
      var x = Lanes.all(Memory.f32(a));
      s00 = x.fma(u0, s00);
      s01 = x.fma(u1, s01);
      x = Lanes.all(Memory.f32(a + r1 * aRow));
      s10 = x.fma(u0, s10);
      s11 = x.fma(u1, s11);
      x = Lanes.all(Memory.f32(a + r2 * aRow));
      s20 = x.fma(u0, s20);
      s21 = x.fma(u1, s21);
      x = Lanes.all(Memory.f32(a + r3 * aRow));
      s30 = x.fma(u0, s30);
      s31 = x.fma(u1, s31);
      a += aStep;
      b += bRow;
    }
    Lanes.store(y, s00);
    Lanes.store(y + W, s01);
    Lanes.store(y1, s10);
    Lanes.store(y1 + W, s11);
    Lanes.store(y2, s20);
    Lanes.store(y2 + W, s21);
    Lanes.store(y3, s30);
    Lanes.store(y3 + W, s31);
  }

  /// 4 rows by one vector whose mask says which columns exist.
  private static void one(
      long y, long yRow, long a, long aRow, long aStep, long b, long bRow, int rows, int depth, VectorMask<Float> mask) {
    long r1 = Math.min(1, rows - 1);
    long r2 = Math.min(2, rows - 1);
    long r3 = Math.min(3, rows - 1);
    var s0 = load(y, mask);
    var s1 = load(y + r1 * yRow, mask);
    var s2 = load(y + r2 * yRow, mask);
    var s3 = load(y + r3 * yRow, mask);
    for (int i = 0; i < depth; i++) {
      var u = load(b, mask);
      s0 = Lanes.all(Memory.f32(a)).fma(u, s0);
      s1 = Lanes.all(Memory.f32(a + r1 * aRow)).fma(u, s1);
      s2 = Lanes.all(Memory.f32(a + r2 * aRow)).fma(u, s2);
      s3 = Lanes.all(Memory.f32(a + r3 * aRow)).fma(u, s3);
      a += aStep;
      b += bRow;
    }
    s0.intoMemorySegment(Memory.ALL, y, ORDER, mask);
    s1.intoMemorySegment(Memory.ALL, y + r1 * yRow, ORDER, mask);
    s2.intoMemorySegment(Memory.ALL, y + r2 * yRow, ORDER, mask);
    s3.intoMemorySegment(Memory.ALL, y + r3 * yRow, ORDER, mask);
  }

  private static FloatVector load(long address, VectorMask<Float> mask) {
    return FloatVector.fromMemorySegment(Lanes.F, Memory.ALL, address, ORDER, mask);
  }
}
