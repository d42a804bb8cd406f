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

/// Products of bf16 operands on AMX tiles (`AmxTiles`) in all three directions of training: `y = x·Wᵀ` and `dx = dy·W` where both are bf16, or
/// W is in few bits and rounded to bf16 as it is packed, and `dW = dyᵀ·x`, a chain over steps of 32 tokens that starts from dW. An f32
/// operand is never rounded: such products take `Avx512Gemm`, and gradients of few rows `OuterGemm`.
///
/// a is packed once by all workers. A block is up to 128 columns of y; its panels of b are packed by the worker that computes it, stay
/// in a second-level cache, and meet 128 rows of a at a time. Blocks are cut by shape, and an element's sum does not depend on its
/// neighbours: results are the same bits for every number of workers and every grouping of rows.
final class AmxGemm {
  private static final int PANEL = AmxTiles.PANEL;
  private static final int BREADTH = 4 * PANEL;
  private static final int ROW_PANELS = 4; // that share a pass over a panel of b: 128 rows
  private static final int CUT = 18; // steps: a cut of a panel of b is 36 KB

  private static final MethodHandle TILES = MachineCode.function(AmxTiles.block(), 1);
  private static final MethodHandle ROWS = MachineCode.brief(AmxPacks.rows(), 1);
  private static final MethodHandle TURNED = MachineCode.brief(AmxPacks.turned(), 1);
  private static final MethodHandle PAIRS = MachineCode.brief(AmxPacks.pairs(), 1);
  private static final long CONFIGURATION = configuration();

  private final Lanes lanes;
  private final Workers workers;
  private final Gemm c;
  private final Scratch shared;
  private final RightRows rows; // of b
  private final int m;
  private final int n;
  private final int k;
  private final int steps;

  private AmxGemm(Lanes lanes, Workers workers, Gemm c, Scratch shared) {
    this.lanes = lanes;
    this.workers = workers;
    this.c = c;
    this.shared = shared;
    rows = new RightRows(lanes, c, DType.BF16);
    m = c.m();
    n = c.n();
    k = c.k();
    steps = (k + AmxTiles.TERMS - 1) / AmxTiles.TERMS;
  }

  /// Whether tiles compute this product. Rows of bᵀ are turned by pairs of terms, so their length must be even.
  static boolean takes(Lanes lanes, Gemm c) {
    if (!lanes.tiles() || c.k() == 0 || !c.bf16()) return false;
    return c.ta() ? !c.tb() && c.alpha() == 1 && !OuterGemm.takes(lanes, c) : !c.tb() || c.k() % 2 == 0;
  }

  static void run(Lanes lanes, Workers workers, Gemm c, Scratch shared) {
    new AmxGemm(lanes, workers, c, shared).run();
  }

  private void run() {
    int panels = (m + PANEL - 1) / PANEL;
    long bytes = (long) steps * AmxTiles.STEP;
    long left = shared.floats((long) c.batch() * panels * bytes / 4);
    workers.run(c.batch() * panels, (task, scratch) -> left(task / panels, task % panels, left + task * bytes, scratch));
    int breadth = BREADTH;
    while (breadth > PANEL && c.batch() * ((n + breadth - 1) / breadth) < Block.Grid.ENOUGH) breadth /= 2;
    var grid = new Block.Grid(c.batch(), m, n, Math.max(1, m), breadth);
    MatMulCpu.blocks(
        lanes, workers, c, grid,
        MatMulCpu.updating(
            lanes, workers, c, shared,
            (block, y, pitch, scratch) -> block(block, left + (long) block.batch() * panels * bytes, y, pitch, scratch)));
  }

  /// A panel of a.
  private void left(int batch, int panel, long to, Scratch scratch) {
    int rows = Math.min(PANEL, m - panel * PANEL);
    if (rows < PANEL) clear(to, (long) steps * AmxTiles.STEP);
    var job = Job.ofBytes(AmxPacks.JOB);
    long at = scratch.floats(AmxPacks.JOB / 4);
    if (c.ta()) {
      job.set(AmxPacks.FROM_PITCH, 2L * m);
      job.set(AmxPacks.M, k);
      for (int half = 0; half < rows; half += 16) {
        job.set(AmxPacks.FROM, c.a().address() + 2 * ((long) batch * k * m + (long) panel * PANEL + half));
        job.set(AmxPacks.TO, to + half * 64L);
        job.set(AmxPacks.MASK, (1 << Math.min(16, rows - half)) - 1);
        GemmCode.call(TURNED, job.at(at));
      }
      return;
    }
    job.set(AmxPacks.FROM, c.a().address() + 2 * ((long) batch * m + (long) panel * PANEL) * k);
    job.set(AmxPacks.FROM_PITCH, 2L * k);
    job.set(AmxPacks.TO, to);
    job.set(AmxPacks.M, rows);
    job.set(AmxPacks.STEPS, steps);
    job.set(AmxPacks.MASK, k % AmxTiles.TERMS == 0 ? 0xffff_ffffL : (1L << k % AmxTiles.TERMS) - 1);
    GemmCode.call(ROWS, job.at(at));
  }

