package org.llmcore.cpu;

import org.llmcore.cpu.code.GemmPacks;
import org.llmcore.cpu.code.GemmTiles;
import org.llmcore.cpu.code.OuterTiles;
import org.llmcore.cpu.code.Routines;
import org.llmcore.tensor.Tensor;

/// Blocks of y (+)= alpha·aᵀ·b with at most 16 rows, as the gradients of LoRA's A and B, by machine code that reads b where it lies
/// (`OuterTiles`): the bits of `Avx512Gemm`, which would pack all of b for a tile and a half of rows.
///
/// a is packed once. Rows of b come in cuts of 128, so that their columns are still in a cache when the next tile, or the second eight rows of
/// y, wants them; between cuts the chains rest in y, which is exact.
final class OuterGemm {
  private static final int MOST = 2 * OuterTiles.ROWS;
  private static final int CUT = 128; // rows of b
  private static final int LEAST = 2 * OuterTiles.COLUMNS; // columns of a block
  private static final int LONG = 1024; // from here on memory is as fast as it gets
  private static final long TERM = 4L * GemmTiles.PITCH; // bytes of a packed term

  /// By rows less one, dtype of b, and whether it is multiplied in pairs.
  private static final Routines TILES =
      new Routines(OuterTiles.ROWS * 4, v -> OuterTiles.of(v / 4 + 1, RowCode.dtype(v), (v & 2) != 0));

  private final Gemm c;
  private final Tensor b;
  private final boolean pairs;
  private final long left; // packed a: eights of rows of y
  private final long eight; // bytes of one

  private OuterGemm(Gemm c, boolean pairs, Scratch shared) {
    this.c = c;
    this.pairs = pairs;
    b = ((Right.Dense) c.b()).t();
    eight = TERM * (pairs ? (c.k() + 1) / 2 : c.k());
    left = shared.floats((MOST / OuterTiles.ROWS) * eight / 4);
    for (int row = 0; row < c.m(); row += OuterTiles.ROWS) pack(row, shared);
  }

  static boolean takes(Lanes lanes, Gemm c) {
    return lanes.emitted() && c.ta() && !c.tb() && c.m() > 0 && c.m() <= MOST && c.k() > 0 && c.batch() == 1 && c.update().isEmpty()
        && c.b() instanceof Right.Dense d && RowCode.reads(d.t());
  }

  /// @param pairs whether pairs of bf16 are multiplied (`Avx512Gemm.takesPairs`)
  static void run(Lanes lanes, Workers workers, Gemm c, boolean pairs, Scratch shared) {
    int breadth = Math.clamp(c.n() / (2 * workers.count()), LEAST, LONG) / OuterTiles.COLUMNS * OuterTiles.COLUMNS;
    MatMulCpu.blocks(lanes, workers, c, new Block.Grid(1, c.m(), c.n(), c.m(), breadth), new OuterGemm(c, pairs, shared)::run);
  }

  private int rows(int row) {
    return Math.min(OuterTiles.ROWS, c.m() - row);
  }

  private void pack(int row, Scratch scratch) {
    var a = c.a();
    var job = Job.ofBytes(GemmPacks.JOB);
    job.set(GemmPacks.FROM, RowCode.at(a, row));
    job.set(GemmPacks.FROM_PITCH, (long) a.dtype().bytes() * c.m());
    job.set(GemmPacks.TO, left + row / OuterTiles.ROWS * eight);
    job.set(GemmPacks.COUNT, c.k());
    job.set(GemmPacks.REST_MASK, (1 << rows(row)) - 1);
    job.set(GemmPacks.M, 1);
    job.set(GemmPacks.ALPHA, Float.floatToRawIntBits(c.alpha()));
    (pairs ? GemmCode.pairs() : GemmCode.packs(a.dtype())).columns(job.at(scratch.floats(GemmPacks.JOB / 4)));
  }

  /// One block, which has all rows, into f32 memory whose rows are `pitch` bytes apart.
  private void run(Block block, long y, long pitch, Scratch scratch) {
    long at = scratch.floats(OuterTiles.JOB / 4);
    long bRow = (long) b.dtype().bytes() * c.n();
    int rest = block.columns() % OuterTiles.COLUMNS;
    var job = Job.ofBytes(OuterTiles.JOB);
    job.set(OuterTiles.Y_PITCH, pitch);
    job.set(OuterTiles.B_PITCH, bRow);
    job.set(OuterTiles.TILES, block.columns() / OuterTiles.COLUMNS);
    job.set(OuterTiles.LAST_LOW, (1 << Math.min(16, rest)) - 1);
    job.set(OuterTiles.LAST_HIGH, (1 << Math.max(0, rest - 16)) - 1);
    for (int from = 0; from < c.k(); from += CUT) {
      job.set(OuterTiles.B, RowCode.at(b, block.column()) + from * bRow);
      job.set(OuterTiles.COUNT, Math.min(CUT, c.k() - from));
      job.set(OuterTiles.ADD, c.y().add() || from > 0 ? 1 : 0);
      for (int row = 0; row < c.m(); row += OuterTiles.ROWS) {
        job.set(OuterTiles.Y, y + row * pitch);
        job.set(OuterTiles.A, left + row / OuterTiles.ROWS * eight + TERM * (pairs ? from / 2 : from));
        TILES.get((rows(row) - 1) * 4 + (pairs ? 2 : 0) + RowCode.bit(b.dtype())).brief(job.at(at), 0, 0, 0);
      }
    }
  }
}
