package org.llmcore.cpu;

import java.util.function.Function;

import org.llmcore.cpu.code.GemmPacks;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

/// y = alpha·a·bᵀ where b has at most 16 rows, as the A and B of LoRA: computed as yᵀ = alpha·b·aᵀ, whose sums are the same, by the code
/// that streams the rows of a once past the rows of b (`StreamGemm`). Tiles would pack all of a for a sixteenth of their columns.
final class ThinGemm {
  /// Rows of b at most: what is turned at once.
  private static final int WIDTH = 16;

  /// Rows of a in a block: the more, the less often its streams begin.
  private static final int TALL = 256;

  private final Gemm c;
  private final StreamGemm turned;

  private ThinGemm(Gemm c, StreamGemm turned) {
    this.c = c;
    this.turned = turned;
  }

  static boolean takes(Lanes lanes, Gemm c) {
    return lanes.emitted() && !c.ta() && c.tb() && c.n() > 0 && c.n() <= WIDTH && c.k() > 0 && c.batch() == 1 && !c.y().add() && c.update().isEmpty()
        && RowCode.reads(c.y().tensor()) && c.b() instanceof Right.Dense;
  }

  /// @param code makes the code of yᵀ
  static void run(Workers workers, Gemm c, Function<Gemm, StreamGemm> code) {
    var swapped = new Gemm(Sink.write(c.y().tensor()), ((Right.Dense) c.b()).t(), new Right.Dense(c.a()), false, true, 1, c.n(), c.m(), c.k(), c.alpha());
    var thin = new ThinGemm(c, code.apply(swapped));
    int tall = Math.clamp(c.m() / (2L * workers.count()) & -WIDTH, WIDTH, TALL);
    workers.run((c.m() + tall - 1) / tall, (task, scratch) -> thin.block(task * tall, Math.min(tall, c.m() - task * tall), scratch));
  }

  private void block(int row, int rows, Scratch scratch) {
    long pitch = 4L * rows;
    long sums = scratch.floats((long) c.n() * rows); // (N, rows)
    turned.run(new Block(0, 0, row, c.n(), rows), sums, pitch, scratch);
    long y = scratch.floats((long) WIDTH * rows); // (rows, 16), of which N count
    var job = Job.ofBytes(GemmPacks.JOB);
    job.set(GemmPacks.FROM, sums);
    job.set(GemmPacks.FROM_PITCH, pitch);
    job.set(GemmPacks.TO, y);
    job.set(GemmPacks.COUNT, rows / WIDTH);
    job.set(GemmPacks.REST, rows % WIDTH);
    job.set(GemmPacks.REST_MASK, (1 << rows % WIDTH) - 1);
    job.set(GemmPacks.STEP, 4L * WIDTH * WIDTH);
    job.set(GemmPacks.M, c.n());
    for (int t = 0; t < WIDTH; t++) job.set(GemmPacks.OFFSETS + 8 * t, 4L * WIDTH * t);
    GemmCode.packs(DType.F32).turned(job.at(scratch.floats(GemmPacks.JOB / 4)), c.n() < WIDTH);
    Tensor to = c.y().tensor();
    RowCode.convert(RowCode.at(to, (long) row * c.n()), (long) to.dtype().bytes() * c.n(), to.dtype(), false, y, 4L * WIDTH, DType.F32, rows, c.n());
  }
}
