package org.llmcore.model;

import org.llmcore.InvalidInput;
import org.llmcore.tensor.DType;

/// Dtypes of a model: how weights are kept and how activations flow. Sums, gradients of parameters, adapters and optimizer
/// state are f32 in every precision.
public enum Precision {
  /// Everything f32: bit-exact on every CPU.
  F32(DType.F32, DType.F32),
  /// Weights bf16, activations f32: half the weights' memory, same arithmetic.
  BF16_WEIGHTS(DType.BF16, DType.F32),
  /// Weights and activations bf16.
  BF16(DType.BF16, DType.BF16);

  private final DType weights;
  private final DType activations;

  Precision(DType weights, DType activations) {
    this.weights = weights;
    this.activations = activations;
  }

  public DType weights() {
    return weights;
  }

  public DType activations() {
    return activations;
  }

  /// `f32`, `bf16-weights` or `bf16`.
  public static Precision parse(String text) {
    for (var p : values()) if (p.toString().equals(text)) return p;
    throw new InvalidInput("precision '" + text + "'", "expected f32, bf16-weights or bf16");
  }

  @Override
  public String toString() {
    return name().toLowerCase(java.util.Locale.ROOT).replace('_', '-');
  }
}
