package org.llmcore.model;

import org.llmcore.op.Pass;
import org.llmcore.op.SwiGlu;
import org.llmcore.tensor.Tensor;

/// The gated feed-forward layer of Llama: down(silu(gate(x)) ∘ up(x)), x (T,C), inner (T,F).
public record Mlp(Linear gate, Linear up, Linear down) {
  /// y (T,C) of normalised x (T,C).
  public Tensor apply(Pass p, Tensor x) {
    return down.apply(p, SwiGlu.apply(p, gate.apply(p, x), up.apply(p, x)));
  }
}
