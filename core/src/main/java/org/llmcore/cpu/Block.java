package org.llmcore.cpu;

/// A rectangle of y that one worker computes whole: row `row`, column `column` of product `batch`. Offsets are in elements.
record Block(int batch, int row, int column, int rows, int columns) {
  /// How (batch, m, n) is cut: by shape alone, into blocks of at most `height` by `breadth`, and into smaller ones where that
  /// would give fewer than `ENOUGH`.
  record Grid(int batch, int m, int n, int height, int breadth) {
    static final int ENOUGH = 12;

    static Grid of(int batch, int m, int n, int height, int breadth, int least) {
      while (true) {
        var g = new Grid(batch, m, n, Math.min(height, Math.max(1, m)), breadth);
        if (g.blocks() >= ENOUGH || height <= least && breadth <= Tiles.WIDTH) return g;
        if (breadth > Tiles.WIDTH) breadth = Math.max(Tiles.WIDTH, breadth / 2 / Tiles.WIDTH * Tiles.WIDTH);
        else height = Math.max(least, height / 2);
      }
    }

    int blocks() {
      return Math.toIntExact((long) batch * down() * across());
    }

    private int down() {
      return (m + height - 1) / height;
    }

    private int across() {
      return (n + breadth - 1) / breadth;
    }

    /// Blocks beside each other follow each other, so that workers share rows of a.
    Block block(int i) {
      int row = i / across() % down() * height;
      int column = i % across() * breadth;
      return new Block(i / across() / down(), row, column, Math.min(height, m - row), Math.min(breadth, n - column));
    }
  }

  /// Where this block begins in y (…,M,N).
  long y(int m, int n) {
    return ((long) batch * m + row) * n + column;
  }

  /// Where this block's rows, from term `from` on, begin in a (…,M,K), or (…,K,M) if transposed.
  long a(int m, int k, int from, boolean transposed) {
    long first = (long) batch * m * k;
    return transposed ? first + (long) from * m + row : first + (long) row * k + from;
  }

  /// Where this block's columns, from term `from` on, begin in b (…,K,N), or (…,N,K) if transposed.
  long b(int n, int k, int from, boolean transposed) {
    long first = (long) batch * n * k;
    return transposed ? first + (long) column * k + from : first + (long) from * n + column;
  }
}
