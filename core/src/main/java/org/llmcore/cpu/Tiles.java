package org.llmcore.cpu;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorSpecies;

import org.llmcore.tensor.Memory;

/// The innermost loops of matrix products: chains of fused multiply-adds for a tile of 4 rows by 2 or 4 vectors of columns.
///
///     y[r, c] += a[r, 0]·b[0, c] + … + a[r, depth−1]·b[depth−1, c]        each term one fma, in this order
///
/// Elements of a are broadcast; b is a panel whose rows of `QUAD` (or `PAIR`) floats follow each other without a gap. Per step
/// `quad` feeds 16 multiply-adds with 8 loads. Where fewer than 4 rows exist the last is repeated: it is computed and stored
/// again with the same values.
///
/// The method of 16 accumulators is about as large as the compiler's inlining budget allows: a larger one silently boxes its
/// vectors and runs ten times slower. Where there are only 16 vector registers (AVX2: 8 lanes), `pair` is all that fits.
final class Tiles {
  /// Rows of a tile.
  static final int ROWS = 4;

  /// Columns of the wide tile.
  static final int QUAD = 4 * Lanes.N;

  /// Columns of the narrow tile.
  static final int PAIR = 2 * Lanes.N;

  /// Columns of most panels.
  static final int WIDTH = Lanes.N == 8 ? PAIR : QUAD;

  private static final int W = 4 * Lanes.N;

  private static final VectorSpecies<Float> F = Lanes.F;
  private static final MemorySegment ALL = Memory.ALL;
  private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();

  private Tiles() {}

  /// Columns of the panel that holds what is left: `WIDTH`, or `PAIR` if that is enough.
  static int width(int columns) {
    return columns > PAIR ? WIDTH : PAIR;
  }

  /// Continues the chains of a tile of `width` columns of y. Rows are `…Row` bytes apart, consecutive k of a `aStep` bytes.
  static void chain(
      Lanes lanes, int width, long y, long yRow, long a, long aRow, long aStep, long b, int rows, int depth) {
    if (!lanes.vector()) scalar(width, y, yRow, a, aRow, aStep, b, Math.min(ROWS, rows), depth);
    else if (width == QUAD) quad(y, yRow, a, aRow, aStep, b, rows, depth);
    else pair(y, yRow, a, aRow, aStep, b, rows, depth);
  }

  /// One leaf of a tree of partial sums: chains that start from 0, to which the `pops` subtrees of equal size that wait on the
  /// stack (dense tiles, the smallest first) are added; the sum goes to the stack's place `pops`.
  static void leaf(Lanes lanes, int width, long stack, int pops, long a, long aRow, long aStep, long b, int rows, int depth) {
    if (!lanes.vector()) scalarLeaf(width, stack, pops, a, aRow, aStep, b, Math.min(ROWS, rows), depth);
    else if (width == QUAD) quadLeaf(stack, pops, a, aRow, aStep, b, rows, depth);
    else pairLeaf(stack, pops, a, aRow, aStep, b, rows, depth);
  }

