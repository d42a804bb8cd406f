package org.llmcore.model;

import java.util.Arrays;
import java.util.stream.Collectors;

import org.llmcore.InvalidInput;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Nf4;

/// How weights are kept and how activations flow. Sums, gradients of parameters, adapters and optimizer state are f32 in every
/// precision.
public enum Precision {
  /// Everything f32: bit-exact on every CPU.
  F32(DType.F32, DType.F32),
  /// Weights bf16, activations f32: half the weights' memory, same arithmetic.
  BF16_WEIGHTS(DType.BF16, DType.F32),
  /// Weights and activations bf16.
  BF16(DType.BF16, DType.BF16),
  /// The linear layers of the blocks in 4-bit NormalFloat, frozen; everything else as `BF16_WEIGHTS` (QLoRA, arXiv:2305.14314).
  NF4(DType.BF16, DType.F32),
  /// The same with double quantization: 4.127 instead of 4.5 bits per weight.
  NF4_DOUBLE(DType.BF16, DType.F32),
  /// `NF4` with everything else as `BF16`: QLoRA's bf16 compute.
  NF4_BF16(DType.BF16, DType.BF16),
  /// The same with double quantization.
  NF4_DOUBLE_BF16(DType.BF16, DType.BF16);

  private final DType weights;
  private final DType activations;

  Precision(DType weights, DType activations) {
    this.weights = weights;
    this.activations = activations;
  }

  /// Dtype of the weights that are not quantized.
  public DType weights() {
    return weights;
  }

  public DType activations() {
    return activations;
  }

  /// Whether linear layers are held in few bits, so that they cannot be trained, merged into or saved as they are.
  public boolean quantized() {
    return this == NF4 || this == NF4_BF16 || twice();
  }

  private boolean twice() {
    return this == NF4_DOUBLE || this == NF4_DOUBLE_BF16;
  }

  /// How a model of this precision is carved.
  public Form form() {
    if (!quantized()) return Form.dense(weights, activations);
    return new Form(weights, activations, (region, name, outputs, inputs) -> new QuantLinear(name, Nf4.carve(region, outputs, inputs, twice())));
  }

  /// `f32`, `bf16-weights`, `bf16`, `nf4`, `nf4-double`, `nf4-bf16` or `nf4-double-bf16`.
  public static Precision parse(String text) {
    for (var p : values()) if (p.toString().equals(text)) return p;
    var all = Arrays.stream(values()).map(Precision::toString).collect(Collectors.joining(", "));
    throw new InvalidInput("precision '" + text + "'", "expected one of " + all);
  }

  @Override
  public String toString() {
    return name().toLowerCase(java.util.Locale.ROOT).replace('_', '-');
  }
}
