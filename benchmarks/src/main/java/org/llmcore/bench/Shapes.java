package org.llmcore.bench;

import java.util.List;
import java.util.OptionalInt;

import org.llmcore.checkpoint.LlamaConfig;

/// The model shapes of the benchmarks, with random weights: only sizes matter for speed.
///
/// | name  | hidden | layers | heads | ff   | vocabulary | training batch |
/// |-------|--------|--------|-------|------|------------|----------------|
/// | small | 128    | 4      | 4     | 352  | 1,024      | 16 × 128       |
/// | 15M   | 288    | 6      | 6     | 768  | 32,000     | 8 × 256        |
/// | 110M  | 768    | 12     | 12    | 2048 | 32,000     | 4 × 512        |
/// | 1.1B  | 2048   | 22     | 32, 4 for keys | 5632 | 32,000 | 1 × 512    |
record Shapes(String name, LlamaConfig config, int batch, int length) {
  static Shapes of(String name) {
    return switch (name) {
      case "small" -> new Shapes(name, llama(1024, 128, 352, 4, 4, 256), 16, 128);
      case "15M" -> new Shapes(name, llama(32000, 288, 768, 6, 6, 256), 8, 256);
      case "110M" -> new Shapes(name, llama(32000, 768, 2048, 12, 12, 1024), 4, 512);
      case "1.1B" -> new Shapes(name, llama(32000, 2048, 5632, 22, 32, 4, 2048), 1, 512);
      default -> throw new IllegalArgumentException("shape " + name + ", expected small, 15M, 110M or 1.1B");
    };
  }

  private static LlamaConfig llama(int vocabulary, int hidden, int intermediate, int layers, int heads, int context) {
    return llama(vocabulary, hidden, intermediate, layers, heads, heads, context);
  }

  private static LlamaConfig llama(int vocabulary, int hidden, int intermediate, int layers, int heads, int kvHeads, int context) {
    return new LlamaConfig(
        vocabulary, hidden, intermediate, layers, heads, kvHeads, hidden / heads, context, 1e-5, 10000, 1, false,
        OptionalInt.of(1), List.of(2), OptionalInt.empty(), "float32");
  }
}
