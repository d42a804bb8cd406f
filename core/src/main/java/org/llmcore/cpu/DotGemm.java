package org.llmcore.cpu;

import java.nio.ByteOrder;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorMask;
import jdk.incubator.vector.VectorShuffle;

import org.llmcore.tensor.Memory;

/// Blocks of y (+)= alpha·a·bᵀ by rule 3 of `Kernel`, for the few rows of a when decoding: every element is a dot product of two
/// rows in 16 partial sums and a tree. Rows of b are read once, where they lie, so b streams at the speed of memory; rows that
/// must be converted or decoded are so in pieces of four rows that stay in a first-level cache, between which the partial sums
/// rest in memory.
///
/// On 16-lane vectors the partials of one element are one register: the kernel keeps 4 × 4 elements, 8 loads feed 16
/// multiply-adds, and the 16 trees are done together by 15 shuffled additions. Narrower vectors sweep the rows once per group
/// of partials.
final class DotGemm {
  /// Columns of a block.
  static final int BREADTH = 128;

  private static final int PARTIALS = Rows.PARTIALS;
  private static final ByteOrder ORDER = ByteOrder.nativeOrder();
  private static final int PIECE = 512; // columns of four rows that are decoded together: 8 KB
  private static final boolean WIDE = Lanes.N == PARTIALS;

  /// One level of the tree over pairs of vectors: `of(u, v)` adds element i to element i + STEP within every group of 2·STEP
  /// lanes, of u into the lower and of v into the upper half of the result's groups.
  private record Level(VectorShuffle<Float> low, VectorShuffle<Float> high, VectorMask<Float> upper) {
    static Level of(int step) {
      // The result is made of 16/STEP groups of STEP lanes: first those of u, then those of v.
      int groups = PARTIALS / step;
      return new Level(
          VectorShuffle.fromOp(Lanes.F, i -> (i / step % (groups / 2) * 2 * step + i % step) % Lanes.N),
          VectorShuffle.fromOp(Lanes.F, i -> (i / step % (groups / 2) * 2 * step + i % step + step) % Lanes.N),
          VectorMask.fromLong(Lanes.F, 0xff00));
    }

    FloatVector add(FloatVector u, FloatVector v) {
      var first = u.rearrange(low).blend(v.rearrange(low), upper);
      var second = u.rearrange(high).blend(v.rearrange(high), upper);
      return first.add(second);
    }
  }

  private static final Level EIGHT = Level.of(8);
  private static final Level FOUR = Level.of(4);
  private static final Level TWO = Level.of(2);
  private static final Level ONE = Level.of(1);

  private final Lanes lanes;
  private final Gemm c;
  private final long a;
  private final int k;
  private final VectorMask<Float> mask;

  /// @param a the left operand as f32
  DotGemm(Lanes lanes, Gemm c, long a) {
    this.lanes = lanes;
    this.c = c;
    this.a = a;
    k = c.k();
    mask = Lanes.F.indexInRange(0, k % PARTIALS);
  }

  /// One block, into f32 memory whose rows are `pitch` bytes apart.
  void run(Block block, long y, long pitch, Scratch scratch) {
    boolean plain = c.b().plain();
    long sums = scratch.floats(PARTIALS * (plain ? PARTIALS : 4L * block.rows()));
    long staging = plain ? 0 : scratch.floats(4L * PIECE);
    long left = a + 4 * block.a(c.m(), k, 0, false);
    long first = block.b(c.n(), k, 0, true);
    for (int col = 0; col < block.columns(); col += 4) {
      int width = Math.min(4, block.columns() - col);
      long at = first + (long) col * k;
      if (!plain) staged(y + 4L * col, pitch, left, at, block.rows(), width, sums, staging);
      else if (lanes.vector() && WIDE) wide(y + 4L * col, pitch, left, c.b().read(lanes, at, width * k, staging), block.rows(), width, sums);
      else narrow(y + 4L * col, pitch, left, c.b().read(lanes, at, width * k, staging), block.rows(), width, sums);
    }
  }

