package org.llmcore.cpu;

import org.llmcore.tensor.DType;

/// Blocks of y (+)= alpha·op(a)·op(b) by rule 2 of `Kernel`: every element is one chain of fused multiply-adds in ascending k
/// that starts from y or 0.
///
/// k is cut into equal parts of at most 320, so that the panels of b (320 × 320 floats) stay in a second-level cache and four
/// rows of a in the first; between cuts the chains rest in y, which is exact.
final class ChainGemm {
  /// Rows and columns of a block.
  static final int HEIGHT = 128;
  static final int BREADTH = 320;

  private static final int DEPTH = 320;

  private final Lanes lanes;
  private final Gemm c;
  private final int m;
  private final int n;
  private final int k;

  ChainGemm(Lanes lanes, Gemm c) {
    this.lanes = lanes;
    this.c = c;
    m = c.m();
    n = c.n();
    k = c.k();
  }

  /// One block, into f32 memory whose rows are `pitch` bytes apart.
  void run(Block block, long y, long pitch, Scratch scratch) {
    int rows = block.rows();
    int columns = block.columns();
    if (!c.y().add()) for (int r = 0; r < rows; r++) Rows.fill(lanes, y + r * pitch, 0, columns);
    if (k == 0) return;
    int cuts = (k + DEPTH - 1) / DEPTH;
    int depth = (k + cuts - 1) / cuts;
    boolean direct = !c.ta() && c.a().dtype() == DType.F32 && c.alpha() == 1;
    long left = direct ? 0 : scratch.floats((long) rows * depth);
    long right = scratch.floats((long) Panels.padded(columns) * depth);
    long tile = scratch.floats(Tiles.ROWS * Tiles.WIDTH);
    long staging = scratch.floats((long) Panels.GROUP * Math.max(depth, Math.max(rows, columns)));
    for (int from = 0; from < k; from += depth) {
      int terms = Math.min(depth, k - from);
      if (c.tb()) Panels.transpose(lanes, right, c.b(), block.b(n, k, from, true), k, columns, terms, 1, staging);
      else Panels.copy(lanes, right, c.b(), block.b(n, k, from, false), n, columns, terms, staging);
      long a = direct ? c.a().address() + 4 * block.a(m, k, from, false) : left;
      long aRow = c.ta() ? 4 : 4L * (direct ? k : terms);
      long aStep = c.ta() ? 4L * rows : 4;
      if (!direct) left(block, from, terms, left, staging);
      for (int r = 0; r < rows; r += Tiles.ROWS) {
        stripe(y + r * pitch, pitch, a + r * aRow, aRow, aStep, right, rows - r, columns, terms, tile);
      }
    }
  }

  /// The block's part of a, times alpha: rows of k, or if transposed k rows of the block's columns.
  private void left(Block block, int from, int terms, long to, long staging) {
    long first = block.a(m, k, from, c.ta());
    int lines = c.ta() ? terms : block.rows();
    int length = c.ta() ? block.rows() : terms;
    for (int i = 0; i < lines; i++) {
      long source = Rows.read(lanes, c.a(), first + (long) i * (c.ta() ? m : k), length, staging);
      Rows.scale(lanes, to + 4L * i * length, source, c.alpha(), length);
    }
  }

  /// Up to four rows of y.
  private void stripe(
      long y, long pitch, long a, long aRow, long aStep, long right, int rows, int columns, int terms, long tile) {
    for (int col = 0; col < columns; col += Tiles.WIDTH) {
      int left = Math.min(Tiles.WIDTH, columns - col);
      int width = Tiles.width(left);
      long at = y + 4L * col;
      long b = right + 4L * col * terms;
      if (left == width) {
        Tiles.chain(lanes, width, at, pitch, a, aRow, aStep, b, rows, terms);
      } else {
        int present = Math.min(Tiles.ROWS, rows);
        for (int r = 0; r < present; r++) Rows.copy(lanes, tile + 4L * r * width, at + r * pitch, left);
        Tiles.chain(lanes, width, tile, 4L * width, a, aRow, aStep, b, rows, terms);
        for (int r = 0; r < present; r++) Rows.copy(lanes, at + r * pitch, tile + 4L * r * width, left);
      }
    }
  }
}
