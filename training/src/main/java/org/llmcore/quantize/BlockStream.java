package org.llmcore.quantize;

import java.util.List;
import java.util.Optional;

import org.llmcore.model.Block;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Linear;
import org.llmcore.op.Device;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

/// The blocks of a model one after another, with what text becomes on its way to their layers. Memory: the embedding, one block
/// in f32, one Hessian and the activations of the text.
record BlockStream(Device device, Source source, List<int[]> text) {
  /// Who looks at the layers, and may change their weights.
  interface Visitor {
    /// Layers of a block that share their input: {k,v,q}, {o}, {up,gate} and {down}, in this order. What is put into their
    /// weights is what everything behind them sees.
    /// @param block its number
    /// @param h of their input; none without text
    void set(int block, List<Linear> layers, Optional<Hessian> h);

    /// All layers of a block have been shown.
    default void left(int block) {}
  }

  void run(Visitor visitor) {
    var c = source.config();
    var one = c.shortened(1);
    try (var weights = device.reserve("block", Decoder.bytes(one, DType.F32))) {
      var decoder = Decoder.carve(one, weights, DType.F32, DType.F32, false);
      fill(decoder.embedding(), "model.embed_tokens.weight");
      try (var activations = Activations.of(device, text, decoder)) {
        for (int i = 0; i < c.layers(); i++) block(decoder, i, activations, visitor);
      }
    }
  }

  /// Names of layers in the block that is held are those of block 0.
  static String name(Linear layer, int block) {
    return prefix(block) + layer.name().substring(prefix(0).length());
  }

  private static String prefix(int block) {
    return "model.layers." + block + ".";
  }

  private void fill(Tensor w, String name) {
    LanguageModel.upload(device, w, source.weights(name, w.shape().dims()));
  }

  private void block(Decoder decoder, int index, Activations text, Visitor visitor) {
    var b = decoder.blocks().getFirst();
    var from = prefix(0);
    decoder.parameters().map().forEach((name, w) -> {
      if (name.startsWith(from)) fill(w, prefix(index) + name.substring(from.length()));
    });
    var a = b.attention();
    var m = b.mlp();
    boolean any = text.tokens() > 0;
    set(index, List.of(a.k(), a.v(), a.q()), text, b, Activations.Stage.ATTENTION, visitor);
    set(index, List.of(a.o()), text, b, Activations.Stage.MIXED, visitor);
    if (any) text.attend(b);
    set(index, List.of(m.up(), m.gate()), text, b, Activations.Stage.MLP, visitor);
    set(index, List.of(m.down()), text, b, Activations.Stage.INNER, visitor);
    if (any && index + 1 < source.config().layers()) text.feed(b);
    visitor.left(index);
  }

  private void set(int index, List<Linear> set, Activations text, Block b, Activations.Stage stage, Visitor visitor) {
    if (text.tokens() == 0) {
      visitor.set(index, set, Optional.empty());
      return;
    }
    try (var h = new Hessian(device, set.getFirst().inputs())) {
      text.inputs(b, stage, h::add);
      visitor.set(index, set, Optional.of(h));
    }
  }
}