  /// Up to four columns of y from rows of b that begin at element `right` and are decoded piece by piece. The partial sums of
  /// row r with column i are vector 4·r + i of `sums`.
  private void staged(long y, long yRow, long left, long right, int rows, int width, long sums, long staging) {
    for (int i = 0; i < 4 * rows; i++) Rows.clear(sums + 64L * i);
    for (int from = 0; from < k; from += PIECE) {
      int n = Math.min(PIECE, k - from);
      for (int i = 0; i < width; i++) c.b().read(lanes, right + (long) i * k + from, n, staging + 4L * i * PIECE);
      long u = left + 4L * from;
      int whole = lanes.vector() && WIDE ? n & -PARTIALS : 0;
      int r = 0;
      for (; whole > 0 && r + 4 <= rows; r += 4) fourMore(u + 4L * r * k, 4L * k, staging, whole, sums + 256L * r);
      for (; whole > 0 && r < rows; r++) oneMore(u + 4L * r * k, staging, whole, sums + 256L * r);
      for (r = 0; whole < n && r < rows; r++) {
        for (int i = 0; i < width; i++) {
          Rows.dotInto(lanes, sums + 64L * (4 * r + i), u + 4L * ((long) r * k + whole), staging + 4L * (i * PIECE + whole), n - whole);
        }
      }
    }
    for (int r = 0; r < rows; r++) {
      for (int i = 0; i < width; i++) put(y + r * yRow + 4L * i, Rows.total(sums + 64L * (4 * r + i)), c.alpha(), c.y().add());
    }
  }

  private void narrow(long y, long yRow, long left, long right, int rows, int width, long sums) {
    for (int r = 0; r < rows; r++) {
      for (int i = 0; i < width; i++) {
        put(y + r * yRow + 4L * i, Rows.dot(lanes, left + 4L * r * k, right + 4L * i * k, k, sums), c.alpha(), c.y().add());
      }
    }
  }

  private void wide(long y, long yRow, long left, long right, int rows, int width, long sums) {
    int tail = k % PARTIALS;
    long pitch = 4L * k;
    int r = 0;
    for (; r + 4 <= rows; r += 4) {
      four(left + r * pitch, right, pitch, width, k - tail, tail, mask, sums);
      finish(trees(sums), y + r * yRow, yRow, 4, width, c.alpha(), c.y().add(), sums);
    }
    for (; r < rows; r++) {
      var s = one(left + r * pitch, right, pitch, width, k - tail, tail, mask);
      finish(s, y + r * yRow, yRow, 1, width, c.alpha(), c.y().add(), sums);
    }
  }

  /// Partial sums of 4 rows of a with up to 4 rows of b: vector 4·i + j of `sums` is row i with row j. Missing rows of b repeat
  /// the last. The trees are a method of their own: together both exceed what the compiler keeps in registers.
  private static void four(long a, long b, long pitch, int width, int whole, int tail, VectorMask<Float> mask, long sums) {
    long a1 = pitch;
    long a2 = 2 * pitch;
    long a3 = 3 * pitch;
    long b1 = Math.min(1, width - 1) * pitch;
    long b2 = Math.min(2, width - 1) * pitch;
    long b3 = Math.min(3, width - 1) * pitch;
    FloatVector s00, s01, s02, s03, s10, s11, s12, s13, s20, s21, s22, s23, s30, s31, s32, s33;
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = Lanes.all(0);
    for (int i = 0; i < whole; i += PARTIALS) {
      var v0 = Lanes.load(b);
      var v1 = Lanes.load(b + b1);
      var v2 = Lanes.load(b + b2);
      var v3 = Lanes.load(b + b3);
      var u = Lanes.load(a);
      s00 = u.fma(v0, s00);
      s01 = u.fma(v1, s01);
      s02 = u.fma(v2, s02);
      s03 = u.fma(v3, s03);
      u = Lanes.load(a + a1);
      s10 = u.fma(v0, s10);
      s11 = u.fma(v1, s11);
      s12 = u.fma(v2, s12);
      s13 = u.fma(v3, s13);
      u = Lanes.load(a + a2);
      s20 = u.fma(v0, s20);
      s21 = u.fma(v1, s21);
      s22 = u.fma(v2, s22);
      s23 = u.fma(v3, s23);
      u = Lanes.load(a + a3);
      s30 = u.fma(v0, s30);
      s31 = u.fma(v1, s31);
      s32 = u.fma(v2, s32);
      s33 = u.fma(v3, s33);
      a += 4 * PARTIALS;
      b += 4 * PARTIALS;
    }
    if (tail > 0) {
      var v0 = load(b, mask);
      var v1 = load(b + b1, mask);
      var v2 = load(b + b2, mask);
      var v3 = load(b + b3, mask);
      var u = load(a, mask);
      s00 = u.fma(v0, s00);
      s01 = u.fma(v1, s01);
      s02 = u.fma(v2, s02);
      s03 = u.fma(v3, s03);
      u = load(a + a1, mask);
      s10 = u.fma(v0, s10);
      s11 = u.fma(v1, s11);
      s12 = u.fma(v2, s12);
      s13 = u.fma(v3, s13);
      u = load(a + a2, mask);
      s20 = u.fma(v0, s20);
      s21 = u.fma(v1, s21);
      s22 = u.fma(v2, s22);
      s23 = u.fma(v3, s23);
      u = load(a + a3, mask);
      s30 = u.fma(v0, s30);
      s31 = u.fma(v1, s31);
      s32 = u.fma(v2, s32);
      s33 = u.fma(v3, s33);
    }
    Lanes.store(sums + 0, s00);
    Lanes.store(sums + 64, s01);
    Lanes.store(sums + 128, s02);
    Lanes.store(sums + 192, s03);
    Lanes.store(sums + 256, s10);
    Lanes.store(sums + 320, s11);
    Lanes.store(sums + 384, s12);
    Lanes.store(sums + 448, s13);
    Lanes.store(sums + 512, s20);
    Lanes.store(sums + 576, s21);
    Lanes.store(sums + 640, s22);
    Lanes.store(sums + 704, s23);
    Lanes.store(sums + 768, s30);
    Lanes.store(sums + 832, s31);
    Lanes.store(sums + 896, s32);
    Lanes.store(sums + 960, s33);
  }

