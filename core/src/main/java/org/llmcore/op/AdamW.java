package org.llmcore.op;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// One AdamW update (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, as torch.optim.AdamW computes it).
///
///     g = clip · grad        w −= lr·decay·w
///     m = β₁m + (1−β₁)g      v = β₂v + (1−β₂)g²
///     w −= lr/(1−β₁ᵗ) · m / (√v / √(1−β₂ᵗ) + eps)
///
/// | tensor | shape | dtype        | role                                              |
/// |--------|-------|--------------|---------------------------------------------------|
/// | w      | any   | f32 bf16 f16 | read and written; rounded from master if they differ |
/// | master | as w  | f32          | the value the update works on; w itself when w is f32 |
/// | m, v   | as w  | f32          | read and written                                  |
/// | grad   | as w  | f32          | read                                              |
/// | clip   | (1)   | f32          | read: the factor of `GradientNorm.Clip`, 1 for none |
///
/// `step` counts from 1. One pass over 5 arrays. Element by element, so trivially deterministic.
public sealed interface AdamW extends Kernel {
  record Step(
      Tensor w, Tensor master, Tensor m, Tensor v, Tensor grad, Tensor clip,
      float lr, float beta1, float beta2, float eps, float decay, int step)
      implements AdamW {
    public Step {
      Check.floating("AdamW w", w);
      for (var t : new Tensor[] {master, m, v, grad}) {
        Check.dtype("AdamW state", t, DType.F32);
        Check.shape("AdamW state", t, w.shape());
      }
      Check.dtype("AdamW clip", clip, DType.F32);
      Check.shape("AdamW clip", clip, Shape.of(1));
      Check.that(step >= 1, "AdamW step is %s, expected ≥ 1", step);
      Check.that(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1, "AdamW betas are %s and %s, expected [0, 1)", beta1, beta2);
    }
  }
}
