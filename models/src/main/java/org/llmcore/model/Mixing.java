package org.llmcore.model;

import org.llmcore.op.Attention;
import org.llmcore.op.Pass;
import org.llmcore.tensor.Tensor;

/// What attention attends to: the sequences of this batch, or a cache of earlier keys and values as well.
public sealed interface Mixing {
  /// Attention output (T,H,D) of layer `layer` for rotated q (T,H,D), k (T,G,D) and v (T,G,D).
  Tensor attend(Pass p, int layer, Tensor q, Tensor k, Tensor v, float scale);

  /// Every sequence of the batch attends to itself, causally.
  record Within(Tensor starts) implements Mixing {
    @Override
    public Tensor attend(Pass p, int layer, Tensor q, Tensor k, Tensor v, float scale) {
      return Attention.apply(p, q, k, v, starts, scale, true);
    }
  }

  /// New tokens attend to a cache that they are first stored in.
  record Cached(KvCache cache, KvCache.Step step) implements Mixing {
    @Override
    public Tensor attend(Pass p, int layer, Tensor q, Tensor k, Tensor v, float scale) {
      p.run(new Attention.Store(cache.keys(layer), k, step.slots()));
      p.run(new Attention.Store(cache.values(layer), v, step.slots()));
      var o = p.like(q);
      p.run(new Attention.Decode(o, q, cache.keys(layer), cache.values(layer), step.blocks(), step.starts(), step.lengths(), scale));
      return o;
    }
  }
}
