package org.llmcore.cpu;

import org.llmcore.op.QuantMatMul;

/// Products with weights in few bits: the loops of `MatMulCpu`, which decode weights where they would convert dtypes.
final class QuantMatMulCpu {
  private QuantMatMulCpu() {}

  static void run(Lanes lanes, Workers workers, QuantMatMul kernel, Scratch shared) {
    switch (kernel) {
      case QuantMatMul.Product k -> MatMulCpu.run(lanes, workers, Gemm.of(k), shared);
      case QuantMatMul.Dequantize k -> dequantize(lanes, workers, k);
    }
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
