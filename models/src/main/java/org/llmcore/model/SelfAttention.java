package org.llmcore.model;

import org.llmcore.op.Pass;
import org.llmcore.op.Rope;
import org.llmcore.tensor.Tensor;

/// Grouped-query self-attention with rotary positions.
///
/// | tensor  | shape      |
/// |---------|------------|
/// | x, y    | (T,C)      |
/// | q       | (T,H,D)    |
/// | k, v    | (T,G,D)    |
public record SelfAttention(int layer, int heads, int kvHeads, int headDim, Linear q, Linear k, Linear v, Linear o, Tensor rope) {
  /// y (T,C) of normalised x (T,C).
  public Tensor apply(Pass p, Tensor x, Tensor positions, Mixing mixing) {
    int t = x.dim(0);
    var qs = Rope.apply(p, q.apply(p, x).reshape(t, heads, headDim), positions, rope, Rope.Pairing.HALVES); // (T,H,D)
    var ks = Rope.apply(p, k.apply(p, x).reshape(t, kvHeads, headDim), positions, rope, Rope.Pairing.HALVES); // (T,G,D)
    var vs = v.apply(p, x).reshape(t, kvHeads, headDim); // (T,G,D)
    var a = mixing.attend(p, layer, qs, ks, vs, (float) (1 / Math.sqrt(headDim))); // (T,H,D)
    return o.apply(p, a.reshape(t, heads * headDim)); // (T,C)
  }
}
