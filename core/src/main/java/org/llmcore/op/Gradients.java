package org.llmcore.op;

import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// Gradients of the trainable parameters, always F32, living across the micro-batches of one optimizer step. The first
/// contribution after `begin` overwrites, later ones add, so they are never zero-filled.
public final class Gradients {
  private static final class Slot {
    final Tensor grad;
    boolean written;

    Slot(Tensor grad) {
      this.grad = grad;
    }
  }

  private final Map<Object, Slot> slots = new IdentityHashMap<>();

  /// Carves one F32 gradient per parameter.
  public Gradients(Region region, List<Tensor> parameters) {
    for (var p : parameters) slots.put(p.node(), new Slot(region.carve(DType.F32, p.shape())));
  }

  /// Starts an optimizer step: what the gradients hold no longer counts.
  public void begin() {
    for (var s : slots.values()) s.written = false;
  }

  /// The gradient of a parameter after the micro-batches of a step; zero if nothing contributed.
  public Tensor of(Tensor parameter, Device device) {
    var s = slots.get(parameter.node());
    if (s == null) throw new IllegalArgumentException(parameter + " is not one of these parameters");
    if (!s.written) {
      device.run(new Move.Fill(s.grad, 0));
      s.written = true;
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
