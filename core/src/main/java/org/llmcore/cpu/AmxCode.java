package org.llmcore.cpu;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

import org.llmcore.cpu.code.AmxPacks;
import org.llmcore.cpu.code.AmxTiles;
import org.llmcore.cpu.code.GemmPacks;
import org.llmcore.cpu.code.MachineCode;
import org.llmcore.tensor.DType;

/// Products on AMX tiles for those who hold bf16 matrices in memory: panels as `AmxTiles` wants them, and y from panels. Panels of k terms are `bytes(k)`
/// apart; rows, columns and terms that do not exist are 0 in them. `at` is scratch for a job, of `FLOATS` floats.
final class AmxCode {
  /// Rows of a panel of a, columns of one of b.
  static final int PANEL = AmxTiles.PANEL;

  /// Columns of half a panel of b.
  static final int HALF = PANEL / 2;

  /// Floats of scratch for a job.
  static final int FLOATS = Math.max(AmxTiles.JOB, GemmPacks.JOB) / 4;

  private static final int ROW_PANELS = 4; // that share a pass over a panel of b: 128 rows
  private static final int CUT = 18; // steps: a cut of a panel of b is 36 KB

  private static final MethodHandle TILES = MachineCode.function(AmxTiles.block(), 1);
  private static final MethodHandle ROWS = MachineCode.brief(AmxPacks.rows(), 1);
  private static final MethodHandle TURNED = MachineCode.brief(AmxPacks.turned(), 1);
  private static final MethodHandle PAIRS = MachineCode.brief(AmxPacks.pairs(), 1);
  private static final long CONFIGURATION = configuration();

  private AmxCode() {}

  private static int steps(int k) {
    return (k + AmxTiles.TERMS - 1) / AmxTiles.TERMS;
  }

  /// Panels of n rows or columns.
  static int panels(int n) {
    return (n + PANEL - 1) / PANEL;
  }

  /// Bytes of a panel of k terms.
  static long bytes(int k) {
    return (long) steps(k) * AmxTiles.STEP;
  }

  /// Floats of the panels of n rows or columns.
  static long floats(int n, int k) {
    return panels(n) * bytes(k) / 4;
  }

  /// Floats of scratch for a product of m rows.
  static long sums(int m) {
    return (long) Math.min(ROW_PANELS, panels(m)) * AmxTiles.SUMS_PANEL / 4;
  }

  /// Panels of `rows` rows of a, k terms side by side, `pitch` bytes apart.
  static void rows(long from, long pitch, int rows, int k, long to, long at) {
    for (int row = 0; row < rows; row += PANEL) {
      int count = Math.min(PANEL, rows - row);
      long panel = to + row / PANEL * bytes(k);
      if (count < PANEL) RowCode.fill(panel, 0, bytes(k) / 4);
      var job = job(from + row * pitch, pitch, panel, count);
      job.set(AmxPacks.STEPS, steps(k));
      job.set(AmxPacks.MASK, k % AmxTiles.TERMS == 0 ? 0xffff_ffffL : (1L << k % AmxTiles.TERMS) - 1);
      GemmCode.call(ROWS, job.at(at));
    }
  }

  /// The same of aᵀ: k rows of `rows` columns.
  static void turnedRows(long from, long pitch, int rows, int k, long to, long at) {
    for (int row = 0; row < rows; row += HALF) {
      int count = Math.min(HALF, rows - row);
      long panel = to + row / PANEL * bytes(k);
      if (row % PANEL == 0 && rows - row < PANEL) RowCode.fill(panel, 0, bytes(k) / 4);
      var job = job(from + 2L * row, pitch, panel + row % PANEL * 64L, k);
      job.set(AmxPacks.MASK, (1 << count) - 1);
      GemmCode.call(TURNED, job.at(at));
    }
  }

  /// Panels of `columns` columns of b: k rows, `pitch` bytes apart.
  static void columns(long from, long pitch, int columns, int k, long to, long at) {
    halves(columns, k, to, (column, width, half) -> half(from + 2L * column, pitch, width, k, half, at));
  }

  /// The same of bᵀ: `columns` rows of k terms, an even number.
  static void turnedColumns(long from, long pitch, int columns, int k, long to, long at) {
    halves(columns, k, to, (column, width, half) -> turnedHalf(from + column * pitch, pitch, width, k, half, at));
  }

  /// Packs up to 16 columns of b, the first of which is `column`.
  interface Half {
    void pack(int column, int width, long to);
  }

  /// Panels of `columns` columns of b, half by half.
  static void halves(int columns, int k, long to, Half each) {
    for (int column = 0; column < panels(columns) * PANEL; column += HALF) {
      int width = Math.clamp(columns - column, 0, HALF);
      long half = to + column / PANEL * bytes(k) + column % PANEL / HALF * (AmxTiles.STEP / 2);
      if (width == 0) clear(k, 0, half);
      else each.pack(column, width, half);
    }
  }

