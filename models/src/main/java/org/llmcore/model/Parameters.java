package org.llmcore.model;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import org.llmcore.tensor.Tensor;

/// Named tensors in a fixed order, under their published names. The order is part of a run's identity: gradients, moments
/// and checkpoints follow it.
public final class Parameters {
  private final Map<String, Tensor> tensors = new LinkedHashMap<>();
  private final Map<Tensor, Tensor> twins = new LinkedHashMap<>();

  /// Adds a tensor under a name that is not yet taken, and returns it.
  public Tensor put(String name, Tensor tensor) {
    if (tensors.putIfAbsent(name, tensor) != null) throw new IllegalArgumentException("two parameters named " + name);
    return tensor;
  }

  /// A second use of one of these tensors, with a gradient of its own if it is trained.
  public Tensor twin(Tensor of) {
    var twin = of.twin();
    if (twin != of) twins.put(twin, of);
    return twin;
  }

  /// Second uses of trained tensors, and what they are uses of.
  public Map<Tensor, Tensor> twins() {
    return Collections.unmodifiableMap(twins);
  }

  /// The tensor of that name.
  public Tensor get(String name) {
    var t = tensors.get(name);
    if (t == null) throw new IllegalArgumentException("no parameter named " + name);
    return t;
  }

  /// Names to tensors, in order; read-only.
  public Map<String, Tensor> map() {
    return Collections.unmodifiableMap(tensors);
  }

  /// The tensors whose gradient is wanted.
  public List<Tensor> trainable() {
    return tensors.values().stream().filter(Tensor::tracked).toList();
  }

  /// Number of elements of all tensors.
  public long elements() {
    return tensors.values().stream().mapToLong(Tensor::elements).sum();
  }

  /// Bytes of all tensors.
  public long bytes() {
    return tensors.values().stream().mapToLong(Tensor::bytes).sum();
  }
}
