package org.llmcore.tensor;

import java.util.Arrays;

/// Dimensions of a dense row-major tensor, outermost first. A scalar has rank 0 and one element.
///
/// Kernels see most tensors as a matrix: `columns()` is the last dimension, `rows()` the product of all others.
public final class Shape {
  private final int[] dims;
  private final long elements;

  private Shape(int[] dims) {
    this.dims = dims;
    long n = 1;
    for (int d : dims) {
      if (d < 0) throw new IllegalArgumentException("negative dimension in " + Arrays.toString(dims));
      n = Math.multiplyExact(n, (long) d);
    }
    this.elements = n;
  }

  /// A shape with the given dimensions, each ≥ 0.
  public static Shape of(int... dims) {
    return new Shape(dims.clone());
  }

  /// Number of dimensions.
  public int rank() {
    return dims.length;
  }

  /// Dimension `axis`; negative axes count from the end (−1 is the last).
  public int dim(int axis) {
    return dims[axis(axis)];
  }

  /// The axis as a number in `[0, rank)`.
  /// @throws IllegalArgumentException if there is no such axis
  public int axis(int axis) {
    int i = axis < 0 ? axis + dims.length : axis;
    if (i < 0 || i >= dims.length) throw new IllegalArgumentException("axis " + axis + " of shape " + this);
    return i;
  }

  /// Product of all dimensions.
  public long elements() {
    return elements;
  }

  /// The last dimension (1 for a scalar).
  public int columns() {
    return dims.length == 0 ? 1 : dims[dims.length - 1];
  }

  /// Product of all dimensions but the last (1 for a scalar).
  public int rows() {
    return span(0, Math.max(0, dims.length - 1));
  }

  /// Product of the dimensions in `[from, to)`.
  public int span(int from, int to) {
    long n = 1;
    for (int i = from; i < to; i++) n *= dims[i];
    return Math.toIntExact(n);
  }

  /// A copy of the dimensions.
  public int[] dims() {
    return dims.clone();
  }

  /// This shape with dimension `axis` replaced.
  public Shape with(int axis, int size) {
    int[] d = dims.clone();
    d[axis(axis)] = size;
    return new Shape(d);
  }

  /// The shape of `this ∘ other` under NumPy broadcasting: aligned at the last dimension, size 1 stretches.
  /// @throws IllegalArgumentException naming both shapes if they do not fit
  public Shape broadcast(Shape other) {
    int rank = Math.max(rank(), other.rank());
    int[] d = new int[rank];
    for (int i = 0; i < rank; i++) {
      int a = i < rank - rank() ? 1 : dims[i - rank + rank()];
      int b = i < rank - other.rank() ? 1 : other.dims[i - rank + other.rank()];
      if (a != b && a != 1 && b != 1) throw new IllegalArgumentException("shapes " + this + " and " + other + " do not broadcast");
      d[i] = a == 1 ? b : a;
    }
    return new Shape(d);
  }

  @Override
  public boolean equals(Object o) {
    return o instanceof Shape s && Arrays.equals(dims, s.dims);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(dims);
  }

  /// For example `(4, 2048)`.
  @Override
  public String toString() {
    var s = new StringBuilder("(");
    for (int i = 0; i < dims.length; i++) s.append(i == 0 ? "" : ", ").append(dims[i]);
    return s.append(')').toString();
  }
}
