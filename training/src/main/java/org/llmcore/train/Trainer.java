package org.llmcore.train;

import java.lang.foreign.MemorySegment;
import java.util.List;

import org.llmcore.data.Batch;
import org.llmcore.model.Decoder;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// One optimizer step, one evaluation: the heart of training, with nothing around it.
///
/// A step is any number of micro-batches. Each token's gradient is scaled by 1 / (learned tokens of the whole step), so the
/// split into micro-batches does not change the loss that is minimised; and because parameter gradients are chains over
/// tokens in order (rule 2 of `Kernel`), it does not change their bits either.
///
/// The step region is reset before every micro-batch: after the first step a training loop allocates nothing.
public final class Trainer {
  /// What a step did.
  /// @param loss mean negative log-likelihood over the step's learned tokens, in nats, before the update
  /// @param gradientNorm global L2 norm before clipping
  /// @param tokens tokens computed, learned or not
  public record Report(double loss, double gradientNorm, int tokens, int learned) {}

  private final Device device;
  private final Tuning tuning;
  private final Optimizer optimizer;
  private final Region step;
  private final boolean recompute;
  private final long seed;

  /// @param step region for the activations of one micro-batch; `MemoryPlan` says how large
  /// @param recompute gradient checkpointing per block
  /// @param seed of the dropout masks
  public Trainer(Device device, Tuning tuning, Optimizer optimizer, Region step, boolean recompute, long seed) {
    this.device = device;
    this.tuning = tuning;
    this.optimizer = optimizer;
    this.step = step;
    this.recompute = recompute;
    this.seed = seed;
  }

  /// Forward, backward and update over the micro-batches of one step; `number` counts from 1.
  /// If loss or gradient norm is not finite the parameters are left as they were.
  public Report step(int number, List<Batch> batches, double learningRate) {
    int learned = batches.stream().mapToInt(Batch::learned).sum();
    int tokens = 0;
    double loss = 0;
    optimizer.gradients().begin();
    for (var b : batches) {
      loss += accumulate(b, learned, number, tokens);
      tokens += b.ids().length;
    }
    if (!Double.isFinite(loss)) return new Report(loss / learned, Double.NaN, tokens, learned);
    double norm = optimizer.step(number, learningRate);
    return new Report(loss / learned, norm, tokens, learned);
  }

  /// Adds one micro-batch's gradients; returns the sum of its losses in nats.
  /// @param learned learned tokens of the whole step
  /// @param row tokens of the step's earlier micro-batches
  double accumulate(Batch batch, int learned, long number, long row) {
    tuning.at(seed, number, row);
    step.reset();
    var p = Pass.training(device, step, optimizer.gradients());
    var tokens = tuning.decoder().tokens(p, batch.ids(), batch.starts());
    var losses = tuning.decoder().loss(p, tokens, Tokens.upload(p, batch.targets()), 1f / learned, recompute);
    p.backward();
    return sum(losses);
  }

  /// Mean loss over the learned tokens of some batches, in nats; nothing is changed.
  public double evaluate(Iterable<Batch> batches) {
    return evaluate(tuning.decoder(), batches);
  }

  /// The same of another model of the same shape, such as the base under an adapter.
  public double evaluate(Decoder decoder, Iterable<Batch> batches) {
    double loss = 0;
    long learned = 0;
    for (var batch : batches) {
      step.reset();
      var p = Pass.inference(device, step);
      var tokens = decoder.tokens(p, batch.ids(), batch.starts());
      loss += sum(decoder.loss(p, tokens, Tokens.upload(p, batch.targets()), 0, false));
      learned += batch.learned();
    }
    return loss / learned;
  }

  private double sum(Tensor losses) {
    if (!step.backed()) return 0;
    var host = new float[Math.toIntExact(losses.elements())];
    device.download(losses, MemorySegment.ofArray(host));
    double sum = 0;
    for (float l : host) sum += l;
    return sum;
  }
}
