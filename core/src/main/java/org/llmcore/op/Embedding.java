package org.llmcore.op;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Rows of a table by index (gather along axis 0).
///
///     y[t,·] = table[ids[t],·]        dtable[v,·] = Σ_{t: ids[t]=v} dy[t,·]   in ascending t (rule 2)
///
/// | tensor | shape | dtype        | role        |
/// |--------|-------|--------------|-------------|
/// | y      | (…,C) | f32 bf16 f16 | written     |
/// | ids    | (…)   | i32          | read, saved |
/// | table  | (V,C) | f32 bf16 f16 | read        |
///
/// An id outside [0, V) is refused by host devices when the kernel runs. An overwriting sink first clears dtable.
public sealed interface Embedding extends Kernel {
  record Forward(Tensor y, Tensor ids, Tensor table) implements Embedding {
    public Forward {
      check(y, ids, table.shape());
      Check.floating("Embedding table", table);
    }
  }

  record Backward(Sink dtable, Tensor dy, Tensor ids) implements Embedding {
    public Backward {
      if (dtable.wanted()) check(dy, ids, dtable.tensor().shape());
      Check.floating("Embedding dtable", dtable);
    }
  }

  private static void check(Tensor y, Tensor ids, Shape table) {
    Check.floating("Embedding y", y);
    Check.dtype("Embedding ids", ids, DType.I32);
    Check.that(table.rank() == 2, "Embedding table has shape %s, expected (V, C)", table);
    Check.that(
        y.columns() == table.columns() && y.rows() == ids.elements(),
        "Embedding y has shape %s for ids %s and table %s", y.shape(), ids.shape(), table);
  }

  /// Rows of `table` (V,C) for `ids` (…): (…,C), computed in `dtype`.
  static Tensor apply(Pass p, Tensor ids, Tensor table, DType dtype) {
    int rank = ids.shape().rank();
    int[] dims = java.util.Arrays.copyOf(ids.shape().dims(), rank + 1);
    dims[rank] = table.columns();
    var y = p.result(dtype, Shape.of(dims), table);
    p.run(new Forward(y, ids, table));
    p.onBackward(y, dy -> p.run(new Backward(p.sink(table), dy, ids)));
    return y;
  }
}
