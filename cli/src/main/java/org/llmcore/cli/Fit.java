package org.llmcore.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.generate.Generator;
import org.llmcore.model.Decoder;
import org.llmcore.model.Precision;
import org.llmcore.tensor.Region;
import org.llmcore.train.MemoryPlan;

/// What a use of a model would hold at most, by dry runs of the very code (`MemoryPlan`, `Generator.bytes`).
///
/// @param use what is done
/// @param precision of weights and activations
record Fit(String use, Precision precision, long bytes) {
  private static final int RANK = 8;
  private static final int SEQUENCE = 2048;

  /// The usual uses, each in f32, bf16 and 4 bits: generating one sequence of the whole context; training on one sequence of
  /// 2,048 tokens (or the context), its activations recomputed or kept, an adapter of rank 8 on every linear layer or everything.
  static List<Fit> of(LlamaConfig config) {
    int tokens = Math.min(SEQUENCE, config.contextLength());
    var lora = Optional.of(LoraConfig.of(RANK, 2.0 * RANK, 0, false, List.of("all-linear")));
    var all = new ArrayList<Fit>();
    for (var p : List.of(Precision.F32, Precision.BF16, Precision.NF4_DOUBLE)) {
      all.add(new Fit("generate, one sequence of " + config.contextLength() + " tokens", p, generation(config, p)));
      all.add(new Fit("LoRA r " + RANK + ", one sequence of " + tokens + " tokens, checkpointing", p,
          training(config, p, lora, tokens, true)));
      all.add(new Fit("LoRA r " + RANK + ", the same without checkpointing", p, training(config, p, lora, tokens, false)));
      if (!p.quantized()) all.add(new Fit("full fine-tuning, checkpointing", p, training(config, p, Optional.empty(), tokens, true)));
    }
    return all;
  }

  private static long generation(LlamaConfig config, Precision p) {
    var weights = Region.measuring("weights");
    var decoder = Decoder.carve(config, weights, p.form(), false);
    return weights.high() + Generator.bytes(decoder, 1, config.contextLength());
  }

  private static long training(LlamaConfig config, Precision p, Optional<LoraConfig> lora, int tokens, boolean recompute) {
    return MemoryPlan.of(new MemoryPlan.Shape(config, p.form(), lora, recompute), tokens, 1).total();
  }

  /// In words, on a machine.
  String verdict(Machine machine) {
    if (bytes <= machine.available()) return "fits";
    return bytes <= machine.memory() ? "fits if other programs give way" : "does not fit";
  }
}
