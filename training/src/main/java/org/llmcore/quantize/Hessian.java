package org.llmcore.quantize;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

import org.llmcore.op.Device;
import org.llmcore.op.MatMul;
import org.llmcore.op.Move;
import org.llmcore.op.Sink;
import org.llmcore.quant.GroupedCodes;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// XᵀX (K,K) in f32 of all inputs X (tokens, K) that linear layers have seen: half of n times the Hessian of the layer's squared
/// error, H = 2/n·XᵀX, in every row of W. One chain per element over all tokens, so how they were batched changes nothing.
///
/// H is symmetric: only its lower half is summed, as panels of 512 rows from column 0 to their diagonal, K² + 512·K operations
/// per token instead of 2K². The other half is the same chain with its factors swapped, hence the same bits; it is put in when
/// the first reader comes. 4K² bytes, and half of that again while tokens come in.
public final class Hessian implements AutoCloseable {
  private static final int PANEL = 512;

  private final Device device;
  private final int inputs;
  private final Region sums;
  private final Region scratch;
  private final List<Tensor> panels = new ArrayList<>();
  private Optional<Region> whole = Optional.empty();
  private Optional<Tensor> h = Optional.empty();
  private boolean empty = true;

  public Hessian(Device device, int inputs) {
    this.device = device;
    this.inputs = inputs;
    this.sums = device.growing("hessian");
    this.scratch = device.growing("hessian's operands");
    for (int from = 0; from < inputs; from += PANEL) {
      int to = Math.min(inputs, from + PANEL);
      panels.add(sums.carve(DType.F32, Shape.of(to - from, to)));
    }
  }

  /// Adds inputs (T,K).
  public void add(Tensor x) {
    if (h.isPresent()) throw new IllegalStateException("the sum has been read already");
    for (int p = 0; p < panels.size(); p++) {
      scratch.reset();
      int from = p * PANEL;
      int to = Math.min(inputs, from + PANEL);
      var a = columns(x, from, to); // (T, to−from)
      var b = columns(x, 0, to); // (T, to)
      device.run(new MatMul.Product(empty ? Sink.write(panels.get(p)) : Sink.add(panels.get(p)), a, b, true, false, 1));
    }
    empty = false;
  }

  private Tensor columns(Tensor x, int from, int to) {
    if (to - from == inputs) return x;
    var part = scratch.carve(x.dtype(), Shape.of(x.rows(), to - from));
    device.run(new Move.Take(Sink.write(part), x, 1, from));
    return part;
  }

  int inputs() {
    return inputs;
  }

  /// Both halves, (K,K).
  private Tensor whole() {
    if (h.isPresent()) return h.get();
    if (panels.size() == 1) {
      h = Optional.of(panels.getFirst());
      return h.get();
    }
    var region = device.reserve("whole hessian", Region.align(4L * inputs * inputs));
    whole = Optional.of(region);
    var all = region.carve(DType.F32, Shape.of(inputs, inputs));
    for (int p = 0; p < panels.size(); p++) {
      scratch.reset();
      var panel = panels.get(p);
      int from = p * PANEL;
      int to = panel.dim(1);
      var turned = scratch.carve(DType.F32, Shape.of(to, panel.dim(0)));
      device.run(new Move.Permute(Sink.write(turned), panel, 1, 0));
      device.run(new Move.Put(Sink.write(all.slice(from, to)), panel, 1, 0));
      device.run(new Move.Put(Sink.write(all.slice(0, to)), turned, 1, from));
    }
    device.synchronize();
    panels.clear();
    sums.close();
    scratch.close();
    h = Optional.of(all);
    return all;
  }

  /// Both halves, row-major; nothing can be added any more.
  public float[] toFloats() {
    return Gptq.download(device, whole());
  }

  /// ‖X·Dᵀ‖² of a matrix D (outputs, inputs), row-major: the squared error of a layer whose weights are off by D.
  double squared(float[] d, int outputs) {
    int k = inputs();
    var h = whole();
    try (var scratch = Region.growing("error")) {
      var t = scratch.carve(DType.F32, Shape.of(outputs, k));
      var p = scratch.carve(DType.F32, Shape.of(outputs, k));
      device.upload(MemorySegment.ofArray(d), t);
      device.run(new MatMul.Product(Sink.write(p), t, h, false, false, 1));
      var product = Gptq.download(device, p);
      double sum = 0;
      for (int i = 0; i < d.length; i++) sum += (double) product[i] * d[i];
      return Math.max(0, sum);
    }
  }

  /// ‖X·Wᵀ − X·Ŵᵀ‖² of quantized weights.
  double error(float[] w, GroupedCodes q) {
    var d = values(q);
    for (int i = 0; i < d.length; i++) d[i] = w[i] - d[i];
    return squared(d, q.outputs());
  }

  /// The weights that codes stand for, (outputs, inputs) row-major.
  static float[] values(GroupedCodes c) {
    var w = new float[c.q().length];
    int groups = c.scales().length / c.outputs();
    for (int o = 0; o < c.outputs(); o++) {
      for (int i = 0; i < c.inputs(); i++) {
        int g = o * groups + (c.groupOf().isPresent() ? c.groupOf().get()[i] : i / c.groupSize());
        w[o * c.inputs() + i] = c.scales()[g] * ((c.q()[o * c.inputs() + i] & 0xff) - c.zeros()[g]);
      }
    }
    return w;
  }

  @Override
  public void close() {
    if (whole.isEmpty()) {
      sums.close();
      scratch.close();
    }
    whole.ifPresent(Region::close);
  }
}