  private static void quad(long y, long yRow, long a, long aRow, long aStep, long b, int rows, int depth) {
    long r1 = Math.min(1, rows - 1);
    long r2 = Math.min(2, rows - 1);
    long r3 = Math.min(3, rows - 1);
    long y1 = y + r1 * yRow;
    long y2 = y + r2 * yRow;
    long y3 = y + r3 * yRow;
    var s00 = FloatVector.fromMemorySegment(F, ALL, y, ORDER);
    var s01 = FloatVector.fromMemorySegment(F, ALL, y + W, ORDER);
    var s02 = FloatVector.fromMemorySegment(F, ALL, y + 2 * W, ORDER);
    var s03 = FloatVector.fromMemorySegment(F, ALL, y + 3 * W, ORDER);
    var s10 = FloatVector.fromMemorySegment(F, ALL, y1, ORDER);
    var s11 = FloatVector.fromMemorySegment(F, ALL, y1 + W, ORDER);
    var s12 = FloatVector.fromMemorySegment(F, ALL, y1 + 2 * W, ORDER);
    var s13 = FloatVector.fromMemorySegment(F, ALL, y1 + 3 * W, ORDER);
    var s20 = FloatVector.fromMemorySegment(F, ALL, y2, ORDER);
    var s21 = FloatVector.fromMemorySegment(F, ALL, y2 + W, ORDER);
    var s22 = FloatVector.fromMemorySegment(F, ALL, y2 + 2 * W, ORDER);
    var s23 = FloatVector.fromMemorySegment(F, ALL, y2 + 3 * W, ORDER);
    var s30 = FloatVector.fromMemorySegment(F, ALL, y3, ORDER);
    var s31 = FloatVector.fromMemorySegment(F, ALL, y3 + W, ORDER);
    var s32 = FloatVector.fromMemorySegment(F, ALL, y3 + 2 * W, ORDER);
    var s33 = FloatVector.fromMemorySegment(F, ALL, y3 + 3 * W, ORDER);
    long a1 = r1 * aRow;
    long a2 = r2 * aRow;
    long a3 = r3 * aRow;
    for (int i = 0; i < depth; i++) {
      var u0 = FloatVector.fromMemorySegment(F, ALL, b, ORDER);
      var u1 = FloatVector.fromMemorySegment(F, ALL, b + W, ORDER);
      var u2 = FloatVector.fromMemorySegment(F, ALL, b + 2 * W, ORDER);
      var u3 = FloatVector.fromMemorySegment(F, ALL, b + 3 * W, ORDER);
      var x = FloatVector.broadcast(F, ALL.get(FLOAT, a));
      s00 = x.fma(u0, s00);
      s01 = x.fma(u1, s01);
      s02 = x.fma(u2, s02);
      s03 = x.fma(u3, s03);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a1));
      s10 = x.fma(u0, s10);
      s11 = x.fma(u1, s11);
      s12 = x.fma(u2, s12);
      s13 = x.fma(u3, s13);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a2));
      s20 = x.fma(u0, s20);
      s21 = x.fma(u1, s21);
      s22 = x.fma(u2, s22);
      s23 = x.fma(u3, s23);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a3));
      s30 = x.fma(u0, s30);
      s31 = x.fma(u1, s31);
      s32 = x.fma(u2, s32);
      s33 = x.fma(u3, s33);
      a += aStep;
      b += 4 * W;
    }
    s00.intoMemorySegment(ALL, y, ORDER);
    s01.intoMemorySegment(ALL, y + W, ORDER);
    s02.intoMemorySegment(ALL, y + 2 * W, ORDER);
    s03.intoMemorySegment(ALL, y + 3 * W, ORDER);
    s10.intoMemorySegment(ALL, y1, ORDER);
    s11.intoMemorySegment(ALL, y1 + W, ORDER);
    s12.intoMemorySegment(ALL, y1 + 2 * W, ORDER);
    s13.intoMemorySegment(ALL, y1 + 3 * W, ORDER);
    s20.intoMemorySegment(ALL, y2, ORDER);
    s21.intoMemorySegment(ALL, y2 + W, ORDER);
    s22.intoMemorySegment(ALL, y2 + 2 * W, ORDER);
    s23.intoMemorySegment(ALL, y2 + 3 * W, ORDER);
    s30.intoMemorySegment(ALL, y3, ORDER);
    s31.intoMemorySegment(ALL, y3 + W, ORDER);
    s32.intoMemorySegment(ALL, y3 + 2 * W, ORDER);
    s33.intoMemorySegment(ALL, y3 + 3 * W, ORDER);
  }

  private static void pair(long y, long yRow, long a, long aRow, long aStep, long b, int rows, int depth) {
    long r1 = Math.min(1, rows - 1);
    long r2 = Math.min(2, rows - 1);
    long r3 = Math.min(3, rows - 1);
    long y1 = y + r1 * yRow;
    long y2 = y + r2 * yRow;
    long y3 = y + r3 * yRow;
    var s00 = FloatVector.fromMemorySegment(F, ALL, y, ORDER);
    var s01 = FloatVector.fromMemorySegment(F, ALL, y + W, ORDER);
    var s10 = FloatVector.fromMemorySegment(F, ALL, y1, ORDER);
    var s11 = FloatVector.fromMemorySegment(F, ALL, y1 + W, ORDER);
    var s20 = FloatVector.fromMemorySegment(F, ALL, y2, ORDER);
    var s21 = FloatVector.fromMemorySegment(F, ALL, y2 + W, ORDER);
    var s30 = FloatVector.fromMemorySegment(F, ALL, y3, ORDER);
    var s31 = FloatVector.fromMemorySegment(F, ALL, y3 + W, ORDER);
    long a1 = r1 * aRow;
    long a2 = r2 * aRow;
    long a3 = r3 * aRow;
    for (int i = 0; i < depth; i++) {
      var u0 = FloatVector.fromMemorySegment(F, ALL, b, ORDER);
      var u1 = FloatVector.fromMemorySegment(F, ALL, b + W, ORDER);
      var x = FloatVector.broadcast(F, ALL.get(FLOAT, a));
      s00 = x.fma(u0, s00);
      s01 = x.fma(u1, s01);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a1));
      s10 = x.fma(u0, s10);
      s11 = x.fma(u1, s11);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a2));
      s20 = x.fma(u0, s20);
      s21 = x.fma(u1, s21);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a3));
      s30 = x.fma(u0, s30);
      s31 = x.fma(u1, s31);
      a += aStep;
      b += 2 * W;
    }
    s00.intoMemorySegment(ALL, y, ORDER);
    s01.intoMemorySegment(ALL, y + W, ORDER);
    s10.intoMemorySegment(ALL, y1, ORDER);
    s11.intoMemorySegment(ALL, y1 + W, ORDER);
    s20.intoMemorySegment(ALL, y2, ORDER);
    s21.intoMemorySegment(ALL, y2 + W, ORDER);
    s30.intoMemorySegment(ALL, y3, ORDER);
    s31.intoMemorySegment(ALL, y3 + W, ORDER);
  }

  private static void quadLeaf(long stack, int pops, long a, long aRow, long aStep, long b, int rows, int depth) {
    long a1 = Math.min(1, rows - 1) * aRow;
    long a2 = Math.min(2, rows - 1) * aRow;
    long a3 = Math.min(3, rows - 1) * aRow;
    FloatVector s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33;
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = FloatVector.zero(F);
    for (int i = 0; i < depth; i++) {
      var u0 = FloatVector.fromMemorySegment(F, ALL, b, ORDER);
      var u1 = FloatVector.fromMemorySegment(F, ALL, b + W, ORDER);
      var u2 = FloatVector.fromMemorySegment(F, ALL, b + 2 * W, ORDER);
      var u3 = FloatVector.fromMemorySegment(F, ALL, b + 3 * W, ORDER);
      var x = FloatVector.broadcast(F, ALL.get(FLOAT, a));
      s00 = x.fma(u0, s00);
      s01 = x.fma(u1, s01);
      s02 = x.fma(u2, s02);
      s03 = x.fma(u3, s03);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a1));
      s10 = x.fma(u0, s10);
      s11 = x.fma(u1, s11);
      s12 = x.fma(u2, s12);
      s13 = x.fma(u3, s13);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a2));
      s20 = x.fma(u0, s20);
      s21 = x.fma(u1, s21);
      s22 = x.fma(u2, s22);
      s23 = x.fma(u3, s23);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a3));
      s30 = x.fma(u0, s30);
      s31 = x.fma(u1, s31);
      s32 = x.fma(u2, s32);
      s33 = x.fma(u3, s33);
      a += aStep;
      b += 4 * W;
    }
    for (int i = 0; i < pops; i++) {
      s00 = FloatVector.fromMemorySegment(F, ALL, stack, ORDER).add(s00);
      s01 = FloatVector.fromMemorySegment(F, ALL, stack + W, ORDER).add(s01);
      s02 = FloatVector.fromMemorySegment(F, ALL, stack + 2 * W, ORDER).add(s02);
      s03 = FloatVector.fromMemorySegment(F, ALL, stack + 3 * W, ORDER).add(s03);
      s10 = FloatVector.fromMemorySegment(F, ALL, stack + 4 * W, ORDER).add(s10);
      s11 = FloatVector.fromMemorySegment(F, ALL, stack + 5 * W, ORDER).add(s11);
      s12 = FloatVector.fromMemorySegment(F, ALL, stack + 6 * W, ORDER).add(s12);
      s13 = FloatVector.fromMemorySegment(F, ALL, stack + 7 * W, ORDER).add(s13);
      s20 = FloatVector.fromMemorySegment(F, ALL, stack + 8 * W, ORDER).add(s20);
      s21 = FloatVector.fromMemorySegment(F, ALL, stack + 9 * W, ORDER).add(s21);
      s22 = FloatVector.fromMemorySegment(F, ALL, stack + 10 * W, ORDER).add(s22);
      s23 = FloatVector.fromMemorySegment(F, ALL, stack + 11 * W, ORDER).add(s23);
      s30 = FloatVector.fromMemorySegment(F, ALL, stack + 12 * W, ORDER).add(s30);
      s31 = FloatVector.fromMemorySegment(F, ALL, stack + 13 * W, ORDER).add(s31);
      s32 = FloatVector.fromMemorySegment(F, ALL, stack + 14 * W, ORDER).add(s32);
      s33 = FloatVector.fromMemorySegment(F, ALL, stack + 15 * W, ORDER).add(s33);
      stack += 16 * W;
    }
    s00.intoMemorySegment(ALL, stack, ORDER);
    s01.intoMemorySegment(ALL, stack + W, ORDER);
    s02.intoMemorySegment(ALL, stack + 2 * W, ORDER);
    s03.intoMemorySegment(ALL, stack + 3 * W, ORDER);
    s10.intoMemorySegment(ALL, stack + 4 * W, ORDER);
    s11.intoMemorySegment(ALL, stack + 5 * W, ORDER);
    s12.intoMemorySegment(ALL, stack + 6 * W, ORDER);
    s13.intoMemorySegment(ALL, stack + 7 * W, ORDER);
    s20.intoMemorySegment(ALL, stack + 8 * W, ORDER);
    s21.intoMemorySegment(ALL, stack + 9 * W, ORDER);
    s22.intoMemorySegment(ALL, stack + 10 * W, ORDER);
    s23.intoMemorySegment(ALL, stack + 11 * W, ORDER);
    s30.intoMemorySegment(ALL, stack + 12 * W, ORDER);
    s31.intoMemorySegment(ALL, stack + 13 * W, ORDER);
    s32.intoMemorySegment(ALL, stack + 14 * W, ORDER);
    s33.intoMemorySegment(ALL, stack + 15 * W, ORDER);
  }

  private static void pairLeaf(long stack, int pops, long a, long aRow, long aStep, long b, int rows, int depth) {
    long a1 = Math.min(1, rows - 1) * aRow;
    long a2 = Math.min(2, rows - 1) * aRow;
    long a3 = Math.min(3, rows - 1) * aRow;
    FloatVector s00, s01, s10, s11, s20, s21, s30, s31;
    s00 = s01 = s10 = s11 = s20 = s21 = s30 = s31 = FloatVector.zero(F);
    for (int i = 0; i < depth; i++) {
      var u0 = FloatVector.fromMemorySegment(F, ALL, b, ORDER);
      var u1 = FloatVector.fromMemorySegment(F, ALL, b + W, ORDER);
      var x = FloatVector.broadcast(F, ALL.get(FLOAT, a));
      s00 = x.fma(u0, s00);
      s01 = x.fma(u1, s01);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a1));
      s10 = x.fma(u0, s10);
      s11 = x.fma(u1, s11);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a2));
      s20 = x.fma(u0, s20);
      s21 = x.fma(u1, s21);
      x = FloatVector.broadcast(F, ALL.get(FLOAT, a + a3));
      s30 = x.fma(u0, s30);
      s31 = x.fma(u1, s31);
      a += aStep;
      b += 2 * W;
    }
    for (int i = 0; i < pops; i++) {
      s00 = FloatVector.fromMemorySegment(F, ALL, stack, ORDER).add(s00);
      s01 = FloatVector.fromMemorySegment(F, ALL, stack + W, ORDER).add(s01);
      s10 = FloatVector.fromMemorySegment(F, ALL, stack + 2 * W, ORDER).add(s10);
      s11 = FloatVector.fromMemorySegment(F, ALL, stack + 3 * W, ORDER).add(s11);
      s20 = FloatVector.fromMemorySegment(F, ALL, stack + 4 * W, ORDER).add(s20);
      s21 = FloatVector.fromMemorySegment(F, ALL, stack + 5 * W, ORDER).add(s21);
      s30 = FloatVector.fromMemorySegment(F, ALL, stack + 6 * W, ORDER).add(s30);
      s31 = FloatVector.fromMemorySegment(F, ALL, stack + 7 * W, ORDER).add(s31);
      stack += 8 * W;
    }
    s00.intoMemorySegment(ALL, stack, ORDER);
    s01.intoMemorySegment(ALL, stack + W, ORDER);
    s10.intoMemorySegment(ALL, stack + 2 * W, ORDER);
    s11.intoMemorySegment(ALL, stack + 3 * W, ORDER);
    s20.intoMemorySegment(ALL, stack + 4 * W, ORDER);
    s21.intoMemorySegment(ALL, stack + 5 * W, ORDER);
    s30.intoMemorySegment(ALL, stack + 6 * W, ORDER);
    s31.intoMemorySegment(ALL, stack + 7 * W, ORDER);
  }

  private static void scalar(int width, long y, long yRow, long a, long aRow, long aStep, long b, int rows, int depth) {
    for (int r = 0; r < rows; r++) {
      for (int c = 0; c < width; c++) {
        long at = y + r * yRow + 4L * c;
        float sum = Memory.f32(at);
        for (int i = 0; i < depth; i++) {
          sum = Math.fma(Memory.f32(a + r * aRow + i * aStep), Memory.f32(b + 4L * ((long) i * width + c)), sum);
        }
        Memory.f32(at, sum);
      }
    }
  }

  private static void scalarLeaf(
      int width, long stack, int pops, long a, long aRow, long aStep, long b, int rows, int depth) {
    for (int r = 0; r < rows; r++) {
      for (int c = 0; c < width; c++) {
        float sum = 0;
        for (int i = 0; i < depth; i++) {
          sum = Math.fma(Memory.f32(a + r * aRow + i * aStep), Memory.f32(b + 4L * ((long) i * width + c)), sum);
        }
        long at = stack + 4L * (r * width + c);
        for (int i = 0; i < pops; i++, at += 4L * ROWS * width) sum = Memory.f32(at) + sum;
        Memory.f32(at, sum);
      }
    }
  }
}
