package org.llmcore.op;

import java.util.List;
import java.util.function.BiFunction;
import java.util.function.DoubleUnaryOperator;
import java.util.function.IntToDoubleFunction;
import java.util.stream.IntStream;

import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.reference.ReferenceDevice;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// Every function of the algebra: values on the fast device against a formula in double precision written here, gradients of
/// the exact reference against central differences.
class AlgebraTest {
  /// Element i of the result, from the elements of the inputs.
  private interface Formula {
    double at(double[][] in, int i);
  }

  private record Case(String name, List<int[]> inputs, int[] result, double low, BiFunction<Algebra, Tensor[], Tensor> f, Formula expected) {
    Tensor[] leaves(Region region) {
      var out = new Tensor[inputs.size()];
      for (int k = 0; k < out.length; k++) out[k] = Inputs.fill(region.parameter(DType.F32, Shape.of(inputs.get(k))), low, 1.5, 40 + k);
      return out;
    }

    @Override
    public String toString() {
      return name;
    }
  }

  static List<Case> cases() {
    return List.of(
        any("add, equal shapes", of(d(2, 3), d(2, 3)), d(2, 3), (t, x) -> t.add(x[0], x[1]), (x, i) -> x[0][i] + x[1][i]),
        any("add, a row stretched", of(d(2, 3), d(3)), d(2, 3), (t, x) -> t.add(x[0], x[1]), (x, i) -> x[0][i] + x[1][i % 3]),
        any("sub, a column stretched", of(d(2, 3), d(2, 1)), d(2, 3), (t, x) -> t.sub(x[0], x[1]), (x, i) -> x[0][i] - x[1][i / 3]),
        any("mul, both stretched", of(d(4, 1), d(3)), d(4, 3), (t, x) -> t.mul(x[0], x[1]), (x, i) -> x[0][i / 3] * x[1][i % 3]),
        any("mul, rank 0 left", of(d(), d(2, 3)), d(2, 3), (t, x) -> t.mul(x[0], x[1]), (x, i) -> x[0][0] * x[1][i]),
        any("mul by itself", of(d(5)), d(5), (t, x) -> t.mul(x[0], x[0]), (x, i) -> x[0][i] * x[0][i]),
        any("add, middle axis stretched", of(d(2, 1, 3), d(4, 1)), d(2, 4, 3), (t, x) -> t.add(x[0], x[1]), (x, i) -> x[0][i / 12 * 3 + i % 3] + x[1][i / 3 % 4]),
        positive("div", of(d(2, 3), d(1, 3)), d(2, 3), (t, x) -> t.div(x[0], x[1]), (x, i) -> x[0][i] / x[1][i % 3]),
        any("add a number", of(d(4)), d(4), (t, x) -> t.add(x[0], 2), (x, i) -> x[0][i] + 2),
        any("sub a number", of(d(4)), d(4), (t, x) -> t.sub(x[0], 2), (x, i) -> x[0][i] - 2),
        any("sub from a number", of(d(4)), d(4), (t, x) -> t.sub(2, x[0]), (x, i) -> 2 - x[0][i]),
        any("mul by a number", of(d(4)), d(4), (t, x) -> t.mul(x[0], 2), (x, i) -> 2 * x[0][i]),
        any("div by a number", of(d(4)), d(4), (t, x) -> t.div(x[0], 2), (x, i) -> x[0][i] / 2),
        positive("div of a number", of(d(4)), d(4), (t, x) -> t.div(2, x[0]), (x, i) -> 2 / x[0][i]),
        each("neg", -1, Algebra::neg, v -> -v),
        each("exp", -1, Algebra::exp, Math::exp),
        each("log", 0.5, Algebra::log, Math::log),
        each("sqrt", 0.5, Algebra::sqrt, Math::sqrt),
        each("square", -1, Algebra::square, v -> v * v),
        each("tanh", -1, Algebra::tanh, Math::tanh),
        each("sigmoid", -1, Algebra::sigmoid, v -> 1 / (1 + Math.exp(-v))),
        each("relu", -1, Algebra::relu, v -> Math.max(v, 0)),
        each("silu", -1, Algebra::silu, v -> v / (1 + Math.exp(-v))),
        each("gelu", -1, Algebra::gelu, v -> v * (1 + erf(v / Math.sqrt(2))) / 2),
        each("geluTanh", -1, Algebra::geluTanh, v -> v / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v)))),
        any("sum, middle axis", of(d(2, 3, 4)), d(2, 1, 4), (t, x) -> t.sum(x[0], 1), (x, i) -> sum(3, k -> x[0][i / 4 * 12 + k * 4 + i % 4])),
        any("sum, last axis", of(d(2, 5)), d(2, 1), (t, x) -> t.sum(x[0], -1), (x, i) -> sum(5, k -> x[0][i * 5 + k])),
        any("mean, first axis", of(d(3, 4)), d(1, 4), (t, x) -> t.mean(x[0], 0), (x, i) -> sum(3, k -> x[0][k * 4 + i]) / 3),
        any("max, last axis", of(d(3, 4)), d(3, 1), (t, x) -> t.max(x[0], 1), (x, i) -> max(4, k -> x[0][i * 4 + k])),
        any("max, first axis", of(d(3, 4)), d(1, 4), (t, x) -> t.max(x[0], 0), (x, i) -> max(3, k -> x[0][k * 4 + i])),
        any("sum of all", of(d(2, 3)), d(), (t, x) -> t.sum(x[0]), (x, _) -> sum(6, k -> x[0][k])),
        any("mean of all", of(d(2, 3)), d(), (t, x) -> t.mean(x[0]), (x, _) -> sum(6, k -> x[0][k]) / 6),
        any("max of all", of(d(2, 3)), d(), (t, x) -> t.max(x[0]), (x, _) -> max(6, k -> x[0][k])),
        any("softmax", of(d(2, 5)), d(2, 5), (t, x) -> t.softmax(x[0]), (x, i) -> Math.exp(x[0][i] - lse(x[0], i / 5))),
        any("logSoftmax", of(d(2, 5)), d(2, 5), (t, x) -> t.logSoftmax(x[0]), (x, i) -> x[0][i] - lse(x[0], i / 5)),
        any("layerNorm", of(d(2, 5), d(5), d(5)), d(2, 5), (t, x) -> t.layerNorm(x[0], x[1], x[2], 1e-5f), AlgebraTest::layerNorm),
        any("matmul", of(d(2, 3), d(3, 4)), d(2, 4), (t, x) -> t.matmul(x[0], x[1]), (x, i) -> sum(3, k -> x[0][i / 4 * 3 + k] * x[1][k * 4 + i % 4])),
        any("matmul aᵀ·b", of(d(3, 2), d(3, 4)), d(2, 4), (t, x) -> t.matmul(x[0], x[1], true, false),
            (x, i) -> sum(3, k -> x[0][k * 2 + i / 4] * x[1][k * 4 + i % 4])),
        any("matmul a·bᵀ", of(d(2, 3), d(4, 3)), d(2, 4), (t, x) -> t.matmul(x[0], x[1], false, true),
            (x, i) -> sum(3, k -> x[0][i / 4 * 3 + k] * x[1][i % 4 * 3 + k])),
        any("matmul aᵀ·bᵀ", of(d(3, 2), d(4, 3)), d(2, 4), (t, x) -> t.matmul(x[0], x[1], true, true),
            (x, i) -> sum(3, k -> x[0][k * 2 + i / 4] * x[1][i % 4 * 3 + k])),
        any("matmul, batched", of(d(2, 2, 3), d(2, 3, 4)), d(2, 2, 4), (t, x) -> t.matmul(x[0], x[1]),
            (x, i) -> sum(3, k -> x[0][i / 4 * 3 + k] * x[1][i / 8 * 12 + k * 4 + i % 4])),
        any("matmul, batched aᵀ·b", of(d(2, 3, 2), d(2, 3, 4)), d(2, 2, 4), (t, x) -> t.matmul(x[0], x[1], true, false),
            (x, i) -> sum(3, k -> x[0][i / 8 * 6 + k * 2 + i / 4 % 2] * x[1][i / 8 * 12 + k * 4 + i % 4])),
        any("matmul, batched aᵀ·bᵀ", of(d(2, 3, 2), d(2, 4, 3)), d(2, 2, 4), (t, x) -> t.matmul(x[0], x[1], true, true),
            (x, i) -> sum(3, k -> x[0][i / 8 * 6 + k * 2 + i / 4 % 2] * x[1][i / 8 * 12 + i % 4 * 3 + k])),
        any("matmul, one b for all", of(d(2, 2, 3), d(3, 4)), d(2, 2, 4), (t, x) -> t.matmul(x[0], x[1]),
            (x, i) -> sum(3, k -> x[0][i / 4 * 3 + k] * x[1][k * 4 + i % 4])),
        any("matmul, stack aᵀ, one b", of(d(2, 3, 2), d(3, 4)), d(2, 2, 4), (t, x) -> t.matmul(x[0], x[1], true, false),
            (x, i) -> sum(3, k -> x[0][i / 8 * 6 + k * 2 + i / 4 % 2] * x[1][k * 4 + i % 4])),
        any("transpose", of(d(2, 3)), d(3, 2), (t, x) -> t.transpose(x[0]), (x, i) -> x[0][i % 2 * 3 + i / 2]),
        any("permute", of(d(2, 3, 4)), d(4, 2, 3), (t, x) -> t.permute(x[0], 2, 0, 1), (x, i) -> x[0][i % 6 * 4 + i / 6]),
        any("reshape", of(d(2, 3)), d(6), (t, x) -> t.reshape(x[0], 6), (x, i) -> x[0][i]),
        any("slice", of(d(2, 5)), d(2, 3), (t, x) -> t.slice(x[0], 1, 1, 4), (x, i) -> x[0][i / 3 * 5 + 1 + i % 3]),
        any("two slices of one tensor", of(d(5)), d(3), (t, x) -> t.mul(t.slice(x[0], 0, 0, 3), t.slice(x[0], 0, 2, 5)), (x, i) -> x[0][i] * x[0][i + 2]),
        any("concat", of(d(2, 1), d(2, 2)), d(2, 3), (t, x) -> t.concat(1, x[0], x[1]), (x, i) -> i % 3 == 0 ? x[0][i / 3] : x[1][i / 3 * 2 + i % 3 - 1]),
        any("gather rows", of(d(3, 2)), d(4, 2), (t, x) -> t.gather(x[0], ids(t, 2, 0, 2, 1)), (x, i) -> x[0][d(2, 0, 2, 1)[i / 2] * 2 + i % 2]),
        any("gather along axis 1", of(d(2, 3, 2)), d(2, 4, 2), (t, x) -> t.gather(x[0], 1, ids(t, 2, 0, 2, 1)),
            (x, i) -> x[0][i / 8 * 6 + d(2, 0, 2, 1)[i / 2 % 4] * 2 + i % 2]));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void valuesMatchTheFormula(Case c) {
    try (var region = Region.growing("values"); var device = CpuDevice.open(1)) {
      var in = c.leaves(region);
      var y = c.f.apply(new Algebra(Pass.inference(device, region)), in);
      var doubles = new double[in.length][];
      for (int k = 0; k < in.length; k++) {
        var x = in[k].toFloats();
        doubles[k] = IntStream.range(0, x.length).mapToDouble(i -> x[i]).toArray();
      }
      assertThat(y.shape()).isEqualTo(Shape.of(c.result));
      for (int i = 0; i < y.elements(); i++) assertThat((double) y.get(i)).as("element %d", i).isCloseTo(c.expected.at(doubles, i), Offset.offset(5e-6));
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void gradientsMatchCentralDifferences(Case c) {
    double h = 1e-5;
    try (var region = Region.growing("gradients")) {
      var device = ReferenceDevice.exact();
      var in = c.leaves(region);
      var pass = Pass.training(device, region);
      var y = c.f.apply(new Algebra(pass), in);
      var dy = pass.sink(y).tensor();
      for (int i = 0; i < dy.elements(); i++) device.set(dy, i, weight(i));
      pass.backward();
      for (var x : in) {
        var dx = pass.grad(x);
        assertThat(dx.shape()).isEqualTo(x.shape());
        for (int i = 0; i < x.elements(); i++) {
          double at = device.get(x, i);
          device.set(x, i, at + h);
          double up = weighted(device, region, c, in);
          device.set(x, i, at - h);
          double down = weighted(device, region, c, in);
          device.set(x, i, at);
          assertThat(device.get(dx, i)).as("element %d of %s", i, x).isCloseTo((up - down) / (2 * h), Offset.offset(1e-7));
        }
      }
    }
  }

  @Test
  void shapesThatDoNotFitAreNamed() {
    try (var region = Region.growing("shapes"); var device = CpuDevice.open(1)) {
      var t = new Algebra(Pass.inference(device, region));
      var a = region.carve(DType.F32, Shape.of(2, 3));
      var b = region.carve(DType.F32, Shape.of(4, 5));
      assertThatThrownBy(() -> t.add(a, b)).isInstanceOf(IllegalArgumentException.class).hasMessageContainingAll("(2, 3)", "(4, 5)");
      assertThatThrownBy(() -> t.matmul(a, b)).isInstanceOf(IllegalArgumentException.class).hasMessageContainingAll("(2, 3)", "(4, 5)");
      assertThatThrownBy(() -> t.concat(0, a, b)).isInstanceOf(IllegalArgumentException.class).hasMessageContainingAll("(2, 3)", "(4, 5)");
      assertThatThrownBy(() -> t.reshape(a, 7)).isInstanceOf(IllegalArgumentException.class).hasMessageContainingAll("(2, 3)", "(7)");
      assertThatThrownBy(() -> t.slice(a, 1, 2, 5)).isInstanceOf(IllegalArgumentException.class).hasMessageContainingAll("(2, 3)", "at 2");
      assertThatThrownBy(() -> t.sum(a, 2)).isInstanceOf(IllegalArgumentException.class).hasMessageContainingAll("(2, 3)", "axis 2");
      assertThatThrownBy(() -> t.permute(a, 0, 0)).isInstanceOf(IllegalArgumentException.class).hasMessageContainingAll("(2, 3)", "[0, 0]");
    }
  }

  private static double weighted(ReferenceDevice device, Region region, Case c, Tensor[] in) {
    var y = c.f.apply(new Algebra(Pass.inference(device, region)), in);
    return sum(Math.toIntExact(y.elements()), i -> weight(i) * device.get(y, i));
  }

  private static double weight(int i) {
    return 2 * Dropout.uniform(77, i) - 1;
  }

  private static Case any(String name, List<int[]> inputs, int[] result, BiFunction<Algebra, Tensor[], Tensor> f, Formula expected) {
    return new Case(name, inputs, result, -1, f, expected);
  }

  private static Case positive(String name, List<int[]> inputs, int[] result, BiFunction<Algebra, Tensor[], Tensor> f, Formula expected) {
    return new Case(name, inputs, result, 0.5, f, expected);
  }

  private static Case each(String name, double low, BiFunction<Algebra, Tensor, Tensor> f, DoubleUnaryOperator expected) {
    return new Case(name, of(d(3, 5)), d(3, 5), low, (t, x) -> f.apply(t, x[0]), (x, i) -> expected.applyAsDouble(x[0][i]));
  }

  private static List<int[]> of(int[]... shapes) {
    return List.of(shapes);
  }

  private static int[] d(int... dims) {
    return dims;
  }

  private static Tensor ids(Algebra t, int... values) {
    return t.pass().empty(DType.I32, values.length).set(values);
  }

  private static double sum(int n, IntToDoubleFunction term) {
    double s = 0;
    for (int k = 0; k < n; k++) s += term.applyAsDouble(k);
    return s;
  }

  private static double max(int n, IntToDoubleFunction term) {
    double s = Double.NEGATIVE_INFINITY;
    for (int k = 0; k < n; k++) s = Math.max(s, term.applyAsDouble(k));
    return s;
  }

  private static double lse(double[] x, int row) {
    return Math.log(sum(5, k -> Math.exp(x[row * 5 + k])));
  }

  private static double layerNorm(double[][] x, int i) {
    int row = i / 5 * 5;
    double mean = sum(5, k -> x[0][row + k]) / 5;
    double variance = sum(5, k -> (x[0][row + k] - mean) * (x[0][row + k] - mean)) / 5;
    return (x[0][i] - mean) / Math.sqrt(variance + 1e-5) * x[1][i % 5] + x[2][i % 5];
  }

  /// Its Maclaurin series, good to the last digits for |x| < 2.
  private static double erf(double x) {
    double s = 0;
    double power = x; // (−1)ⁿ x²ⁿ⁺¹ / n!
    for (int n = 0; n < 60; n++) {
      s += power / (2 * n + 1);
      power *= -x * x / (n + 1);
    }
    return 2 / Math.sqrt(Math.PI) * s;
  }
}
