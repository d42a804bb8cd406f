package org.llmcore.cpu;

import org.llmcore.tensor.Memory;

/// The right operand of a block of y as `Tiles` reads it: panels of `Tiles.WIDTH` columns, one behind the other, each with its
/// k rows side by side; the last panel may be narrower, and columns that do not exist are 0. Packing converts every floating
/// dtype to f32.
final class Panels {
  /// Rows that are transposed together; `staging` of both methods has room for as many of b's rows.
  static final int GROUP = 4;

  private Panels() {}

  /// Columns of all panels together.
  static int padded(int columns) {
    int rest = columns % Tiles.WIDTH;
    return columns - rest + (rest == 0 ? 0 : Tiles.width(rest));
  }

  /// Panels of columns `[0, columns)` from `depth` rows of b that begin at element `from` and are `row` elements apart.
  static void copy(Lanes lanes, long to, Right b, long from, long row, int columns, int depth, long staging) {
    if (!b.plain() || !lanes.vector()) {
      for (int k = 0; k < depth; k++) spread(lanes, to, b.read(lanes, from + k * row, columns, staging), columns, depth, k);
      return;
    }
    for (int c = 0; c < columns; c += Tiles.WIDTH) {
      int n = Math.min(Tiles.WIDTH, columns - c);
      int width = Tiles.width(n);
      long panel = to + 4L * c * depth;
      long first = b.read(lanes, from + c, n, staging);
      if (n == width) lines(panel, first, 4 * row, width, depth);
      else for (int k = 0; k < depth; k++) line(lanes, panel + 4L * k * width, first + 4 * k * row, n, width);
    }
  }

  /// Line k of every panel from one row.
  private static void spread(Lanes lanes, long to, long row, int columns, int depth, int k) {
    for (int c = 0; c < columns; c += Tiles.WIDTH) {
      int n = Math.min(Tiles.WIDTH, columns - c);
      int width = Tiles.width(n);
      line(lanes, to + 4L * c * depth + 4L * k * width, row + 4L * c, n, width);
    }
  }

  private static void line(Lanes lanes, long to, long from, int n, int width) {
    Rows.copy(lanes, to, from, n);
    for (int i = n; i < width; i++) Memory.f32(to + 4L * i, 0);
  }

  private static void lines(long to, long from, long pitch, int width, int depth) {
    for (int k = 0; k < depth; k++) {
      for (int i = 0; i < width; i += 2 * Lanes.N) {
        Lanes.store(to + 4L * i, Lanes.load(from + 4L * i));
        Lanes.store(to + 4L * (i + Lanes.N), Lanes.load(from + 4L * (i + Lanes.N)));
      }
      to += 4L * width;
      from += pitch;
    }
  }

  /// Panels whose column c is row c of b: `columns` rows of `depth` elements that begin at element `from` and are `row`
  /// elements apart. With `stride` > 1 the rows of a panel are sorted by k mod stride, then by k.
  static void transpose(Lanes lanes, long to, Right b, long from, long row, int columns, int depth, int stride, long staging) {
    for (int c = 0; c < columns; c += Tiles.WIDTH) {
      int n = Math.min(Tiles.WIDTH, columns - c);
      int width = Tiles.width(n);
      long panel = to + 4L * c * depth;
      if (n < width) Rows.fill(lanes, panel, 0, width * depth);
      for (int j = 0; j < n; j += GROUP) {
        long at = from + (c + j) * row;
        int last = Math.min(GROUP, n - j) - 1;
        long s0 = b.read(lanes, at, depth, staging);
        long s1 = b.read(lanes, at + Math.min(1, last) * row, depth, staging + 4L * depth);
        long s2 = b.read(lanes, at + Math.min(2, last) * row, depth, staging + 8L * depth);
        long s3 = b.read(lanes, at + Math.min(3, last) * row, depth, staging + 12L * depth);
        columns(panel + 4L * j, s0, s1, s2, s3, last + 1, 4L * width, depth, stride);
      }
    }
  }

  /// Writes up to four columns of a panel whose lines are `pitch` bytes apart.
  private static void columns(long to, long s0, long s1, long s2, long s3, int n, long pitch, int depth, int stride) {
    long full = pitch * (depth / stride);
    int tail = depth % stride;
    for (int k = 0; k < depth; k += stride, to += pitch) {
      long line = to;
      int end = Math.min(stride, depth - k);
      for (int p = 0; p < end; p++) {
        long at = 4L * (k + p);
        Memory.f32(line, Memory.f32(s0 + at));
        if (n == GROUP) {
          Memory.f32(line + 4, Memory.f32(s1 + at));
          Memory.f32(line + 8, Memory.f32(s2 + at));
          Memory.f32(line + 12, Memory.f32(s3 + at));
        } else {
          if (n > 1) Memory.f32(line + 4, Memory.f32(s1 + at));
          if (n > 2) Memory.f32(line + 8, Memory.f32(s2 + at));
        }
        line += p < tail ? full + pitch : full;
      }
    }
  }
}
