package org.llmcore.cpu;

import org.llmcore.cpu.AmxCode.Before;
import org.llmcore.cpu.code.GemmPacks;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.AmxCode.HALF;
import static org.llmcore.cpu.AmxCode.PANEL;

/// Products of bf16 operands on AMX tiles (`AmxTiles`) in all three directions of training: `y = x·Wᵀ` and `dx = dy·W` where both are bf16, or
/// W is in few bits and rounded to bf16 as it is packed, and `dW = dyᵀ·x`, a chain over steps of 32 tokens that starts from dW. An f32
/// operand is never rounded: such products take `Avx512Gemm`, and gradients of few rows `OuterGemm`.
///
/// a is packed once by all workers. A block is up to 128 columns of y; its panels of b are packed by the worker that computes it, stay
/// in a second-level cache, and meet 128 rows of a at a time. Blocks are cut by shape, and an element's sum does not depend on its
/// neighbours: results are the same bits for every number of workers and every grouping of rows.
final class AmxGemm {
  private static final int BREADTH = 4 * PANEL;

  private final Lanes lanes;
  private final Workers workers;
  private final Gemm c;
  private final Scratch shared;
  private final RightRows rows; // of b
  private final int m;
  private final int n;
  private final int k;

  private AmxGemm(Lanes lanes, Workers workers, Gemm c, Scratch shared) {
    this.lanes = lanes;
    this.workers = workers;
    this.c = c;
    this.shared = shared;
    rows = new RightRows(lanes, c, DType.BF16);
    m = c.m();
    n = c.n();
    k = c.k();
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
    int panels = AmxCode.panels(m);
    long bytes = AmxCode.bytes(k);
    long left = shared.floats(c.batch() * AmxCode.floats(m, k));
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
    int row = panel * PANEL;
    int rows = Math.min(PANEL, m - row);
    long a = c.a().address() + 2L * batch * m * k;
    long at = scratch.floats(AmxCode.FLOATS);
    if (c.ta()) AmxCode.turnedRows(a + 2L * row, 2L * m, rows, k, to, at);
    else AmxCode.rows(a + 2L * row * k, 2L * k, rows, k, to, at);
  }

  private void block(Block block, long left, long y, long pitch, Scratch scratch) {
    long right = scratch.floats(AmxCode.floats(block.columns(), k));
    right(block, right, scratch);
    var before = !c.y().add() ? Before.NOTHING : c.ta() ? Before.START : Before.ADDED;
    long sums = scratch.floats(AmxCode.sums(m));
    AmxCode.multiply(left, right, AmxCode.bytes(k), m, block.columns(), k, c.alpha(), before, y, pitch, sums, scratch.floats(AmxCode.FLOATS));
  }

  /// The panels of b of a block, by halves, from where it lies or as it is decoded.
  private void right(Block block, long to, Scratch scratch) {
    var place = Job.ofBytes(GemmPacks.JOB);
    var reader = c.tb() ? rows.reader(HALF, k, scratch) : rows.reader(k + 3 & -4, block.columns(), scratch);
    if (!c.tb()) reader.set(place, (long) block.batch() * k, k, block.column(), block.columns());
    long at = scratch.floats(AmxCode.FLOATS);
    AmxCode.halves(
        block.columns(), k, to,
        (column, width, half) -> {
          if (c.tb()) {
            reader.set(place, (long) block.batch() * n + block.column() + column, width, 0, k);
            AmxCode.turnedHalf(place.get(GemmPacks.FROM), place.get(GemmPacks.FROM_PITCH), width, k, half, at);
          } else {
            AmxCode.half(place.get(GemmPacks.FROM) + 2L * column, place.get(GemmPacks.FROM_PITCH), width, k, half, at);
          }
        });
  }
}
