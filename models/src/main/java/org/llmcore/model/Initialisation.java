package org.llmcore.model;

import org.llmcore.op.Dropout;
import org.llmcore.tensor.Tensor;

/// Weights to start a model from scratch: matrices N(0, 0.02²) as GPT-2 and Llama do, the two matrices that write into the
/// residual stream (`o_proj`, `down_proj`) scaled by 1/√(2·layers) (Radford et al. 2019, §2.3), norms at one. A pure
/// function of the seed and of each parameter's name.
public final class Initialisation {
  private static final double DEVIATION = 0.02;

  private Initialisation() {}

  /// Fills all parameters of a model whose memory the host can write.
  public static void initialise(Decoder model, long seed) {
    double residual = DEVIATION / Math.sqrt(2.0 * model.config().layers());
    model
        .parameters()
        .map()
        .forEach(
            (name, w) -> {
              boolean output = name.endsWith("o_proj.weight") || name.endsWith("down_proj.weight");
              if (w.shape().rank() == 1) fill(w, 1);
              else normal(w, output ? residual : DEVIATION, Dropout.key(seed, name.hashCode()));
            });
  }

  private static void fill(Tensor w, float value) {
    var values = new float[Math.toIntExact(w.elements())];
    java.util.Arrays.fill(values, value);
    w.set(values);
  }

  /// Box & Muller 1958 over counter-based uniforms; strict arithmetic, so the same bits everywhere.
  public static void normal(Tensor w, double deviation, long key) {
    var values = new float[Math.toIntExact(w.elements())];
    for (int i = 0; i < values.length; i++) {
      double u = Dropout.uniform(key, 2L * i) + 0x1p-25; // never 0
      double v = Dropout.uniform(key, 2L * i + 1);
      values[i] = (float) (deviation * StrictMath.sqrt(-2 * StrictMath.log(u)) * StrictMath.cos(2 * Math.PI * v));
    }
    w.set(values);
  }
}
