package org.llmcore.tensor;

import java.util.List;

/// A weight matrix W (outputs, inputs) held in few bits, over tensors carved from regions.
///
/// | form      | values                              | bits per weight                         | from                        |
/// |-----------|-------------------------------------|-----------------------------------------|-----------------------------|
/// | `Grouped` | scale·(q − zero), q of 2 3 4 8 bits | b + 32/group (f16 scale, f16 zero)      | GPTQ, round to nearest      |
/// | `Nf4`     | level[q]·absmax, blocks of 64       | 4.5, or 4.127 with double quantization  | QLoRA (arXiv:2305.14314)    |
/// | `Blocks`  | GGML's block types                  | 4.5 … 8.5                               | GGUF files                  |
///
/// `get` is the meaning: what an element is worth, in f32, each operation rounded as its form says. Every kernel that reads a
/// quantized matrix must give the bits of a product with the dense f32 matrix of these values, or with their bf16 (`op.QuantMatMul`).
public sealed interface QuantMatrix extends Weight permits Grouped, Nf4, Blocks {
  /// Rows of W.
  int outputs();

  /// Columns of W.
  int inputs();

  /// The tensors it is made of, under fixed names, in a fixed order.
  List<Part> parts();

  /// One tensor of a quantized matrix.
  record Part(String name, Tensor tensor) {}

  /// For people: `4 bits, groups of 128`.
  String describe();

  /// Element (output, input). Host memory only; slow.
  float get(int output, int input);

  @Override
  default long bytes() {
    return parts().stream().mapToLong(p -> p.tensor().bytes()).sum();
  }

  /// Row `output` as f32. Host memory only; slow.
  default float[] row(int output) {
    var values = new float[inputs()];
    for (int i = 0; i < values.length; i++) values[i] = get(output, i);
    return values;
  }
}
