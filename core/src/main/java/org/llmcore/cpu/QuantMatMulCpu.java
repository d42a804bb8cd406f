package org.llmcore.cpu;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

import org.llmcore.op.Int8;
import org.llmcore.op.QuantMatMul;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// Products with weights in few bits: the loops of `MatMulCpu`, which decode weights where they would convert dtypes.
final class QuantMatMulCpu {
  private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

  // Blocks of products of bytes: W is read once for up to 8 rows of x; a block of W stays in a second-level cache for more.
  private static final int FEW = 8;
  private static final int HEIGHT = 512;
  private static final int BREADTH = 128;

  private QuantMatMulCpu() {}

  static void run(Lanes lanes, Workers workers, QuantMatMul kernel, Scratch shared, Scratch rounded) {
    switch (kernel) {
      case QuantMatMul.Product k -> MatMulCpu.run(lanes, workers, Gemm.of(k), shared);
      case QuantMatMul.LowRank k -> MatMulCpu.run(lanes, workers, Gemm.of(k), shared);
      case QuantMatMul.Int8Product k -> int8(lanes, workers, k, shared, rounded);
      case QuantMatMul.Dequantize k -> dequantize(lanes, workers, k);
    }
  }

  /// By bytes where there is code for them; else the product of rounded rows.
  private static void int8(Lanes lanes, Workers workers, QuantMatMul.Int8Product k, Scratch shared, Scratch rounded) {
    rounded.reset();
    var x = k.x();
    var code = Int8Stream.of(lanes, Right.of(k.w()));
    if (code.isEmpty()) {
      var y = rounded.tensor(x.shape());
      rows(lanes, workers, x, (row, r) -> round(row, y.address() + 4L * r * x.columns(), x.columns()));
      MatMulCpu.run(lanes, workers, Gemm.of(k, y), shared);
      return;
    }
    var form = code.get();
    long pitch = Int8Code.pitch(form.layout(), x.columns());
    long packed = rounded.floats(x.rows() * pitch / 4);
    rows(lanes, workers, x, (row, r) -> Int8Code.pack(form.layout(), row, packed + r * pitch, x.columns(), form.zero()));
    var c = Gemm.of(k, x);
    int breadth = c.m() <= FEW ? StreamGemm.breadth(c.n(), workers.count()) : BREADTH;
    MatMulCpu.blocks(lanes, workers, c, new Block.Grid(1, c.m(), c.n(), HEIGHT, breadth), StreamGemm.ofInt8(c, packed, form)::run);
  }

  private interface RowTask {
    void run(long row, long r);
  }

  /// Every row of x as f32.
  private static void rows(Lanes lanes, Workers workers, Tensor x, RowTask task) {
    int columns = x.columns();
    Rows.split(
        lanes, workers, x.rows(), columns,
        (from, to, scratch) -> {
          long staging = scratch.floats(columns);
          for (long r = from; r < to; r++) task.run(Rows.read(lanes, x, r * columns, columns, staging), r);
        });
  }

  private static void round(long from, long to, int n) {
    var row = new float[n];
    MemorySegment.copy(Memory.ALL, FLOAT, from, row, 0, n);
    Int8.round(row);
    MemorySegment.copy(row, 0, Memory.ALL, FLOAT, to, n);
  }

  private static void dequantize(Lanes lanes, Workers workers, QuantMatMul.Dequantize k) {
    int columns = k.w().inputs();
    var w = Right.of(k.w());
    Rows.split(
        workers, k.w().outputs(), columns,
        (from, to, scratch) -> {
          long staging = scratch.floats(columns);
          for (long r = from; r < to; r++) {
            long row = Rows.target(k.y(), r * columns, staging);
            w.read(lanes, r * columns, columns, row);
            Rows.write(lanes, k.y(), r * columns, columns, row);
          }
        });
  }
}
