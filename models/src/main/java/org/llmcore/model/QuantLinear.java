package org.llmcore.model;

import org.llmcore.op.Pass;
import org.llmcore.op.QuantMatMul;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Tensor;

/// A linear layer whose frozen weight matrix is held in few bits, no bias.
public record QuantLinear(String name, QuantMatrix w) implements Linear {
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
    return QuantMatMul.apply(p, x, w);
  }
}
