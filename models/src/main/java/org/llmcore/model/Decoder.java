package org.llmcore.model;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.BiFunction;
import java.util.function.UnaryOperator;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Device;
import org.llmcore.op.Embedding;
import org.llmcore.op.MatMul;
import org.llmcore.op.Move;
import org.llmcore.op.Pass;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Rope;
import org.llmcore.op.Sink;
import org.llmcore.tensor.Blocks;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;
import org.llmcore.tensor.Weight;

/// A decoder-only transformer of the Llama 2 form (Touvron et al. 2023, arXiv:2307.09288): embedding, blocks, final norm,
/// vocabulary projection `head` (the embedding itself when tied, unless a file's few bits are kept for it).
///
/// A soft prompt (n,C), if there is one, stands before every sequence; its rows reach neither head nor loss.
///
/// An adapter may decorate the head: `projection` then stands before it, and logits and their gradient are f32 for all tokens at once.
///
/// Activations are computed in `activations`; weights keep their own dtype. With `int8` a head in few bits takes hidden states in eight, as
/// its layers do (`QuantLinear`). T tokens, C hidden width, V vocabulary.
public record Decoder(
    LlamaConfig config, DType activations, Parameters parameters, Tensor embedding, List<Block> blocks, Tensor norm, Weight head, boolean int8,
    Optional<Tensor> prompt, Optional<Linear> projection) {
  /// Logits that exist together in `loss`: 384 tokens of a vocabulary of 32,000, 49 MB. With fewer the head and its gradient pass
  /// through memory more often than their products take.
  private static final int LOGITS = 384 * 32_000;

  /// The published name of the projection onto the vocabulary.
  public static final String HEAD = "lm_head";

  /// Carves all weights in one dtype, content undefined, under their Hugging Face names. `trainable` marks them as wanting gradients.
  public static Decoder carve(LlamaConfig c, Region region, DType weights, DType activations, boolean trainable) {
    return carve(c, region, Form.dense(weights, activations), trainable);
  }

  /// Carves all weights, content undefined, under their Hugging Face names. `trainable` marks the dense ones as wanting gradients.
  public static Decoder carve(LlamaConfig c, Region region, Form form, boolean trainable) {
    var all = new Parameters();
    var weights = form.weights();
    int q = c.heads() * c.headDim();
    int kv = c.kvHeads() * c.headDim();
    var embedding = matrix(all, region, "model.embed_tokens", c.vocabulary(), c.hidden(), weights, trainable);
    var rope = region.carve(DType.F32, Shape.of(c.contextLength(), c.headDim()));
    if (region.backed()) Rope.table(rope, c.ropeTheta(), c.ropeScale());
    var blocks = new ArrayList<Block>();
    for (int i = 0; i < c.layers(); i++) {
      var layer = "model.layers." + i + ".";
      var attentionNorm = vector(all, region, layer + "input_layernorm", c.hidden(), weights, trainable);
      var attention =
          new SelfAttention(
              i, c.heads(), c.kvHeads(), c.headDim(),
              linear(all, region, layer + "self_attn.q_proj", q, c.hidden(), form, trainable),
              linear(all, region, layer + "self_attn.k_proj", kv, c.hidden(), form, trainable),
              linear(all, region, layer + "self_attn.v_proj", kv, c.hidden(), form, trainable),
              linear(all, region, layer + "self_attn.o_proj", c.hidden(), q, form, trainable),
              rope);
      var mlpNorm = vector(all, region, layer + "post_attention_layernorm", c.hidden(), weights, trainable);
      var mlp =
          new Mlp(
              linear(all, region, layer + "mlp.gate_proj", c.intermediate(), c.hidden(), form, trainable),
              linear(all, region, layer + "mlp.up_proj", c.intermediate(), c.hidden(), form, trainable),
              linear(all, region, layer + "mlp.down_proj", c.hidden(), c.intermediate(), form, trainable));
      blocks.add(new Block(attentionNorm, attention, mlpNorm, mlp, (float) c.rmsEps()));
    }
    var norm = vector(all, region, "model.norm", c.hidden(), weights, trainable);
    var head = form.head().<Weight>map(t -> Blocks.carve(region, t, c.vocabulary(), c.hidden()))
        .orElseGet(() -> c.tiedHead() ? all.twin(embedding) : matrix(all, region, HEAD, c.vocabulary(), c.hidden(), weights, trainable));
    return new Decoder(c, form.activations(), all, embedding, List.copyOf(blocks), norm, head, false, Optional.empty(), Optional.empty());
  }

  private static Tensor vector(Parameters all, Region region, String name, int n, DType dtype, boolean trainable) {
    return all.put(name + ".weight", region.carve(dtype, Shape.of(n)).tracked(trainable));
  }

  private static Tensor matrix(Parameters all, Region region, String name, int out, int in, DType dtype, boolean trainable) {
    return all.put(name + ".weight", region.carve(dtype, Shape.of(out, in)).tracked(trainable));
  }

  private static Linear linear(Parameters all, Region region, String name, int out, int in, Form form, boolean trainable) {
    var layer = form.linears().carve(region, name, out, in);
    return layer instanceof DenseLinear d ? new DenseLinear(name, all.put(name + ".weight", d.w().tracked(trainable))) : layer;
  }

  /// Bytes that `carve` takes for the weights and the rotary table.
  public static long bytes(LlamaConfig c, DType weights) {
    return bytes(c, Form.dense(weights, DType.F32));
  }

  /// Bytes that `carve` takes for the weights and the rotary table.
  public static long bytes(LlamaConfig c, Form form) {
    var counted = Region.measuring("weights");
    carve(c, counted, form, false);
    return counted.high();
  }

  /// The linear layers of all blocks, in the order of the forward pass.
  public List<Linear> linears() {
    var all = new ArrayList<Linear>();
    mapped(
        l -> {
          all.add(l);
          return l;
        });
    return all;
  }

  /// The same model with every linear layer of its blocks replaced by `f` of it.
  public Decoder mapped(UnaryOperator<Linear> f) {
    return new Decoder(config, activations, parameters, embedding, blocks.stream().map(b -> b.mapped(f)).toList(), norm, head, int8, prompt, projection);
  }

  /// The same model with every dense weight replaced by `f` of its module's name and itself.
  public Decoder replaced(BiFunction<String, Tensor, Tensor> f) {
    var all = new ArrayList<Block>();
    for (int i = 0; i < blocks.size(); i++) {
      var b = blocks.get(i);
      var layer = "model.layers." + i + ".";
      all.add(new Block(
          f.apply(layer + "input_layernorm", b.attentionNorm()), b.attention(), f.apply(layer + "post_attention_layernorm",
              b.mlpNorm()),
          b.mlp(), b.eps()).mapped(l -> l instanceof DenseLinear d ? new DenseLinear(d.name(), f.apply(d.name(), d.w())) : l));
    }
    return new Decoder(
        config, activations, parameters, f.apply("model.embed_tokens", embedding), List.copyOf(all), f.apply("model.norm", norm),
        head instanceof Tensor t ? f.apply(HEAD, t) : head, int8, prompt, projection);
  }

  /// The same model with another projection onto the vocabulary.
  public Decoder projected(Weight head) {
    return new Decoder(config, activations, parameters, embedding, blocks, norm, head, int8, prompt, projection);
  }

  /// The same model with a layer before its head that computes the logits.
  public Decoder projected(Linear projection) {
    return new Decoder(config, activations, parameters, embedding, blocks, norm, head, int8, prompt, Optional.of(projection));
  }

  /// The projection onto the vocabulary as a layer.
  public Linear projector() {
    return projection.orElseGet(() -> switch (head) {
      case Tensor t -> new DenseLinear(HEAD, t);
      case QuantMatrix q -> new QuantLinear(HEAD, q, int8);
    });
  }

  /// Whether any weights are in few bits.
  public boolean fewBits() {
    return head instanceof QuantMatrix || linears().stream().anyMatch(QuantLinear.class::isInstance);
  }

  /// The same model with activations in eight bits where they meet weights in few: for inference, before adapters are attached.
  public Decoder withInt8() {
    var layers = mapped(l -> l instanceof QuantLinear q ? new QuantLinear(q.name(), q.w(), true) : l);
    return new Decoder(config, activations, parameters, embedding, layers.blocks, norm, head, true, prompt, projection);
  }

  /// The same model with its layers in few bits as dense weights of their values, in the dtype of the embedding; a head in few bits that
  /// is the embedding's twin becomes the embedding.
  public Decoder dense(Device device, Region region) {
    var all = new Parameters();
    parameters.map().forEach(all::put);
    var layers = mapped(l -> l instanceof QuantLinear q ? new DenseLinear(q.name(), dense(device, region, all, q.name(), q.w())) : l);
    var dense = switch (head) {
      case Tensor t -> t;
      case QuantMatrix q -> config.tiedHead() ? all.twin(embedding) : dense(device, region, all, HEAD, q);
    };
    return new Decoder(config, activations, all, embedding, layers.blocks, norm, dense, false, prompt, projection);
  }

  private Tensor dense(Device device, Region region, Parameters all, String name, QuantMatrix q) {
    var w = all.put(name + ".weight", region.carve(embedding.dtype(), Shape.of(q.outputs(), q.inputs())));
    try (var scratch = device.growing("dense")) {
      var values = scratch.carve(DType.F32, w.shape());
      device.run(new QuantMatMul.Dequantize(values, q));
      device.run(new Move.Copy(Sink.write(w), values));
      device.synchronize();
    }
    return w;
  }

  /// A model whose head is a copy of the embedding instead of the embedding itself, so that the two can become different; this
  /// one where they are apart already. The other weights are shared.
  public Decoder untied(Device device, Region region) {
    if (!config.tiedHead()) return this;
    var all = new Parameters();
    parameters.map().forEach(all::put);
    var copy = all.put(HEAD + ".weight", region.carve(embedding.dtype(), embedding.shape()));
    device.run(new Move.Copy(Sink.write(copy), embedding));
    return new Decoder(config.untied(), activations, all, embedding, blocks, norm, copy, int8, prompt, projection);
  }

  /// The same model with a soft prompt (n,C) before every sequence.
  public Decoder prompted(Tensor prompt) {
    return new Decoder(config, activations, parameters, embedding, blocks, norm, head, int8, Optional.of(prompt), projection);
  }

  /// Virtual tokens before every sequence: the rows of the soft prompt, or 0.
  public int virtualTokens() {
    return prompt.map(t -> t.dim(0)).orElse(0);
  }

  /// Uploads whole sequences as this model reads them.
  /// @param starts (S+1) index of each sequence's first id, and T
  public Tokens tokens(Pass p, int[] ids, int[] starts) {
    return Tokens.after(p, virtualTokens(), ids, starts, new int[starts.length - 1]);
  }

  /// Uploads one whole sequence as this model reads it.
  public Tokens tokens(Pass p, int... ids) {
    return tokens(p, ids, new int[] {0, ids.length});
  }

  private Tensor embedded(Pass p, Tokens tokens) {
    var x = Embedding.apply(p, tokens.ids(), embedding, activations); // (T,C)
    if (tokens.prefix().isEmpty()) return x;
    var prefix = tokens.prefix().get();
    var v = Embedding.apply(p, prefix.virtual(), prompt.orElseThrow(), activations); // (R−T,C)
    return Embedding.apply(p, prefix.order(), Move.concat(p, 0, x, v), activations); // (R,C)
  }

  /// Hidden states (T,C) after the final norm. `recompute` trades time for memory (`Pass.block`). Where `states` is given,
  /// the embedding, the output of every block but the last, and the result are added to it, as Hugging Face lists hidden states.
  public Tensor hidden(Pass p, Tokens tokens, Mixing mixing, boolean recompute, List<Tensor> states) {
    var x = embedded(p, tokens); // (R,C), R = T without a soft prompt
    for (var block : blocks) {
      states.add(x);
      x = p.block(x, recompute, (inner, in) -> block.apply(inner, in, tokens.positions(), mixing));
    }
    if (tokens.prefix().isPresent()) x = Embedding.apply(p, tokens.prefix().get().rows(), x, activations); // (T,C)
    var y = RmsNorm.apply(p, x, norm, (float) config.rmsEps());
    states.add(y);
    return y;
  }

  /// Logits (T,V) in f32 of hidden states (T,C).
  public Tensor logits(Pass p, Tensor hidden) {
    if (projection.isPresent()) return projected(p, hidden, projection.get());
    var z = p.empty(DType.F32, hidden.dim(0), config.vocabulary());
    switch (head) {
      case Tensor t -> p.run(new MatMul.Product(Sink.write(z), hidden, t, false, true, 1));
      case QuantMatrix q -> QuantMatMul.product(p, Sink.write(z), hidden, q, int8);
    }
    return z;
  }

  private static Tensor projected(Pass p, Tensor hidden, Linear projection) {
    return projection.apply(p, hidden.dtype() == DType.F32 ? hidden : Move.cast(p, hidden, DType.F32)); // (T,V)
  }

  /// Loss per token (T) in nats, 0 where the target is −100. In a training pass the gradients of Σ scale·loss are seeded:
  /// `Pass.backward()` does the rest.
  public Tensor loss(Pass p, Tokens tokens, Tensor targets, float scale, boolean recompute) {
    var x = hidden(p, tokens, new Mixing.Within(tokens.starts()), recompute, new ArrayList<>());
    if (projection.isPresent()) {
      var z = projected(p, x, projection.get());
      if (!p.taped()) return CrossEntropy.apply(p, z, targets);
      var loss = p.empty(DType.F32, x.dim(0));
      p.run(new CrossEntropy.Fused(loss, p.sink(z).tensor(), z, targets, scale));
      return loss;
    }
    int chunk = Math.max(64, LOGITS / config.vocabulary());
    return switch (head) {
      case Tensor t -> CrossEntropy.linear(p, x, t, targets, scale, chunk);
      case QuantMatrix q -> CrossEntropy.linear(p, x, q, int8, targets, scale, chunk);
    };
  }
}
