package org.llmcore.train;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import org.llmcore.model.Parameters;
import org.llmcore.op.AdamW;
import org.llmcore.op.Device;
import org.llmcore.op.GradientNorm;
import org.llmcore.op.Gradients;
import org.llmcore.op.Move;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// AdamW over the trainable parameters, with clipping by the global norm. Carves gradients, moments, and an f32 master copy
/// of every parameter that is not f32, in the order of the parameters.
///
/// Memory per parameter: f32: 4 (gradient) + 8 (moments) bytes; bf16: 4 + 8 + 4 (master).
public final class Optimizer {
  /// @param decay applied to matrices only; norms and other vectors are not decayed
  /// @param clip largest global gradient norm, 0 for none
  public record Settings(double beta1, double beta2, double eps, double decay, double clip) {}

  private record Slot(Tensor w, Tensor master, Tensor m, Tensor v) {}

  private final Device device;
  private final Settings settings;
  private final Gradients gradients;
  private final Map<String, Slot> slots = new LinkedHashMap<>();
  private final Tensor sums;
  private final Tensor norm;
  private final Tensor clip;

  /// Carves the state in `region`; moments start at zero, masters as the parameters.
  public Optimizer(Device device, Region region, Parameters parameters, Settings settings) {
    this.device = device;
    this.settings = settings;
    var trainable = parameters.trainable();
    this.gradients = new Gradients(region, trainable, parameters.twins());
    parameters.map().forEach((name, w) -> {
      if (w.tracked()) slots.put(name, slot(region, w));
    });
    this.sums = region.carve(DType.F32, Shape.of(Math.max(1, slots.size())));
    this.norm = region.carve(DType.F32, Shape.of(1));
    this.clip = region.carve(DType.F32, Shape.of(1));
  }

  private Slot slot(Region region, Tensor w) {
    var m = region.carve(DType.F32, w.shape());
    var v = region.carve(DType.F32, w.shape());
    device.run(new Move.Fill(m, 0));
    device.run(new Move.Fill(v, 0));
    if (w.dtype() == DType.F32) return new Slot(w, w, m, v);
    var master = region.carve(DType.F32, w.shape());
    device.run(new Move.Copy(Sink.write(master), w));
    return new Slot(w, master, m, v);
  }

  /// Where the passes of a step put the parameters' gradients.
  public Gradients gradients() {
    return gradients;
  }

  /// Applies one update; `step` counts from 1.
  /// @return the global gradient norm before clipping
  public double step(int step, double learningRate) {
    int i = 0;
    for (var s : slots.values()) device.run(new GradientNorm.SumOfSquares(sums, i++, gradients.of(s.w, device)));
    device.run(new GradientNorm.Clip(norm, clip, sums, i, (float) settings.clip));
    float before = download(norm);
    if (!Float.isFinite(before)) return before; // the parameters stay as they are: the caller reports and stops
    for (var s : slots.values()) {
      float decay = s.w.shape().rank() >= 2 ? (float) settings.decay : 0;
      device.run(
          new AdamW.Step(
              s.w, s.master, s.m, s.v, gradients.of(s.w, device), clip,
              (float) learningRate, (float) settings.beta1, (float) settings.beta2, (float) settings.eps, decay, step));
    }
    return before;
  }

  private float download(Tensor t) {
    var host = new float[1];
    device.download(t, MemorySegment.ofArray(host));
    return host[0];
  }

  /// What a checkpoint keeps beside the parameters: `name.m`, `name.v`, and `name.master` where there is one.
  public Map<String, Tensor> state() {
    var all = new LinkedHashMap<String, Tensor>();
    slots.forEach((name, s) -> {
      all.put(name + ".m", s.m);
      all.put(name + ".v", s.v);
      if (s.master != s.w) all.put(name + ".master", s.master);
    });
    return all;
  }

  /// The parameters it updates, in order.
  public List<Tensor> parameters() {
    return new ArrayList<>(slots.values().stream().map(Slot::w).toList());
  }
}
