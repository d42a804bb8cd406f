package org.llmcore.op;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

/// Clipping by the global L2 norm (Pascanu et al. 2013), as torch.nn.utils.clip_grad_norm_ computes it, in two kernels.
///
///     SumOfSquares: sums[slot] = Σ x²        Clip: norm = √Σ sums        factor = min(1, max / (norm + 1e-6))
///
/// Σ x² runs over chunks of 4,096 elements: rule 3 of `Kernel` in f32 inside a chunk, f64 over chunks in ascending order;
/// Σ over slots is f64 in ascending order. So the norm does not depend on threads.
public sealed interface GradientNorm extends Kernel {
  /// Elements summed in f32 before f64 takes over.
  int CHUNK = 4096;

  record SumOfSquares(Tensor sums, int slot, Tensor x) implements GradientNorm {
    public SumOfSquares {
      Check.dtype("GradientNorm sums", sums, DType.F32);
      Check.floating("GradientNorm x", x);
      Check.that(slot >= 0 && slot < sums.elements(), "GradientNorm slot %s of %s", slot, sums.shape());
    }
  }

  /// Writes the norm of the first `slots` sums, and the factor for `max`; `max` ≤ 0 means no clipping (factor 1).
  record Clip(Tensor norm, Tensor factor, Tensor sums, int slots, float max) implements GradientNorm {
    public Clip {
      Check.dtype("GradientNorm norm", norm, DType.F32);
      Check.dtype("GradientNorm factor", factor, DType.F32);
      Check.dtype("GradientNorm sums", sums, DType.F32);
      Check.that(norm.elements() == 1 && factor.elements() == 1, "GradientNorm.Clip writes one norm and one factor");
      Check.that(slots >= 0 && slots <= sums.elements(), "GradientNorm slots %s of %s", slots, sums.shape());
    }
  }
}
