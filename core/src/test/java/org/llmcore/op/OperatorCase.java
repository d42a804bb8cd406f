package org.llmcore.op;

import java.util.List;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

/// One use of an operator: how its inputs are made and what it is applied to.
///
/// @param kernel the sealed interface it belongs to
/// @param coarsest the dtype that rounds most, for the tolerance
/// @param terms length of the longest sum
/// @param small whether it is small enough for finite differences
/// @param body applies the operator and returns all results, differentiable ones first
record OperatorCase(String name, Class<? extends Kernel> kernel, DType coarsest, long terms, boolean small, Body body) {
  interface Body {
    List<Tensor> apply(Pass p, Inputs in);
  }

  Tolerance tolerance() {
    return new Tolerance(coarsest, terms);
  }

  @Override
  public String toString() {
    return name;
  }
}