  /// Half a panel of up to 16 columns of b.
  static void half(long from, long pitch, int columns, int k, long to, long at) {
    if (columns < HALF || k % AmxTiles.TERMS != 0) clear(k, columns < HALF ? 0 : steps(k) - 1, to);
    var job = job(from, pitch, to, k);
    job.set(AmxPacks.MASK, (1 << columns) - 1);
    GemmCode.call(PAIRS, job.at(at));
  }

  /// The same from rows of bᵀ, of an even number of terms.
  static void turnedHalf(long from, long pitch, int columns, int k, long to, long at) {
    if (columns < HALF || k % AmxTiles.TERMS != 0) clear(k, columns < HALF ? 0 : steps(k) - 1, to);
    int pairs = k / 2;
    var job = Job.ofBytes(GemmPacks.JOB);
    job.set(GemmPacks.FROM, from);
    job.set(GemmPacks.FROM_PITCH, pitch);
    job.set(GemmPacks.TO, to);
    job.set(GemmPacks.M, columns);
    job.set(GemmPacks.COUNT, pairs / 16);
    job.set(GemmPacks.REST, pairs % 16);
    job.set(GemmPacks.REST_MASK, (1 << pairs % 16) - 1);
    job.set(GemmPacks.STEP, AmxTiles.STEP);
    for (int t = 0; t < 16; t++) job.set(GemmPacks.OFFSETS + 8 * t, 64L * t);
    GemmCode.packs(DType.F32).turned(job.at(at), columns < HALF); // a pair is moved as if it were an f32
  }

  private static void clear(int k, int step, long half) {
    for (int s = step; s < steps(k); s++) RowCode.fill(half + (long) s * AmxTiles.STEP, 0, AmxTiles.STEP / 8);
  }

  private static Job job(long from, long pitch, long to, int m) {
    var job = Job.ofBytes(AmxPacks.JOB);
    job.set(AmxPacks.FROM, from);
    job.set(AmxPacks.FROM_PITCH, pitch);
    job.set(AmxPacks.TO, to);
    job.set(AmxPacks.M, m);
    return job;
  }

  /// How a product treats what y holds.
  enum Before {
    /// y = alpha·s
    NOTHING,
    /// y = fma(alpha, s, y)
    ADDED,
    /// the sums start from y, and y = alpha·s
    START
  }

  /// y (m, n) of f32, `pitch` bytes a row, from panels of a and of b of k terms.
  /// @param bPanel bytes between panels of b, which may have more terms than k
  /// @param sums scratch of `sums(m)` floats
  static void multiply(long a, long b, long bPanel, int m, int n, int k, float alpha, Before before, long y, long pitch, long sums, long at) {
    int last = n - (panels(n) - 1) * PANEL;
    var job = Job.ofBytes(AmxTiles.JOB);
    job.set(AmxTiles.A_PANEL, bytes(k));
    job.set(AmxTiles.B, b);
    job.set(AmxTiles.B_PANEL, bPanel);
    job.set(AmxTiles.B_PANELS, panels(n));
    job.set(AmxTiles.STEPS, steps(k));
    job.set(AmxTiles.CUT, CUT);
    job.set(AmxTiles.SUMS, sums);
    job.set(AmxTiles.Y_PITCH, pitch);
    job.set(AmxTiles.ADD, before == Before.ADDED ? 1 : 0);
    job.set(AmxTiles.START, before == Before.START ? 1 : 0);
    job.set(AmxTiles.ALPHA, Float.floatToRawIntBits(alpha));
    job.set(AmxTiles.CONFIG, CONFIGURATION);
    job.set(AmxTiles.LAST_LOW, (1 << Math.min(16, last)) - 1);
    job.set(AmxTiles.LAST_HIGH, (1 << Math.max(0, last - 16)) - 1);
    for (int row = 0; row < m; row += ROW_PANELS * PANEL) {
      int rows = Math.min(ROW_PANELS * PANEL, m - row);
      job.set(AmxTiles.A, a + row / PANEL * bytes(k));
      job.set(AmxTiles.A_PANELS, panels(rows));
      job.set(AmxTiles.M, rows);
      job.set(AmxTiles.Y, y + row * pitch);
      GemmCode.call(TILES, job.at(at));
    }
  }

  private static long configuration() {
    var bytes = AmxTiles.configuration();
    var at = Arena.global().allocate(bytes.length, 64);
    MemorySegment.copy(bytes, 0, at, ValueLayout.JAVA_BYTE, 0, bytes.length);
    return at.address();
  }
}
