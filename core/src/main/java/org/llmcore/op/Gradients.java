package org.llmcore.op;

import java.util.ArrayList;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// Gradients of the trainable parameters, always F32, living across the micro-batches of one optimizer step. The first
/// contribution after `begin` overwrites, later ones add, so they are never zero-filled.
///
/// A parameter that is used twice (a tied embedding and head) has a twin with a gradient of its own, added when the step's
/// micro-batches are through. In one accumulator the order of the uses would depend on how the step is split.
public final class Gradients {
  private static final class Slot {
    final Tensor grad;
    final List<Slot> twins = new ArrayList<>();
    boolean written;

    Slot(Tensor grad) {
      this.grad = grad;
    }
  }

  private final Map<Object, Slot> slots = new IdentityHashMap<>();

  /// Carves one F32 gradient per parameter.
  public Gradients(Region region, List<Tensor> parameters) {
    this(region, parameters, Map.of());
  }

  /// Carves one F32 gradient per parameter and one per twin; `twins` maps twins to parameters.
  public Gradients(Region region, List<Tensor> parameters, Map<Tensor, Tensor> twins) {
    for (var p : parameters) slots.put(p.node(), new Slot(region.carve(DType.F32, p.shape())));
    twins.forEach(
        (twin, of) -> {
          var slot = new Slot(region.carve(DType.F32, twin.shape()));
          slots.get(of.node()).twins.add(slot);
          slots.put(twin.node(), slot);
        });
  }

  /// Starts an optimizer step: what the gradients hold no longer counts.
  public void begin() {
    for (var s : slots.values()) s.written = false;
  }

  /// The gradient of a parameter, its twins' added, after the micro-batches of a step; zero if nothing contributed.
  public Tensor of(Tensor parameter, Device device) {
    var s = slots.get(parameter.node());
    if (s == null) throw new IllegalArgumentException(parameter + " is not one of these parameters");
    if (!s.written) {
      device.run(new Move.Fill(s.grad, 0));
      s.written = true;
    }
    for (var twin : s.twins) {
      if (twin.written) device.run(new Move.Copy(Sink.add(s.grad), twin.grad));
      twin.written = false;
    }
    return s.grad;
  }

  boolean holds(Object node) {
    return slots.containsKey(node);
  }

  /// Where the next contribution goes.
  Sink sink(Object node) {
    var s = slots.get(node);
    boolean add = s.written;
    s.written = true;
    return add ? Sink.add(s.grad) : Sink.write(s.grad);
  }
}
