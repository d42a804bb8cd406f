package org.llmcore.cpu;

import java.util.Optional;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

/// Matrix products, split into blocks of y that one worker computes whole.
///
/// | product                     | body        | order of the sum |
/// |-----------------------------|-------------|------------------|
/// | `a·bᵀ`, many rows           | `TreeGemm`  | rule 3           |
/// | `a·bᵀ`, few rows (decoding) | `DotGemm`   | rule 3           |
/// | all others                  | `ChainGemm` | rule 2           |
///
/// Where machine code of ours runs, `Avx512Gemm` takes the place of `TreeGemm` and `ChainGemm`, and `StreamGemm` that of `DotGemm`, also
/// where b has few rows (`ThinGemm`). Two bf16 operands are multiplied in the processor's order of sums where it has instructions for
/// that: by `AmxGemm`, or in pairs by the others; a b in few bits is rounded to bf16 then if a is bf16. Which order it is never depends
/// on the number of rows.
///
/// A low-rank term is added to sums that are still f32: in the registers of `Avx512Gemm`, else to each block as it is computed.
///
/// Operands become f32 where they are packed; a y that is not f32 is rounded once: by `Avx512Gemm` in registers where it can,
/// else from a block in scratch.
final class MatMulCpu {
  /// Rows from which transposing b pays.
  private static final int MANY = 32;

  private MatMulCpu() {}

  /// Computes one block into f32 memory whose rows are `pitch` bytes apart.
  interface Body {
    void run(Block block, long y, long pitch, Scratch scratch);

    default Body then(Body next) {
      return (block, y, pitch, scratch) -> {
        run(block, y, pitch, scratch);
        next.run(block, y, pitch, scratch);
      };
    }
  }

  static void run(Lanes lanes, Workers workers, Gemm c, Scratch shared) {
    shared.reset();
    int m = c.m();
    int n = c.n();
    boolean few = !c.ta() && c.tb() && m < MANY;
    if (AmxGemm.takes(lanes, c)) {
      AmxGemm.run(lanes, workers, c, shared);
      return;
    }
    boolean pairs = lanes.pairs() && Avx512Gemm.takesPairs(c);
    if (lanes.emitted() && (!few || pairs && !StreamGemm.takes(lanes, c)) && c.k() > 0) {
      if (OuterGemm.takes(lanes, c)) OuterGemm.run(lanes, workers, c, pairs, shared);
      else if (ThinGemm.takes(lanes, c)) ThinGemm.run(workers, c, turned -> stream(lanes, workers, turned, pairs, shared).orElseThrow());
      else if (pairs) Avx512Gemm.pairs(lanes, workers, c, shared);
      else Avx512Gemm.run(lanes, workers, c, shared);
      return;
    }
    if (c.ta() || !c.tb()) {
      var body = updating(lanes, workers, c, shared, new ChainGemm(lanes, c)::run);
      blocks(lanes, workers, c, Block.Grid.of(c.batch(), m, n, ChainGemm.HEIGHT, ChainGemm.BREADTH, 32), body);
      return;
    }
    if (few) {
      var stream = stream(lanes, workers, c, pairs, shared);
      var body = stream.<Body>map(s -> s::run).orElseGet(() -> new DotGemm(lanes, c, floats(lanes, workers, c.a(), c.k(), shared))::run);
      blocks(lanes, workers, c, new Block.Grid(c.batch(), m, n, MANY, StreamGemm.breadth(n, workers.count())), updating(lanes, workers, c, shared, body));
    } else {
      long a = floats(lanes, workers, c.a(), c.k(), shared);
      int breadth = Math.clamp(TreeGemm.PANELS / Math.max(1, c.k()) / Tiles.WIDTH, 1, 8) * Tiles.WIDTH;
      var body = updating(lanes, workers, c, shared, new TreeGemm(lanes, c, a)::run);
      blocks(lanes, workers, c, Block.Grid.of(c.batch(), m, n, TreeGemm.HEIGHT, breadth, 128), body);
    }
  }

  /// The code that streams b past few rows of a, where there is some.
  private static Optional<StreamGemm> stream(Lanes lanes, Workers workers, Gemm c, boolean pairs, Scratch shared) {
    if (!StreamGemm.takes(lanes, c)) return Optional.empty();
    return Optional.of(pairs ? StreamGemm.ofPairs(c) : StreamGemm.of(c, floats(lanes, workers, c.a(), c.k(), shared)));
  }

  /// A body and then the update of c, if it has one. Blocks must have all rows where machine code runs; without terms it does not.
  static Body updating(Lanes lanes, Workers workers, Gemm c, Scratch shared, Body body) {
    if (c.update().isEmpty()) return body;
    var update = c.update().get();
    return body.then(lanes.emitted() && c.k() > 0 ? Avx512Gemm.adding(lanes, workers, update, shared) : new ChainGemm(lanes, update)::run);
  }

  static void blocks(Lanes lanes, Workers workers, Gemm c, Block.Grid grid, Body body) {
    workers.run(grid.blocks(), (task, scratch) -> block(lanes, c, grid.block(task), body, scratch));
  }

  /// One block of y, through scratch if y is not f32.
  static void block(Lanes lanes, Gemm c, Block block, Body body, Scratch scratch) {
    var y = c.y().tensor();
    long first = block.y(c.m(), c.n());
    if (y.dtype() == DType.F32) {
      body.run(block, y.address() + 4 * first, 4L * c.n(), scratch);
      return;
    }
    int columns = block.columns();
    long to = scratch.floats((long) block.rows() * columns);
    boolean whole = lanes.emitted() && RowCode.reads(y);
    if (c.y().add()) {
      if (whole) RowCode.convert(to, 4L * columns, DType.F32, false, RowCode.at(y, first), (long) y.dtype().bytes() * c.n(), y.dtype(), block.rows(), columns);
      else for (int r = 0; r < block.rows(); r++) Rows.read(lanes, y, first + (long) r * c.n(), columns, to + 4L * r * columns);
    }
    body.run(block, to, 4L * columns, scratch);
    if (whole) write(y, first, c.n(), to, 4L * columns, block.rows(), columns);
    else for (int r = 0; r < block.rows(); r++) Rows.write(lanes, y, first + (long) r * c.n(), columns, to + 4L * r * columns);
  }

  /// Rows of f32 into rows of y that are n elements apart, from element `first` on.
  private static void write(Tensor y, long first, int n, long from, long pitch, int rows, int columns) {
    RowCode.convert(RowCode.at(y, first), (long) y.dtype().bytes() * n, y.dtype(), false, from, pitch, DType.F32, rows, columns);
  }

  /// The address of t's rows as f32: where they lie, or a copy.
  private static long floats(Lanes lanes, Workers workers, Tensor t, int columns, Scratch shared) {
    if (t.dtype() == DType.F32) return t.address();
    long copy = shared.floats(t.elements());
    Rows.split(
        workers, t.elements() / Math.max(1, columns), columns,
        (from, to, _) -> {
          for (long r = from; r < to; r++) Rows.read(lanes, t, r * columns, columns, copy + 4 * r * columns);
        });
    return copy;
  }
}
