package org.llmcore.model;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

/// How a model is held in memory.
///
/// @param weights dtype of embedding, norms, head and dense layers
/// @param activations dtype of activations
/// @param linears what the linear layers of the blocks are
public record Form(DType weights, DType activations, Linears linears) {
  /// Makes the linear layers of blocks.
  public interface Linears {
    /// Carves one layer, content undefined. A `DenseLinear` becomes a parameter of the model, anything else is frozen.
    /// @param name the published module name, without `.weight`
    Linear carve(Region region, String name, int outputs, int inputs);
  }

  /// All weights in one dtype.
  public static Form dense(DType weights, DType activations) {
    return new Form(weights, activations, (region, name, outputs, inputs) -> new DenseLinear(name, region.carve(weights, Shape.of(outputs, inputs))));
  }
}
