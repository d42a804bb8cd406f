package org.llmcore.cli;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.generate.Generator;
import org.llmcore.model.Decoder;
import org.llmcore.model.Form;
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

  /// The usual uses, in f32, bf16 and 4 bits.
  static List<Fit> of(LlamaConfig config) {
    var forms = new LinkedHashMap<Precision, Form>();
    for (var p : List.of(Precision.F32, Precision.BF16, Precision.NF4_DOUBLE)) forms.put(p, p.form());
    return of(config, forms, true);
  }

  /// The usual uses of a model that can be held so: generating one sequence of the whole context; training on one sequence of 2,048 tokens
  /// (or the context), its activations recomputed or kept, an adapter of rank 8 on every linear layer or everything.
  /// @param dense whether weights that a precision does not put into few bits are dense, and so can be trained
  static List<Fit> of(LlamaConfig config, Map<Precision, Form> forms, boolean dense) {
    int tokens = Math.min(SEQUENCE, config.contextLength());
    var lora = Optional.of(LoraConfig.of(RANK, 2.0 * RANK, 0, false, List.of("all-linear")));
    var all = new ArrayList<Fit>();
    forms.forEach((p, form) -> {
      all.add(new Fit("generate, one sequence of " + config.contextLength() + " tokens", p, generation(config, form)));
      all.add(new Fit("LoRA r " + RANK + ", one sequence of " + tokens + " tokens, checkpointing", p,
          training(config, form, lora, tokens, true)));
      all.add(new Fit("LoRA r " + RANK + ", the same without checkpointing", p, training(config, form, lora, tokens, false)));
      if (dense && !p.quantized()) all.add(new Fit("full fine-tuning, checkpointing", p, training(config, form, Optional.empty(), tokens, true)));
    });
    return all;
  }

  private static long generation(LlamaConfig config, Form form) {
    var weights = Region.measuring("weights");
    var decoder = Decoder.carve(config, weights, form, false);
    return weights.high() + Generator.bytes(decoder, 1, config.contextLength());
  }

  private static long training(LlamaConfig config, Form form, Optional<LoraConfig> lora, int tokens, boolean recompute) {
    return MemoryPlan.of(new MemoryPlan.Shape(config, form, lora, recompute), tokens, 1).total();
  }

  /// In words, on a machine.
  String verdict(Machine machine) {
    if (bytes <= machine.available()) return "fits";
    return bytes <= machine.memory() ? "fits if other programs give way" : "does not fit";
  }
}