  /// Continues the partial sums of 4 rows of a with 4 staged rows.
  private static void fourMore(long a, long pitch, long b, int whole, long sums) {
    long a1 = pitch;
    long a2 = 2 * pitch;
    long a3 = 3 * pitch;
    var s00 = Lanes.load(sums);
    var s01 = Lanes.load(sums + 64);
    var s02 = Lanes.load(sums + 128);
    var s03 = Lanes.load(sums + 192);
    var s10 = Lanes.load(sums + 256);
    var s11 = Lanes.load(sums + 320);
    var s12 = Lanes.load(sums + 384);
    var s13 = Lanes.load(sums + 448);
    var s20 = Lanes.load(sums + 512);
    var s21 = Lanes.load(sums + 576);
    var s22 = Lanes.load(sums + 640);
    var s23 = Lanes.load(sums + 704);
    var s30 = Lanes.load(sums + 768);
    var s31 = Lanes.load(sums + 832);
    var s32 = Lanes.load(sums + 896);
    var s33 = Lanes.load(sums + 960);
    for (int i = 0; i < whole; i += PARTIALS) {
      var v0 = Lanes.load(b);
      var v1 = Lanes.load(b + 4 * PIECE);
      var v2 = Lanes.load(b + 8 * PIECE);
      var v3 = Lanes.load(b + 12 * PIECE);
      var u = Lanes.load(a);
      s00 = u.fma(v0, s00);
      s01 = u.fma(v1, s01);
      s02 = u.fma(v2, s02);
      s03 = u.fma(v3, s03);
      u = Lanes.load(a + a1);
      s10 = u.fma(v0, s10);
      s11 = u.fma(v1, s11);
      s12 = u.fma(v2, s12);
      s13 = u.fma(v3, s13);
      u = Lanes.load(a + a2);
      s20 = u.fma(v0, s20);
      s21 = u.fma(v1, s21);
      s22 = u.fma(v2, s22);
      s23 = u.fma(v3, s23);
      u = Lanes.load(a + a3);
      s30 = u.fma(v0, s30);
      s31 = u.fma(v1, s31);
      s32 = u.fma(v2, s32);
      s33 = u.fma(v3, s33);
      a += 4 * PARTIALS;
      b += 4 * PARTIALS;
    }
    Lanes.store(sums + 0, s00);
    Lanes.store(sums + 64, s01);
    Lanes.store(sums + 128, s02);
    Lanes.store(sums + 192, s03);
    Lanes.store(sums + 256, s10);
    Lanes.store(sums + 320, s11);
    Lanes.store(sums + 384, s12);
    Lanes.store(sums + 448, s13);
    Lanes.store(sums + 512, s20);
    Lanes.store(sums + 576, s21);
    Lanes.store(sums + 640, s22);
    Lanes.store(sums + 704, s23);
    Lanes.store(sums + 768, s30);
    Lanes.store(sums + 832, s31);
    Lanes.store(sums + 896, s32);
    Lanes.store(sums + 960, s33);
  }