  private void block(Block block, long left, long y, long pitch, Scratch scratch) {
    long bytes = (long) steps * AmxTiles.STEP;
    int panels = (block.columns() + PANEL - 1) / PANEL;
    long right = scratch.floats(panels * bytes / 4);
    right(block, right, scratch);
    long at = scratch.floats(AmxTiles.JOB / 4);
    int last = block.columns() - (panels - 1) * PANEL;
    var job = Job.ofBytes(AmxTiles.JOB);
    job.set(AmxTiles.A_PANEL, bytes);
    job.set(AmxTiles.B, right);
    job.set(AmxTiles.B_PANEL, bytes);
    job.set(AmxTiles.B_PANELS, panels);
    job.set(AmxTiles.STEPS, steps);
    job.set(AmxTiles.CUT, CUT);
    job.set(AmxTiles.SUMS, scratch.floats(ROW_PANELS * AmxTiles.SUMS_PANEL / 4));
    job.set(AmxTiles.Y_PITCH, pitch);
    job.set(c.ta() ? AmxTiles.START : AmxTiles.ADD, c.y().add() ? 1 : 0);
    job.set(AmxTiles.ALPHA, Float.floatToRawIntBits(c.alpha()));
    job.set(AmxTiles.CONFIG, CONFIGURATION);
    job.set(AmxTiles.LAST_LOW, (1 << Math.min(16, last)) - 1);
    job.set(AmxTiles.LAST_HIGH, (1 << Math.max(0, last - 16)) - 1);
    for (int row = 0; row < m; row += ROW_PANELS * PANEL) {
      int rows = Math.min(ROW_PANELS * PANEL, m - row);
      job.set(AmxTiles.A, left + row / PANEL * bytes);
      job.set(AmxTiles.A_PANELS, (rows + PANEL - 1) / PANEL);
      job.set(AmxTiles.M, rows);
      job.set(AmxTiles.Y, y + row * pitch);
      GemmCode.call(TILES, job.at(at));
    }
  }

  /// The panels of b of a block, by halves of 16 columns.
  private void right(Block block, long to, Scratch scratch) {
    long bytes = (long) steps * AmxTiles.STEP;
    var turned = turned();
    var lines = Job.ofBytes(AmxPacks.JOB);
    var reader = c.tb() ? rows.reader(16, k, scratch) : rows.reader(k + 3 & -4, block.columns(), scratch);
    if (!c.tb()) reader.set(lines, (long) block.batch() * k, k, block.column(), block.columns());
    lines.set(AmxPacks.M, k);
    long at = scratch.floats(GemmPacks.JOB / 4);
    for (int column = 0; column < (block.columns() + PANEL - 1) / PANEL * PANEL; column += 16) {
      int width = Math.clamp(block.columns() - column, 0, 16);
      long half = to + column / PANEL * bytes + column % PANEL / 16 * (AmxTiles.STEP / 2);
      if (width < 16 || k % AmxTiles.TERMS != 0) {
        for (int s = width == 0 ? 0 : steps - 1; s < steps; s++) clear(half + (long) s * AmxTiles.STEP, AmxTiles.STEP / 2);
      }
      if (width == 0) return;
      if (c.tb()) {
        reader.set(turned, (long) block.batch() * n + block.column() + column, width, 0, k);
        turned.set(GemmPacks.TO, half);
        turned.set(GemmPacks.M, width);
        GemmCode.packs(DType.F32).turned(turned.at(at), width < 16);
      } else {
        lines.set(AmxPacks.TO, half);
        lines.set(AmxPacks.MASK, (1 << width) - 1);
        GemmCode.call(PAIRS, lines.at(at));
        lines.add(AmxPacks.FROM, 2 * 16);
      }
    }
  }

  /// What packing pairs of terms of 16 rows of bᵀ needs whichever they are.
  private Job turned() {
    int pairs = k / 2;
    var job = Job.ofBytes(GemmPacks.JOB);
    job.set(GemmPacks.COUNT, pairs / 16);
    job.set(GemmPacks.REST, pairs % 16);
    job.set(GemmPacks.REST_MASK, (1 << pairs % 16) - 1);
    job.set(GemmPacks.STEP, AmxTiles.STEP);
    for (int t = 0; t < 16; t++) job.set(GemmPacks.OFFSETS + 8 * t, 64L * t);
    return job;
  }

  private void clear(long address, long bytes) {
    Rows.fill(lanes, address, 0, Math.toIntExact(bytes / 4));
  }

  private static long configuration() {
    var bytes = AmxTiles.configuration();
    var at = Arena.global().allocate(bytes.length, 64);
    MemorySegment.copy(bytes, 0, at, ValueLayout.JAVA_BYTE, 0, bytes.length);
    return at.address();
  }
}
