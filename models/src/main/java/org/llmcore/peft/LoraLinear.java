package org.llmcore.peft;

import org.llmcore.model.DenseLinear;
import org.llmcore.model.Linear;
import org.llmcore.model.QuantLinear;
import org.llmcore.op.Dropout;
import org.llmcore.op.MatMul;
import org.llmcore.op.Pass;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// A linear layer with a trainable low-rank update (Hu et al. 2021, arXiv:2106.09685, eq. 3), with PEFT's semantics:
///
///     y = base(x) + s·u·Bᵀ        u = dropout(x)·Aᵀ        only the update is scaled
///     du = s·dy·B        dA = duᵀ·dropout(x)        dBᵀ = s·uᵀ·dy
///
/// | tensor | shape          | dtype |
/// |--------|----------------|-------|
/// | A      | (r, inputs)    | f32   |
/// | Bᵀ     | (r, outputs)   | f32   |
/// | u      | (T, r)         | as x  |
///
/// B is held transposed (files hold it as PEFT does): all of its products then run along contiguous rows, and its gradient is
/// a chain over tokens. Without dropout base and update are one call (`MatMul.LowRank`, `QuantMatMul.LowRank`), forward and backward; else the
/// update is added to y in place: one product of inner length r, nothing else is materialised.
public record LoraLinear(Linear base, Tensor a, Tensor bt, float scale, float dropout, Masks masks) implements Linear {
  /// Where dropout masks come from: a key per (seed, optimizer step, module) and the row of the batch's first token within
  /// the step, so that masks do not depend on how the step is split into micro-batches.
  public static final class Masks {
    private long seed;
    private long step;
    private long row;

    /// Sets the coordinates for the next micro-batch.
    public void at(long seed, long step, long row) {
      this.seed = seed;
      this.step = step;
      this.row = row;
    }

    /// Dropout of a micro-batch's input to this module, (T,C).
    Tensor drop(Pass p, Tensor x, float rate, String module) {
      return Dropout.apply(p, x, rate, Dropout.key(seed, step, module.hashCode()), row * x.columns());
    }
  }

  @Override
  public String name() {
    return base.name();
  }

  @Override
  public int inputs() {
    return base.inputs();
  }

  @Override
  public int outputs() {
    return base.outputs();
  }

  @Override
  public Tensor apply(Pass p, Tensor x) {
    if (!Dropout.applies(p, dropout)) {
      if (base instanceof DenseLinear d) return MatMul.lowRank(p, x, d.w(), a, bt, scale);
      if (base instanceof QuantLinear q && !q.int8()) return QuantMatMul.lowRank(p, x, q.w(), a, bt, scale);
    }
    var y = base.apply(p, x); // (T,outputs)
    var dropped = masks.drop(p, x, dropout, name());
    var u = MatMul.apply(p, dropped, a, true); // (T,r)
    p.run(new MatMul.Product(Sink.add(y), u, bt, false, false, scale));
    var sum = y.tracked(p.taped());
    backward(p, sum, u);
    return sum;
  }

  /// s·u·Bᵀ (T,outputs) alone, of an input that has gone through dropout.
  Tensor update(Pass p, Tensor dropped) {
    var u = MatMul.apply(p, dropped, a, true); // (T,r)
    var y = p.result(dropped.dtype(), Shape.of(dropped.rows(), outputs()), u, bt);
    p.run(new MatMul.Product(Sink.write(y), u, bt, false, false, scale));
    backward(p, y, u);
    return y;
  }

  private void backward(Pass p, Tensor y, Tensor u) {
    p.onBackward(
        y,
        dy -> {
          var du = p.sink(u);
          if (du.wanted()) p.run(new MatMul.Product(du, dy, bt, false, true, scale));
          var dbt = p.sink(bt);
          if (dbt.wanted()) p.run(new MatMul.Product(dbt, u, dy, true, false, scale));
        });
  }
}
