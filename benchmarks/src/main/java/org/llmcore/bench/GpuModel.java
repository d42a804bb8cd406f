package org.llmcore.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.data.Batch;
import org.llmcore.model.Decoder;
import org.llmcore.model.Form;
import org.llmcore.model.KvCache;
import org.llmcore.model.Mixing;
import org.llmcore.model.Tokens;
import org.llmcore.op.Binary;
import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.op.Embedding;
import org.llmcore.op.Move;
import org.llmcore.op.Pass;
import org.llmcore.op.TopK;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.train.MemoryPlan;
import org.llmcore.train.Optimizer;
import org.llmcore.train.Trainer;
import org.llmcore.train.Tuning;

/// A model of random weights on a device, and what is timed with it: a LoRA step of rank 8 on all linear layers, a step of full
/// fine-tuning, reading a prompt, and a decode step of some sequences.
final class GpuModel implements AutoCloseable {
  private static final int PAGE = 64;

  private final Device device;
  private final GpuSize size;
  private final Region weights;
  private final Decoder decoder;

  /// @param trainable whether all weights are to be trained
  GpuModel(Device device, GpuSize size, boolean trainable) {
    this.device = device;
    this.size = size;
    var form = Form.dense(size.dtype(), size.dtype());
    weights = device.reserve("weights", Decoder.bytes(size.config(), form));
    decoder = Decoder.carve(size.config(), weights, form, trainable);
    try (var noise = new Noise(device); var region = device.growing("scale")) {
      var scale = region.carve(DType.F32, Shape.of(1)).set(0.04f);
      for (var w : decoder.parameters().map().values()) {
        noise.fill(w);
        if (w.shape().rank() > 1) device.run(new Binary.Forward(w, w, scale, Binary.Function.MUL));
      }
      device.synchronize();
    }
  }

  /// A training step that can be run again and again. Its regions are closed with `close` of what is returned.
  interface Step extends AutoCloseable {
    void run();

    @Override
    void close();
  }

  /// LoRA of rank 8 on all linear layers.
  Step lora() {
    return training(Optional.of(LoraConfig.of(8, 16, 0, false, List.of("all-linear"))), size.batch(), false);
  }

  /// AdamW on all parameters: bf16 with f32 masters, gradients and moments.
  Step full() {
    return training(Optional.empty(), size.fullBatch(), size.fullRecomputes());
  }

  private Step training(Optional<LoraConfig> lora, int sequences, boolean recompute) {
    int t = sequences * size.length();
    var plan = MemoryPlan.of(new MemoryPlan.Shape(size.config(), Form.dense(size.dtype(), size.dtype()), lora, recompute), t, sequences);
    var training = device.reserve("training", plan.training());
    var step = device.reserve("step", plan.step());
    var tuning = lora.map(c -> Tuning.lora(decoder, c, training)).orElseGet(() -> Tuning.full(decoder));
    tuning.lora().ifPresent(l -> l.initialise(1));
    var optimizer = new Optimizer(device, training, tuning.trained(), new Optimizer.Settings(0.9, 0.999, 1e-8, 0, 1));
    var trainer = new Trainer(device, tuning, optimizer, step, recompute, 1);
    var positions = new int[t];
    var starts = new int[sequences + 1];
    for (int i = 0; i < t; i++) positions[i] = i % size.length();
    for (int i = 0; i <= sequences; i++) starts[i] = i * size.length();
    var batch = new Batch(ids(t, 5), ids(t, 6), starts, positions, t);
    return new Step() {
      private int number;

      @Override
      public void run() {
        trainer.step(++number, List.of(batch), 1e-5);
      }

      @Override
      public void close() {
        step.close();
        training.close();
      }
    };
  }

  private int[] ids(int n, long key) {
    var ids = new int[n];
    for (int i = 0; i < n; i++) ids[i] = (int) (Dropout.uniform(key, i) * size.config().vocabulary());
    return ids;
  }

  /// The likeliest tokens after `rows` new ones of each sequence, which has `before` tokens in the cache.
  /// @param rows tokens of a prompt, or 1 for a decode step
  Step reading(int sequences, int before, int rows) {
    var config = size.config();
    int pages = (before + rows + PAGE - 1) / PAGE;
    var cacheRegion = device.growing("cache");
    var cache = new KvCache(cacheRegion, config, decoder.activations(), sequences * pages, PAGE);
    var scale = cacheRegion.carve(DType.F32, Shape.of(sequences));
    device.run(new Move.Fill(scale, 1));
    var step = device.growing("step");
    var counts = new int[sequences];
    var ids = ids(sequences * rows, 7);
    var positions = new int[ids.length];
    var last = new int[sequences];
    for (int i = 0; i < ids.length; i++) positions[i] = before + i % rows;
    for (int s = 0; s < sequences; s++) last[s] = (s + 1) * rows - 1;
    return new Step() {
      @Override
      public void run() {
        step.reset();
        var p = Pass.inference(device, step);
        var open = new ArrayList<KvCache.Sequence>();
        for (int s = 0; s < sequences; s++) open.add(cache.open());
        if (before > 0) {
          Arrays.fill(counts, before);
          cache.append(p, open, counts);
        }
        Arrays.fill(counts, rows);
        device.together(() -> {
          var at = cache.append(p, open, counts);
          var tokens = new Tokens(Tokens.upload(p, ids), Tokens.upload(p, positions), at.starts());
          var hidden = decoder.hidden(p, tokens, new Mixing.Cached(cache, at), false, new ArrayList<>());
          var logits = decoder.logits(p, Embedding.apply(p, Tokens.upload(p, last), hidden, hidden.dtype()));
          TopK.apply(p, logits, scale, config.vocabulary(), TopK.MOST);
        });
        open.forEach(KvCache.Sequence::close);
      }

      @Override
      public void close() {
        step.close();
        cacheRegion.close();
      }
    };
  }

  @Override
  public void close() {
    weights.close();
  }
}
