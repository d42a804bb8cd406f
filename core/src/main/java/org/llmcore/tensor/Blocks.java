package org.llmcore.tensor;

import java.util.List;

/// Weights in GGML's blocks, the bytes exactly as a GGUF file holds them: row after row, each a whole number of blocks.
///
/// @param codes (outputs, rowBytes) U8
public record Blocks(BlockType type, int inputs, Tensor codes) implements QuantMatrix {
  /// @throws IllegalArgumentException if a row is no whole number of blocks or `codes` has another shape
  public Blocks {
    var expected = Shape.of(codes.rows(), rowBytes(type, inputs));
    if (codes.dtype() != DType.U8 || !codes.shape().equals(expected)) {
      throw new IllegalArgumentException("bytes of a " + type + " matrix are " + codes + ", expected U8" + expected);
    }
  }

  /// Carves the bytes, content undefined.
  public static Blocks carve(Region region, BlockType type, int outputs, int inputs) {
    return new Blocks(type, inputs, region.carve(DType.U8, Shape.of(outputs, rowBytes(type, inputs))));
  }

  /// Bytes of a row.
  /// @throws IllegalArgumentException if it is no whole number of blocks
  public static int rowBytes(BlockType type, int inputs) {
    if (inputs < 1 || inputs % type.weights() != 0) {
      throw new IllegalArgumentException("rows of " + inputs + " are no whole number of " + type + " blocks of " + type.weights());
    }
    return Math.multiplyExact(inputs / type.weights(), type.bytes());
  }

  @Override
  public int outputs() {
    return codes.rows();
  }

  @Override
  public float get(int output, int input) {
    long block = codes.address() + (long) output * codes.columns() + (long) (input / type.weights()) * type.bytes();
    return type.value(block, input % type.weights());
  }

  @Override
  public List<Part> parts() {
    return List.of(new Part("codes", codes));
  }

  @Override
  public String describe() {
    return type.name();
  }
}