  /// Continues the partial sums of one row of a with 4 staged rows.
  private static void oneMore(long a, long b, int whole, long sums) {
    var s0 = Lanes.load(sums);
    var s1 = Lanes.load(sums + 64);
    var s2 = Lanes.load(sums + 128);
    var s3 = Lanes.load(sums + 192);
    for (int i = 0; i < whole; i += PARTIALS) {
      var u = Lanes.load(a);
      s0 = u.fma(Lanes.load(b), s0);
      s1 = u.fma(Lanes.load(b + 4 * PIECE), s1);
      s2 = u.fma(Lanes.load(b + 8 * PIECE), s2);
      s3 = u.fma(Lanes.load(b + 12 * PIECE), s3);
      a += 4 * PARTIALS;
      b += 4 * PARTIALS;
    }
    Lanes.store(sums, s0);
    Lanes.store(sums + 64, s1);
    Lanes.store(sums + 128, s2);
    Lanes.store(sums + 192, s3);
  }

  /// The trees over 16 vectors of partial sums: lane i of the result is the sum of vector i.
  private static FloatVector trees(long sums) {
    for (int r = 0; r < 4; r++) {
      long at = sums + 256L * r;
      Lanes.store(sums + 64L * r, FOUR.add(EIGHT.add(Lanes.load(at), Lanes.load(at + 64)), EIGHT.add(Lanes.load(at + 128), Lanes.load(at + 192))));
    }
    return ONE.add(TWO.add(Lanes.load(sums), Lanes.load(sums + 64)), TWO.add(Lanes.load(sums + 128), Lanes.load(sums + 192)));
  }

  /// Dot products of one row of a with up to 4 rows of b, in lanes 0 … 3.
  private static FloatVector one(long a, long b, long pitch, int width, int whole, int tail, VectorMask<Float> mask) {
    long b1 = Math.min(1, width - 1) * pitch;
    long b2 = Math.min(2, width - 1) * pitch;
    long b3 = Math.min(3, width - 1) * pitch;
    FloatVector s0, s1, s2, s3;
    s0 = s1 = s2 = s3 = Lanes.all(0);
    for (int i = 0; i < whole; i += PARTIALS) {
      var u = Lanes.load(a);
      s0 = u.fma(Lanes.load(b), s0);
      s1 = u.fma(Lanes.load(b + b1), s1);
      s2 = u.fma(Lanes.load(b + b2), s2);
      s3 = u.fma(Lanes.load(b + b3), s3);
      a += 4 * PARTIALS;
      b += 4 * PARTIALS;
    }
    if (tail > 0) {
      var u = load(a, mask);
      s0 = u.fma(load(b, mask), s0);
      s1 = u.fma(load(b + b1, mask), s1);
      s2 = u.fma(load(b + b2, mask), s2);
      s3 = u.fma(load(b + b3, mask), s3);
    }
    var p = FOUR.add(EIGHT.add(s0, s1), EIGHT.add(s2, s3));
    p = TWO.add(p, p);
    return ONE.add(p, p);
  }

  private static FloatVector load(long address, VectorMask<Float> mask) {
    return FloatVector.fromMemorySegment(Lanes.F, Memory.ALL, address, ORDER, mask);
  }

  /// Puts lanes 4·i + j into row i, column j of y.
  private static void finish(FloatVector s, long y, long yRow, int rows, int width, float alpha, boolean add, long sums) {
    if (alpha != 1 && !add) s = s.mul(alpha);
    if (width == 4 && !add) {
      quarter(s, 0, y);
      if (rows == 1) return;
      quarter(s, 1, y + yRow);
      quarter(s, 2, y + 2 * yRow);
      quarter(s, 3, y + 3 * yRow);
      return;
    }
    Lanes.store(sums, s);
    for (int r = 0; r < rows; r++) {
      for (int c = 0; c < width; c++) {
        float sum = Memory.f32(sums + 4L * (4 * r + c));
        put(y + r * yRow + 4L * c, sum, add ? alpha : 1, add);
      }
    }
  }

  private static void quarter(FloatVector s, int part, long y) {
    ((FloatVector) s.reinterpretShape(FloatVector.SPECIES_128, part)).intoMemorySegment(Memory.ALL, y, ORDER);
  }

  private static void put(long y, float sum, float alpha, boolean add) {
    Memory.f32(y, add ? Math.fma(alpha, sum, Memory.f32(y)) : alpha * sum);
  }
}
