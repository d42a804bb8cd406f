package org.llmcore.quantize;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

import org.llmcore.model.Block;
import org.llmcore.model.Decoder;
import org.llmcore.model.Linear;
import org.llmcore.model.Mixing;
import org.llmcore.model.Mlp;
import org.llmcore.model.SelfAttention;
import org.llmcore.model.Tokens;
import org.llmcore.op.Binary;
import org.llmcore.op.Device;
import org.llmcore.op.Embedding;
import org.llmcore.op.Move;
import org.llmcore.op.Pass;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// What all calibration sequences have become on their way through the blocks: one buffer (tokens, C) in f32, rewritten in place.
final class Activations implements AutoCloseable {
  /// Sequences that go through a block together have at most this many tokens, or are one.
  private static final int TOGETHER = 2048;

  /// Where in a block the inputs of layers are.
  enum Stage {
    /// Of q, k and v: the normalised residual.
    ATTENTION,
    /// Of o: what attention has mixed.
    MIXED,
    /// Of gate and up: the normalised residual, after `attend`.
    MLP,
    /// Of down: gated.
    INNER
  }

  /// Rows [from, to) of the buffer: whole sequences.
  private record Part(int from, int to, int[] ids, int[] positions, int[] starts) {}

  private final Device device;
  private final Region region;
  private final Region step = Region.growing("step");
  private final Tensor x;
  private final List<Part> parts;

  private Activations(Device device, Region region, Tensor x, List<Part> parts) {
    this.device = device;
    this.region = region;
    this.x = x;
    this.parts = parts;
  }

  /// The embedding of sequences.
  static Activations of(Device device, List<int[]> sequences, Decoder decoder) {
    int tokens = sequences.stream().mapToInt(s -> s.length).reduce(0, Math::addExact);
    int width = decoder.config().hidden();
    var region = device.reserve("activations", Region.align(4L * tokens * width));
    var all = new Activations(device, region, region.carve(DType.F32, Shape.of(tokens, width)), parts(sequences));
    all.each((p, part) -> {
      var e = Embedding.apply(p, Tokens.upload(p, part.ids), decoder.embedding(), DType.F32);
      p.run(new Move.Copy(Sink.write(all.x.slice(part.from, part.to)), e));
    });
    return all;
  }

  private static List<Part> parts(List<int[]> sequences) {
    var parts = new ArrayList<Part>();
    int row = 0;
    for (int i = 0; i < sequences.size();) {
      int n = 0;
      int end = i;
      do n += sequences.get(end++).length; while (end < sequences.size() && n + sequences.get(end).length <= TOGETHER);
      var ids = new int[n];
      var positions = new int[n];
      var starts = new int[end - i + 1];
      int at = 0;
      for (int s = i; s < end; s++) {
        starts[s - i] = at;
        var sequence = sequences.get(s);
        for (int t = 0; t < sequence.length; t++, at++) {
          ids[at] = sequence[t];
          positions[at] = t;
        }
      }
      starts[end - i] = n;
      parts.add(new Part(row, row + n, ids, positions, starts));
      row += n;
      i = end;
    }
    return parts;
  }

  /// Number of tokens.
  int tokens() {
    return x.dim(0);
  }

  private interface Work {
    void run(Pass p, Part part);
  }

  private void each(Work work) {
    for (var part : parts) {
      step.reset();
      work.run(Pass.inference(device, step), part);
    }
  }

  /// Shows the inputs (tokens, K) of the layers at a stage, part by part.
  void inputs(Block b, Stage stage, Consumer<Tensor> each) {
    each((p, part) -> {
      var rows = x.slice(part.from, part.to);
      switch (stage) {
        case ATTENTION -> each.accept(RmsNorm.apply(p, rows, b.attentionNorm(), b.eps()));
        case MIXED -> attention(p, part, b, tapped(b.attention(), new Tap(b.attention().o(), each)));
        case MLP -> each.accept(RmsNorm.apply(p, rows, b.mlpNorm(), b.eps()));
        case INNER -> {
          var m = b.mlp();
          new Mlp(m.gate(), m.up(), new Tap(m.down(), each)).apply(p, RmsNorm.apply(p, rows, b.mlpNorm(), b.eps()));
        }
      }
    });
  }

  /// Adds attention to the residual.
  void attend(Block b) {
    each((p, part) -> add(p, part, attention(p, part, b, b.attention())));
  }

  /// Adds the MLP to the residual.
  void feed(Block b) {
    each((p, part) -> add(p, part, b.mlp().apply(p, RmsNorm.apply(p, x.slice(part.from, part.to), b.mlpNorm(), b.eps()))));
  }

  private void add(Pass p, Part part, Tensor y) {
    var rows = x.slice(part.from, part.to);
    p.run(new Move.Copy(Sink.write(rows), Binary.apply(p, rows, y, Binary.Function.ADD)));
  }

  private Tensor attention(Pass p, Part part, Block b, SelfAttention a) {
    var tokens = Tokens.of(p, part.ids, part.positions, part.starts);
    return a.apply(p, RmsNorm.apply(p, x.slice(part.from, part.to), b.attentionNorm(), b.eps()), tokens.positions(),
        new Mixing.Within(tokens.starts()));
  }

  private static SelfAttention tapped(SelfAttention a, Linear o) {
    return new SelfAttention(a.layer(), a.heads(), a.kvHeads(), a.headDim(), a.q(), a.k(), a.v(), o, a.rope());
  }

  /// Shows its input and computes nothing.
  private record Tap(Linear of, Consumer<Tensor> each) implements Linear {
    @Override
    public String name() {
      return of.name();
    }

    @Override
    public int inputs() {
      return of.inputs();
    }

    @Override
    public int outputs() {
      return of.outputs();
    }

    @Override
    public Tensor apply(Pass p, Tensor x) {
      each.accept(x);
      return x;
    }
  }

  @Override
  public void close() {
    step.close();
    region.close();
  }
}
