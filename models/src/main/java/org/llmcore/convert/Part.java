package org.llmcore.convert;

import java.util.List;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.model.Decoder;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;

/// One tensor of a model by its Hugging Face name: a matrix, or a vector as one row.
record Part(String name, int rows, int columns, boolean matrix) {
  /// All tensors of a model of this shape, in the order of the forward pass.
  static List<Part> of(LlamaConfig config) {
    var decoder = Decoder.carve(config, Region.measuring("weights"), DType.F32, DType.F32, false);
    return decoder.parameters().map().entrySet().stream().map(
        e -> {
          var shape = e.getValue().shape();
          return shape.rank() == 1 ? new Part(e.getKey(), 1, shape.dim(0), false) : new Part(e.getKey(), shape.dim(0),
              shape.dim(1), true);
        }).toList();
  }

  int[] shape() {
    return matrix ? new int[] {rows, columns} : new int[] {columns};
  }

  long elements() {
    return (long) rows * columns;
  }

  /// Whether it is the embedding or the vocabulary projection.
  boolean vocabulary() {
    return name.equals("model.embed_tokens.weight") || name.equals("lm_head.weight");
  }

  /// Rows that are worked on at a time: about a million elements.
  int stretch() {
    return Math.clamp((1 << 20) / columns, 1, rows);
  }
}
