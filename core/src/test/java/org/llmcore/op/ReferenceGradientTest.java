package org.llmcore.op;

import java.util.stream.Stream;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import org.llmcore.reference.ReferenceDevice;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;

/// The reference's gradients against central differences, all in f64: (f(x+h) − f(x−h)) / 2h errs by h²f‴/6, about 1e-10 here.
class ReferenceGradientTest {
  private static final double H = 1e-5;

  static Stream<OperatorCase> cases() {
    return OperatorCases.all().stream().filter(OperatorCase::small);
  }

  @ParameterizedTest
  @MethodSource("cases")
  void backwardMatchesFiniteDifferences(OperatorCase c) {
    try (var region = Region.growing("analytic")) {
      var device = ReferenceDevice.exact();
      var in = new Inputs(region, -1);
      var pass = Pass.training(device, region);
      var y = c.body().apply(pass, in).getFirst();
      seed(device, pass.sink(y).tensor());
      pass.backward();
      for (int leaf = 0; leaf < in.leaves().size(); leaf++) {
        var dx = pass.grad(in.leaves().get(leaf));
        double largest = 1;
        for (long i = 0; i < dx.elements(); i++) largest = Math.max(largest, Math.abs(device.get(dx, i)));
        for (long i = 0; i < dx.elements(); i += 1 + dx.elements() / 40) {
          double numeric = (loss(c, leaf, i, H) - loss(c, leaf, i, -H)) / (2 * H);
          assertThat(device.get(dx, i)).as("%s, leaf %d, element %d", c, leaf, i).isCloseTo(numeric, org.assertj.core.data.Offset.offset(1e-6 * largest));
        }
      }
    }
  }

  /// Σ seed·y with one element of one leaf moved by h.
  private static double loss(OperatorCase c, int leaf, long element, double h) {
    try (var region = Region.growing("numeric")) {
      var device = ReferenceDevice.exact();
      var inputs = new Inputs(region, -1);
      c.body().apply(Pass.training(device, region), inputs); // makes the leaves
      var moved = inputs.leaves().get(leaf);
      device.set(moved, element, device.get(moved, element) + h);
      var y = c.body().apply(Pass.training(device, region), inputs.again()).getFirst();
      double s = 0;
      for (long i = 0; i < y.elements(); i++) s += weight(i) * device.get(y, i);
      return s;
    }
  }

  private static void seed(ReferenceDevice device, Tensor dy) {
    for (long i = 0; i < dy.elements(); i++) device.set(dy, i, weight(i));
  }

  private static double weight(long i) {
    return 2 * Dropout.uniform(77, i) - 1;
  }
}
