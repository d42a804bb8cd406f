package org.llmcore.train;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.data.Batch;
import org.llmcore.model.Decoder;
import org.llmcore.model.Form;
import org.llmcore.op.Counting;
import org.llmcore.tensor.Region;

/// Bytes a training run will hold, by lifetime, computed before any is allocated: the very code that trains is driven on a
/// device that only counts. The run then reserves exactly this and can never need more.
///
/// | part      | holds                                                                       |
/// |-----------|-----------------------------------------------------------------------------|
/// | weights   | the model's parameters and rotary table                                     |
/// | training  | adapter (if any), gradients, moments, f32 masters of parameters that are not f32 |
/// | step      | activations and activation gradients of the largest micro-batch             |
/// | generation | cache and activations of an evaluation that generates, before or after training |
public record MemoryPlan(long weights, long training, long step, long generation) {
  /// The recipe's choices that decide memory.
  /// @param method an adapter, or empty for full fine-tuning
  /// @param recompute gradient checkpointing per block
  public record Shape(LlamaConfig config, Form form, Optional<LoraConfig> method, boolean recompute) {}

  /// The plan for micro-batches no larger than `tokens` tokens in `sequences` sequences.
  public static MemoryPlan of(Shape shape, int tokens, int sequences) {
    var device = new Counting();
    var weights = Region.measuring("weights");
    var training = Region.measuring("training");
    var step = Region.measuring("step");
    var decoder = Decoder.carve(shape.config, weights, shape.form, shape.method.isEmpty());
    var tuning = shape.method.map(m -> Tuning.lora(decoder, m, training)).orElseGet(() -> Tuning.full(decoder));
    var optimizer = new Optimizer(device, training, tuning.trained(), new Optimizer.Settings(0.9, 0.999, 1e-8, 0, 1));
    var trainer = new Trainer(device, tuning, optimizer, step, shape.recompute, 0);
    var batch = new Batch(new int[tokens], new int[tokens], new int[sequences + 1], new int[tokens], 1);
    trainer.accumulate(batch, 1, 0, 0);
    trainer.evaluate(java.util.List.of(batch));
    return new MemoryPlan(weights.high(), training.high(), step.high(), 0);
  }

  /// The plan for the largest of these micro-batches.
  public static MemoryPlan of(Shape shape, Iterable<Batch> batches) {
    int tokens = 1;
    int sequences = 1;
    for (var b : batches) {
      tokens = Math.max(tokens, b.ids().length);
      sequences = Math.max(sequences, b.starts().length - 1);
    }
    return of(shape, tokens, sequences);
  }

  /// The most that is held at once.
  public long total() {
    return weights + training + Math.max(step, generation);
  }

  /// The same plan with an evaluation that generates; its memory is not held together with a step's.
  public MemoryPlan generating(long bytes) {
    return new MemoryPlan(weights, training, step, bytes);
  }

  /// One line per part, for people.
  public List<String> lines() {
    var out = new ArrayList<String>();
    out.add("weights   %s  parameters and rotary table".formatted(megabytes(weights)));
    out.add("training  %s  trained values, gradients, Adam moments".formatted(megabytes(training)));
    out.add("step      %s  activations and their gradients".formatted(megabytes(step)));
    if (generation > 0) out.add("or        %s  cache and activations while an evaluation generates".formatted(megabytes(generation)));
    out.add("peak      %s".formatted(megabytes(total())));
    return out;
  }

  /// Bytes as people read them, 1 MB = 10⁶ bytes.
  public static String megabytes(long bytes) {
    return bytes >= 10_000_000_000L
        ? String.format(Locale.ROOT, "%8.2f GB", bytes / 1e9)
        : String.format(Locale.ROOT, "%8.1f MB", bytes / 1e6);
  }
}
