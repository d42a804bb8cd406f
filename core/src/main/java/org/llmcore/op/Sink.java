package org.llmcore.op;

import org.llmcore.tensor.Tensor;

/// Where a kernel puts a result that may have several contributors: overwrite (first writer), add (later ones), or nowhere.
/// Nothing is ever zero-filled, and a frozen weight costs nothing in backward.
public final class Sink {
  /// Nobody wants this gradient.
  public static final Sink NONE = new Sink(null, false);

  private final Tensor tensor;
  private final boolean add;

  private Sink(Tensor tensor, boolean add) {
    this.tensor = tensor;
    this.add = add;
  }

  /// Overwrites the tensor.
  public static Sink write(Tensor tensor) {
    return new Sink(tensor, false);
  }

  /// Adds to the tensor.
  public static Sink add(Tensor tensor) {
    return new Sink(tensor, true);
  }

  /// Whether anybody wants the result.
  public boolean wanted() {
    return tensor != null;
  }

  /// The destination.
  /// @throws IllegalStateException on `NONE`
  public Tensor tensor() {
    if (tensor == null) throw new IllegalStateException("Sink.NONE has no tensor");
    return tensor;
  }

  /// True to accumulate, false to overwrite.
  public boolean add() {
    return add;
  }

  /// This destination seen under another shape.
  public Sink reshape(int... dims) {
    return tensor == null ? NONE : new Sink(tensor.reshape(dims), add);
  }

  /// Rows `[from, to)` of the destination.
  public Sink slice(int from, int to) {
    return tensor == null ? NONE : new Sink(tensor.slice(from, to), add);
  }

  @Override
  public String toString() {
    return tensor == null ? "none" : (add ? "+=" : "=") + tensor;
  }
}
