package org.llmcore.cpu;

import org.llmcore.op.MatMul;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// Matrix products, split into blocks of y that one worker computes whole. Operands that are not f32, transposed twice or
/// scaled are converted once into f32 scratch; f32 operands are read where they lie, in any of the three orientations:
/// rows of both for `a·bᵀ` (`DotGemm`), broadcasts of a against rows of b otherwise (`ChainGemm`).
final class MatMulCpu {
  /// Rows and columns of y per task: y's block and the strips of a and b it needs stay in a 1 MB second-level cache.
  private static final int ROWS = 64;
  private static final int COLUMNS = 128;

  private MatMulCpu() {}

  static void run(Lanes lanes, Workers workers, MatMul.Product c, Scratch shared) {
    shared.reset();
    int m = c.m();
    int n = c.n();
    int k = c.k();
    int batch = c.batch();
    boolean dot = !c.ta() && c.tb();
    float scale = dot ? 1 : c.alpha();
    long a = floats(c.a(), scale, shared, workers, m);
    long b = c.ta() && c.tb() ? transposed(c.b(), batch, n, k, shared) : floats(c.b(), 1, shared, workers, n);
    // In scratch or not, a is walked by (row step, k step), b by its row length.
    long aRow = c.ta() ? 4 : 4L * k;
    long aStep = c.ta() ? 4L * m : 4;
    var y = c.y().tensor();
    long yAddress = y.address();
    int rowTasks = (m + ROWS - 1) / ROWS;
    int columnTasks = (n + COLUMNS - 1) / COLUMNS;
    workers.run(
        Math.multiplyExact(batch, Math.multiplyExact(rowTasks, columnTasks)),
        (task, scratch) -> {
          long i = task / (rowTasks * columnTasks);
          int r = task % (rowTasks * columnTasks) / columnTasks * ROWS;
          int col = task % columnTasks * COLUMNS;
          int rows = Math.min(ROWS, m - r);
          int columns = Math.min(COLUMNS, n - col);
          long from = (i * m + r) * n + col; // first element of the block in y
          boolean direct = y.dtype() == DType.F32;
          long block = direct ? yAddress + 4 * from : scratch.floats((long) rows * columns);
          long pitch = direct ? 4L * n : 4L * columns;
          if (!direct && c.y().add()) load(y.dtype(), yAddress, from, n, rows, columns, block);
          long ai = a + 4 * i * m * k + r * aRow;
          if (dot) {
            DotGemm.block(lanes, block, pitch, ai, b + 4 * (i * n + col) * k, 4L * k, rows, columns, k, c.alpha(), c.y().add(), scratch);
          } else {
            ChainGemm.block(lanes, block, pitch, ai, aRow, aStep, b + 4 * (i * k * n + col), 4L * n, rows, columns, k, c.y().add());
          }
          if (!direct) store(y.dtype(), yAddress, from, n, rows, columns, block);
        });
  }

  /// The operand as f32 times `scale`: where it lies if nothing changes, else a copy in `shared`.
  private static long floats(Tensor t, float scale, Scratch shared, Workers workers, int rows) {
    long address = t.address();
    if (t.dtype() == DType.F32 && scale == 1) return address;
    long copy = shared.floats(t.elements());
    long chunk = Math.max(1, t.elements() / Math.max(1, rows));
    int tasks = Math.toIntExact((t.elements() + chunk * 16 - 1) / (chunk * 16));
    workers.run(
        tasks,
        (task, _) -> {
          long to = Math.min(t.elements(), (task + 1) * chunk * 16);
          for (long i = task * chunk * 16; i < to; i++) Memory.f32(copy + 4 * i, Memory.load(t.dtype(), address, i) * scale);
        });
    return copy;
  }

  /// b (N,K) of every batch as (K,N), for the product of two transposed operands.
  private static long transposed(Tensor b, int batch, int n, int k, Scratch shared) {
    long address = b.address();
    long copy = shared.floats(b.elements());
    for (int i = 0; i < batch; i++) {
      long base = (long) i * n * k;
      for (int r = 0; r < n; r++) {
        for (int c = 0; c < k; c++) Memory.f32(copy + 4 * (base + (long) c * n + r), Memory.load(b.dtype(), address, base + (long) r * k + c));
      }
    }
    return copy;
  }

  private static void load(DType dtype, long y, long from, int n, int rows, int columns, long block) {
    for (int r = 0; r < rows; r++) {
      for (int c = 0; c < columns; c++) Memory.f32(block + 4L * (r * columns + c), Memory.load(dtype, y, from + (long) r * n + c));
    }
  }

  private static void store(DType dtype, long y, long from, int n, int rows, int columns, long block) {
    for (int r = 0; r < rows; r++) {
      for (int c = 0; c < columns; c++) Memory.store(dtype, y, from + (long) r * n + c, Memory.f32(block + 4L * (r * columns + c)));
    }
  }
}
