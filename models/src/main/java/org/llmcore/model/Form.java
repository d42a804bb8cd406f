package org.llmcore.model;

import java.util.Optional;

import org.llmcore.checkpoint.GptqFiles;
import org.llmcore.tensor.BlockType;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

/// How a model is held in memory.
///
/// @param weights dtype of embedding, norms, head and dense layers
/// @param activations dtype of activations
/// @param linears what the linear layers of the blocks are
/// @param head blocks that the projection onto the vocabulary is held in, frozen; where there are none it is dense, the embedding itself
/// if they are tied
public record Form(DType weights, DType activations, Linears linears, Optional<BlockType> head) {
  /// Makes the linear layers of blocks.
  public interface Linears {
    /// Carves one layer, content undefined. A `DenseLinear` becomes a parameter of the model, anything else is frozen.
    /// @param name the published module name, without `.weight`
    Linear carve(Region region, String name, int outputs, int inputs);
  }

  /// With a dense head.
  public Form(DType weights, DType activations, Linears linears) {
    this(weights, activations, linears, Optional.empty());
  }

  /// Layers of a GPTQ checkpoint over its codes, the rest as the precision says. What is found in the files when layers are first carved is
  /// kept, so that the same can be carved when they are closed.
  public static Form gptq(GptqFiles files, Precision precision) {
    return new Form(precision.weights(), precision.activations(), new GptqLinears(files, precision.weights()));
  }

  /// All weights in one dtype.
  public static Form dense(DType weights, DType activations) {
    return new Form(weights, activations, (region, name, outputs, inputs) -> new DenseLinear(name, region.carve(weights, Shape.of(outputs, inputs))));
  }
}
