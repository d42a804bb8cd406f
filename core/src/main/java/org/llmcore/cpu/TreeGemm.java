package org.llmcore.cpu;

import org.llmcore.tensor.Memory;

/// Blocks of y (+)= alpha·a·bᵀ by rule 3 of `Kernel`, for many rows of a.
///
/// Lanes run along the columns of y: b is packed transposed, its k sorted by k mod 16, so that each of the 16 partial sums of a
/// tile is a chain over a contiguous piece of the panel. The 16 tiles of partial sums are combined lane by lane: the tree costs
/// 15 vector additions for a whole vector of results and no shuffle, on every vector width.
final class TreeGemm {
  /// Rows of a block: transposing b costs as much as multiplying it by about 20 rows.
  static final int HEIGHT = 512;

  /// Floats of the panels of a block: they stay in a second-level cache.
  static final int PANELS = 96 * 1024;

  private static final int PARTIALS = Rows.PARTIALS;
  private static final int LEVELS = 4;

  private final Lanes lanes;
  private final Gemm c;
  private final long a;
  private final int n;
  private final int k;

  /// @param a the left operand as f32
  TreeGemm(Lanes lanes, Gemm c, long a) {
    this.lanes = lanes;
    this.c = c;
    this.a = a;
    n = c.n();
    k = c.k();
  }

  /// One block, into f32 memory whose rows are `pitch` bytes apart.
  void run(Block block, long y, long pitch, Scratch scratch) {
    long right = scratch.floats((long) Panels.padded(block.columns()) * k);
    long stack = scratch.floats((LEVELS + 1) * Tiles.ROWS * Tiles.WIDTH);
    long staging = scratch.floats((long) Panels.GROUP * k);
    Panels.transpose(lanes, right, c.b(), block.b(n, k, 0, true), k, block.columns(), k, PARTIALS, staging);
    long first = a + 4 * block.a(c.m(), k, 0, false);
    for (int r = 0; r < block.rows(); r += Tiles.ROWS) {
      for (int col = 0; col < block.columns(); col += Tiles.WIDTH) {
        int left = Math.min(Tiles.WIDTH, block.columns() - col);
        int width = Tiles.width(left);
        int rows = Math.min(Tiles.ROWS, block.rows() - r);
        sums(width, stack, first + 4L * r * k, right + 4L * col * k, rows);
        long sums = stack + 4L * LEVELS * Tiles.ROWS * width;
        long at = y + r * pitch + 4L * col;
        for (int i = 0; i < rows; i++) put(lanes, at + i * pitch, sums + 4L * i * width, left, c.alpha(), c.y().add());
      }
    }
  }

  /// The sums of a tile, onto place `LEVELS` of the stack. Leaves come in the order 0 8 4 12 2 10 … (bits reversed), so that
  /// the two halves of every subtree follow each other and at most one subtree of each size waits.
  private void sums(int width, long stack, long a, long b, int rows) {
    int full = k / PARTIALS;
    int tail = k % PARTIALS;
    for (int t = 0; t < PARTIALS; t++) {
      int p = Integer.reverse(t) >>> 32 - LEVELS;
      long panel = b + 4L * width * ((long) p * full + Math.min(p, tail));
      int pops = Integer.numberOfTrailingZeros(~t);
      Tiles.leaf(lanes, width, stack, pops, a + 4L * p, 4L * k, 4L * PARTIALS, panel, rows, p < tail ? full + 1 : full);
    }
  }

  /// y = alpha·s, or fma(alpha, s, y).
  static void put(Lanes lanes, long y, long s, int n, float alpha, boolean add) {
    if (!add) {
      Rows.scale(lanes, y, s, alpha, n);
      return;
    }
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) {
      Lanes.store(y + 4L * i, Lanes.load(s + 4L * i).fma(Lanes.all(alpha), Lanes.load(y + 4L * i)));
    }
    for (; i < n; i++) Memory.f32(y + 4L * i, Math.fma(alpha, Memory.f32(s + 4L * i), Memory.f32(y + 4L * i)));
  }
}
