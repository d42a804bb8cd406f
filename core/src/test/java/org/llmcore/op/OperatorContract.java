package org.llmcore.op;

import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;
import java.util.stream.Stream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

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

  @Test
  void theLargestAreFoundAmongEqualsInfinitiesAndNaN() {
    if (!covers(TopK.class)) return;
    var device = device();
    float never = Float.NEGATIVE_INFINITY;
    var row = new float[3000];
    try (var region = device.growing("top k")) {
      var p = Pass.inference(device, region);
      var one = region.carve(DType.F32, Shape.of(1)).set(new float[] {1});
      var x = region.carve(DType.F32, Shape.of(1, row.length));
      Arrays.fill(row, 2);
      assertTop(TopK.apply(p, x.set(row), one, 3000, 5), new float[] {2, 2, 2, 2, 2}, new int[] {0, 1, 2, 3, 4}, 3000);
      Arrays.fill(row, never);
      row[1000] = 3;
      row[2000] = Math.nextDown(3f);
      var cold = region.carve(DType.F32, Shape.of(1)).set(new float[] {1e30f});
      assertTop(TopK.apply(p, x.set(row), cold, 3000, 2), new float[] {3, Math.nextDown(3f)}, new int[] {1000, 2000}, 1);
      Arrays.fill(row, never);
      row[2999] = -0f;
      row[7] = 0;
      row[5] = -0f;
      assertTop(TopK.apply(p, x.set(row), one, 3000, 4), new float[] {0, 0, 0, never}, new int[] {5, 7, 2999, 0}, 3);
      row[1500] = Float.POSITIVE_INFINITY;
      row[1600] = Float.intBitsToFloat(0xffc00001); // a NaN with a sign
      var top = TopK.apply(p, x.set(row), one, 3000, 2);
      assertThat(top.ids().toInts()).containsExactly(1600, 1500);
      assertThat(top.values().toFloats()).containsExactly(Float.NaN, Float.POSITIVE_INFINITY);
    }
  }

  /// Rows whose largest lie where one thread, lane or piece would see many of them, and others none.
  @ParameterizedTest
  @ValueSource(ints = {64, 128, 1024, 8192})
  void theLargestAreFoundWhereverTheyLie(int period) {
    if (!covers(TopK.class)) return;
    var device = device();
    var row = new float[4 * 8192 + 5];
    for (int i = 0; i < row.length; i++) row[i] = i % period < period / 16 - 8 ? 1000 + i * 7919 % 30_011 : i % period < period / 16 ? 500 - i % period : -i;
    try (var region = device.growing("top k")) {
      var p = Pass.inference(device, region);
      var one = region.carve(DType.F32, Shape.of(1)).set(new float[] {1});
      var top = TopK.apply(p, region.carve(DType.F32, Shape.of(1, row.length)).set(row), one, row.length, TopK.MOST);
      var order = IntStream.range(0, row.length).boxed().sorted(Comparator.comparing((Integer i) -> -row[i])).limit(TopK.MOST).toList();
      assertThat(Arrays.stream(top.ids().toInts()).boxed().toList()).isEqualTo(order);
    }
  }

  private static void assertTop(TopK.Forward top, float[] values, int[] ids, float total) {
    assertThat(top.ids().toInts()).isEqualTo(ids);
    assertThat(top.values().toFloats()).isEqualTo(values);
    assertThat(top.total().toFloats()[0]).isCloseTo(total, org.assertj.core.data.Percentage.withPercentage(1e-4));
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
