package org.llmcore.model;

import org.llmcore.op.Pass;
import org.llmcore.tensor.Tensor;

/// y = x·Wᵀ for x (T, inputs), y (T, outputs): dense, quantized, or a decorator such as LoRA over any of them.
public interface Linear {
  /// The published module name, without `.weight`: `model.layers.3.self_attn.q_proj`.
  String name();

  int inputs();

  int outputs();

  Tensor apply(Pass p, Tensor x);
}
