package org.llmcore.gguf;

import java.util.Arrays;
import java.util.Optional;

import org.llmcore.tensor.BlockType;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;

/// How a GGUF file stores a tensor; the numbers are GGML's.
public enum GgufType {
  F32(0, DType.F32),
  F16(1, DType.F16),
  Q4_0(2, BlockType.Q4_0),
  Q4_1(3, BlockType.Q4_1),
  Q5_0(6, BlockType.Q5_0),
  Q5_1(7, BlockType.Q5_1),
  Q8_0(8, BlockType.Q8_0),
  Q4_K(12, BlockType.Q4_K),
  Q5_K(13, BlockType.Q5_K),
  Q6_K(14, BlockType.Q6_K),
  BF16(30, DType.BF16);

  private final int number;
  private final Optional<DType> dtype;
  private final Optional<BlockType> blocks;

  GgufType(int number, DType dtype) {
    this.number = number;
    this.dtype = Optional.of(dtype);
    this.blocks = Optional.empty();
  }

  GgufType(int number, BlockType blocks) {
    this.number = number;
    this.dtype = Optional.empty();
    this.blocks = Optional.of(blocks);
  }

  /// The type of that number, if it is one we read.
  static Optional<GgufType> of(int number) {
    return Arrays.stream(values()).filter(t -> t.number == number).findFirst();
  }

  /// The dtype of plain elements.
  public Optional<DType> dtype() {
    return dtype;
  }

  /// The blocks of weights in few bits.
  public Optional<BlockType> blocks() {
    return blocks;
  }

  /// Elements that are stored together.
  int unit() {
    return blocks.map(BlockType::weights).orElse(1);
  }

  /// Bytes of a unit.
  int bytes() {
    return blocks.map(BlockType::bytes).orElseGet(() -> dtype.orElseThrow().bytes());
  }

  /// Whether rows of that many elements are whole units.
  public boolean fits(int columns) {
    return columns % unit() == 0;
  }

  /// Bytes of a row of that many elements, a whole number of units.
  public long bytes(int columns) {
    return (long) columns / unit() * bytes();
  }

  /// Reads a row at an address as f32.
  void row(long address, float[] out, int at, int columns) {
    if (dtype.isPresent()) {
      for (int i = 0; i < columns; i++) out[at + i] = Memory.load(dtype.get(), address, i);
      return;
    }
    var type = blocks.orElseThrow();
    for (int i = 0; i < columns; i++) out[at + i] = type.value(address + (long) (i / type.weights()) * type.bytes(), i % type.weights());
  }

  /// The number by which files name it.
  int number() {
    return number;
  }
}
