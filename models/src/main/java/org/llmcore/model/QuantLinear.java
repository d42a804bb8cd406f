package org.llmcore.model;

import org.llmcore.op.Pass;
import org.llmcore.op.QuantMatMul;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Tensor;

/// A linear layer whose frozen weight matrix is held in few bits, no bias.
///
/// @param int8 whether activations are rounded to eight bits (`QuantMatMul.Int8Product`), which excludes training
public record QuantLinear(String name, QuantMatrix w, boolean int8) implements Linear {
  /// For activations as they are.
  public QuantLinear(String name, QuantMatrix w) {
    this(name, w, false);
  }

  @Override
  public int inputs() {
    return w.inputs();
  }

  @Override
  public int outputs() {
    return w.outputs();
  }

  @Override
  public Tensor apply(Pass p, Tensor x) {
    return int8 ? QuantMatMul.int8(p, x, w) : QuantMatMul.apply(p, x, w);
  }
}
