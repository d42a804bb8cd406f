package org.llmcore.op;

import java.util.ArrayList;
import java.util.List;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Makes the inputs of a case: the same values on every device. Leaves are differentiable; `only` says which of them are
/// tracked, so that frozen inputs are tested too.
final class Inputs {
  private final Region region;
  private final int only;
  private final List<Tensor> leaves = new ArrayList<>();
  private final List<Tensor> known;

  private Inputs(Region region, int only, List<Tensor> known) {
    this.region = region;
    this.only = only;
    this.known = known;
  }

  /// @param only the leaf to track, or −1 for all
  Inputs(Region region, int only) {
    this(region, only, List.of());
  }

  /// For another use of the same leaves.
  Inputs again() {
    return new Inputs(region, only, List.copyOf(leaves));
  }

  List<Tensor> leaves() {
    return leaves;
  }

  /// A differentiable input of values in ±1.
  Tensor leaf(DType dtype, int... dims) {
    return between(-1, 1, dtype, dims);
  }

  /// A differentiable input of values between two bounds.
  Tensor between(double low, double high, DType dtype, int... dims) {
    int number = leaves.size();
    if (number < known.size()) {
      leaves.add(known.get(number));
      return known.get(number);
    }
    boolean tracked = only < 0 || only == number;
    var t = fill(tracked ? region.parameter(dtype, Shape.of(dims)) : region.carve(dtype, Shape.of(dims)), low, high, 100 + number);
    leaves.add(t);
    return t;
  }

  /// An input nobody differentiates.
  Tensor constant(double low, double high, DType dtype, int... dims) {
    return fill(region.carve(dtype, Shape.of(dims)), low, high, 7);
  }

  Tensor empty(DType dtype, int... dims) {
    return fill(region.carve(dtype, Shape.of(dims)), 5, 6, 9);
  }

  Region region() {
    return region;
  }

  Tensor ints(int... values) {
    return region.carve(DType.I32, Shape.of(values.length)).set(values);
  }

  /// n integers in [0, below), spread without a pattern.
  Tensor ids(int n, int below) {
    var values = new int[n];
    for (int i = 0; i < n; i++) values[i] = (int) (Dropout.uniform(17, i) * below);
    return ints(values);
  }

  static Tensor fill(Tensor t, double low, double high, long key) {
    var values = new float[Math.toIntExact(t.elements())];
    for (int i = 0; i < values.length; i++) values[i] = (float) (low + (high - low) * Dropout.uniform(key, i));
    return t.set(values);
  }
}
