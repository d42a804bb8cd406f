package org.llmcore.op;

import java.util.stream.Stream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import org.llmcore.InvalidInput;
import org.llmcore.reference.ReferenceDevice;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// What every device must do with every operator: agree with the reference within a derived tolerance, forward and backward,
/// overwriting and adding; give the same bits twice; leave frozen inputs alone. A device's test is one line that extends this.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
public abstract class OperatorContract {
  /// The device under test; the test closes nothing.
  protected abstract Device device();

  /// Whether the device has this operator; what it has not it must refuse.
  protected boolean covers(Class<? extends Kernel> operator) {
    return true;
  }

  private boolean refused(OperatorCase c) {
    if (covers(c.kernel())) return false;
    assertThatThrownBy(() -> Outcome.of(device(), c, 1, -1)).isInstanceOf(InvalidInput.class).hasMessageContaining(c.kernel().getSimpleName());
    return true;
  }

  /// Whether a case of this name is run.
  protected boolean selects(String name) {
    return true;
  }

  Stream<OperatorCase> cases() {
    return OperatorCases.all().stream().filter(c -> selects(c.name()));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void agreesWithTheReference(OperatorCase c) {
    if (refused(c)) return;
    compare(c, Outcome.of(new ReferenceDevice(), c, 1, -1), Outcome.of(device(), c, 1, -1), 1);
  }

  @ParameterizedTest
  @MethodSource("cases")
  void addsTheGradientsOfTwoUses(OperatorCase c) {
    if (refused(c)) return;
    compare(c, Outcome.of(new ReferenceDevice(), c, 2, -1), Outcome.of(device(), c, 2, -1), 2);
  }

  @ParameterizedTest
  @MethodSource("cases")
  void givesTheSameBitsTwice(OperatorCase c) {
    if (refused(c)) return;
    var once = Outcome.of(device(), c, 1, -1);
    var again = Outcome.of(device(), c, 1, -1);
    for (int i = 0; i < once.results().size(); i++) assertThat(again.results().get(i)).isEqualTo(once.results().get(i));
    for (int i = 0; i < once.gradients().size(); i++) assertThat(again.gradients().get(i)).isEqualTo(once.gradients().get(i));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void givesTheSameGradientWhenOtherInputsAreFrozen(OperatorCase c) {
    if (refused(c)) return;
    var all = Outcome.of(device(), c, 1, -1);
    for (int i = 0; i < all.gradients().size(); i++) {
      assertThat(Outcome.of(device(), c, 1, i).gradients()).hasSize(1).first().isEqualTo(all.gradients().get(i));
    }
  }

  @Test
  void refusesShapesThatDoNotFitAndNamesThem() {
    var device = device();
    try (var region = device.growing("wrong")) {
      var a = region.carve(DType.F32, Shape.of(3, 5));
      var b = region.carve(DType.F32, Shape.of(4, 6));
      var p = Pass.inference(device, region);
      assertThatThrownBy(() -> MatMul.apply(p, a, b)).hasMessageContaining("(3, 5)").hasMessageContaining("(4, 6)");
      assertThatThrownBy(() -> Binary.apply(p, a, b, Binary.Function.ADD)).hasMessageContaining("(3, 5)").hasMessageContaining("(4, 6)");
      assertThatThrownBy(() -> SwiGlu.apply(p, a, b)).hasMessageContaining("(3, 5)").hasMessageContaining("(4, 6)");
      assertThatThrownBy(() -> RmsNorm.apply(p, a, b, 1e-5f)).hasMessageContaining("(4, 6)").hasMessageContaining("(5)");
    }
  }

  private static void compare(OperatorCase c, Outcome expected, Outcome found, int uses) {
    for (int i = 0; i < expected.results().size(); i++) close(c, "result " + i, expected.results().get(i), found.results().get(i), 1);
    for (int i = 0; i < expected.gradients().size(); i++) close(c, "gradient " + i, expected.gradients().get(i), found.gradients().get(i), uses);
  }

  private static void close(OperatorCase c, String what, float[] expected, float[] found, int uses) {
    assertThat(found).as(what).hasSameSizeAs(expected);
    double largest = 0;
    for (float v : expected) largest = Math.max(largest, Math.abs(v));
    // Inputs are of size 1: a sum of them that cancels to less still carries the rounding of its terms.
    double tolerance = c.tolerance().of(Math.max(largest, 0.25)) * uses;
    for (int i = 0; i < expected.length; i++) {
      assertThat((double) found[i]).as("%s of %s, element %d of %d", what, c, i, expected.length).isCloseTo(expected[i], org.assertj.core.data.Offset.offset(tolerance));
    }
  }
}
