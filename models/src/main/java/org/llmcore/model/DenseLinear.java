package org.llmcore.model;

import org.llmcore.op.MatMul;
import org.llmcore.op.Pass;
import org.llmcore.tensor.Tensor;

/// A linear layer with a weight matrix `w` (outputs, inputs), no bias.
public record DenseLinear(String name, Tensor w) implements Linear {
  @Override
  public int inputs() {
    return w.dim(1);
  }

  @Override
  public int outputs() {
    return w.dim(0);
  }

  @Override
  public Tensor apply(Pass p, Tensor x) {
    return MatMul.apply(p, x, w, true);
  }
}
