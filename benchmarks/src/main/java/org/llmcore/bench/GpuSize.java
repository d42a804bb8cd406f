package org.llmcore.bench;

import java.util.List;
import java.util.OptionalInt;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.tensor.DType;

/// How large the benchmarks of a GPU are. `toy` is for a machine without one: the same code in a second.
///
/// | name | hidden | ff     | layers | heads | kv | vocabulary | training batch |
/// |------|--------|--------|--------|-------|----|------------|----------------|
/// | toy  | 64     | 96     | 2      | 4     | 2  | 288        | 2 × 16         |
/// | 1b   | 2,048  | 5,632  | 22     | 32    | 4  | 32,000     | 4 × 2,048      |
/// | 7b   | 4,096  | 11,008 | 32     | 32    | 32 | 32,000     | 4 × 2,048      |
record GpuSize(String name, LlamaConfig config, int batch, int length, DType dtype) {
  static GpuSize of(String name) {
    return switch (name) {
      case "toy" -> new GpuSize(name, llama(288, 64, 96, 2, 4, 2, 64), 2, 16, DType.F32);
      case "1b" -> new GpuSize(name, llama(32000, 2048, 5632, 22, 32, 4, 4096), 4, 2048, DType.BF16);
      case "7b" -> new GpuSize(name, llama(32000, 4096, 11008, 32, 32, 32, 4096), 4, 2048, DType.BF16);
      default -> throw new IllegalArgumentException("size " + name + ", expected toy, 1b or 7b");
    };
  }

  /// Sequences of a step of full fine-tuning: what the peer's script takes.
  int fullBatch() {
    return fullRecomputes() ? 2 : batch;
  }

  /// Whether that step keeps no activations within blocks.
  boolean fullRecomputes() {
    return name.equals("7b");
  }

  /// Rows of a training batch.
  int tokens() {
    return batch * length;
  }

  private static LlamaConfig llama(int vocabulary, int hidden, int intermediate, int layers, int heads, int kv, int context) {
    return new LlamaConfig(
        vocabulary, hidden, intermediate, layers, heads, kv, hidden / heads, context, 1e-5, 10000, 1, false,
        OptionalInt.of(1), List.of(2), OptionalInt.empty(), "bfloat16");
  }
}
