package org.llmcore.cpu;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.op.AdamW;
import org.llmcore.op.Attention;
import org.llmcore.op.Binary;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Dropout;
import org.llmcore.op.Embedding;
import org.llmcore.op.Move;
import org.llmcore.op.Reduce;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Rope;
import org.llmcore.op.Sink;
import org.llmcore.op.Softmax;
import org.llmcore.op.SwiGlu;
import org.llmcore.op.Unary;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Machine code has the bits of the scalar twin on the values and sizes that masks and comparisons go wrong on, and writes
/// nothing beside its results.
class RowCodeTest {
  private static final DType[] DTYPES = {DType.F32, DType.BF16};

  @BeforeAll
  static void needsTheProcessor() {
    assumeTrue(Tier.AVX512.available(), "needs AVX-512 and Linux");
  }

  /// A loop over rows of n floats; what it returns is compared too.
  private interface Loop {
    float run(Lanes lanes, long y, long a, long b, int n);
  }

  private interface Silent {
    void run(Lanes lanes, long y, long a, long b, int n);
  }

  private static Loop loop(Silent silent) {
    return (lanes, y, a, b, n) -> {
      silent.run(lanes, y, a, b, n);
      return 0;
    };
  }

  private static final Map<String, Loop> LOOPS =
      Map.ofEntries(
          Map.entry("copy", loop((l, y, a, _, n) -> Rows.copy(l, y, a, n))),
          Map.entry("add", loop((l, y, a, _, n) -> Rows.add(l, y, a, n))),
          Map.entry("scale", loop((l, y, a, _, n) -> Rows.scale(l, y, a, -1.7f, n))),
          Map.entry("multiply", loop((l, y, a, b, n) -> Rows.multiply(l, y, a, b, n))),
          Map.entry("divide", loop((l, y, _, _, n) -> Rows.divide(l, y, 3.1f, n))),
          Map.entry("max", loop((l, y, a, _, n) -> Rows.max(l, y, a, n))),
          Map.entry("fill", loop((l, y, _, _, n) -> Rows.fill(l, y, -0f, n))),
          Map.entry("exp", loop((l, y, a, _, n) -> Rows.exp(l, y, a, 1.3f, -0.4f, n))),
          Map.entry("log", loop((l, y, a, _, n) -> Rows.log(l, y, a, n))),
          Map.entry("sigmoid", loop((l, y, a, _, n) -> Rows.sigmoid(l, y, a, n))),
          Map.entry("largest", (l, _, a, _, n) -> Rows.max(l, a, n)),
          Map.entry("sum", (l, y, a, _, n) -> Rows.sum(l, a, n, y - 64)),
          Map.entry("dot", (l, y, a, b, n) -> Rows.dot(l, a, b, n, y - 64)),
          Map.entry("sums", loop((l, y, a, _, n) -> Rows.sumInto(l, y, a, n))),
          Map.entry("dots", loop((l, y, a, b, n) -> Rows.dotInto(l, y, a, b, n))));

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 15, 16, 17, 63, 65, 207})
  void loopsHaveTheBitsOfTheScalarTwinAndWriteNothingElse(int n) {
    LOOPS.forEach(
        (name, loop) -> {
          for (int offset = 0; offset < 3; offset++) {
            boolean ordinary = offset == 2;
            assertThat(play(Tier.AVX512, loop, n, offset, ordinary)).as("%s of %d", name, n)
                .isEqualTo(play(Tier.SCALAR, loop, n, offset, ordinary));
          }
        });
  }

  /// Bits of the row, 16 floats before it and 48 behind, and of what was returned; scratch before the row does not count.
  private static List<Integer> play(Tier tier, Loop loop, int n, int offset, boolean ordinary) {
    try (var region = Region.growing("test"); var device = new CpuDevice(tier, 1)) {
      var s = new Stage(region, device);
      var y = s.random(DType.F32, 64 + n + offset);
      var a = ordinary ? s.random(DType.F32, n + offset) : s.extreme(DType.F32, n + offset);
      var b = ordinary ? s.random(DType.F32, n + offset) : s.extreme(DType.F32, n + offset);
      float result = loop.run(
          new Lanes(tier), y.address() + 64 + 4L * offset, a.address() + 4L * offset, b.address() + 4L * offset, n);
      var bits = new ArrayList<Integer>();
      bits.add(Float.floatToIntBits(result));
      for (int i = offset == 0 ? 16 : 0; i < y.elements(); i++) bits.add(Float.floatToIntBits(Memory.f32(y.address() + 4L * i)));
      return result == 0 ? bits : bits.subList(0, 1);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 15, 16, 17, 63, 65, 207})
  void extremeValuesHaveTheSameBitsEverywhere(int n) {
    for (var dtype : DTYPES) {
      Stage.sameEverywhere(
          s -> {
            var results = new ArrayList<Tensor>();
            var x = s.extreme(dtype, 5, n);
            var u = s.extreme(dtype, 5, n);
            var dy = s.extreme(dtype, 5, n);
            for (var f : Unary.Function.values()) {
              var y = s.random(dtype, 5, n);
              var dx = s.extreme(dtype, 5, n);
              s.run(new Unary.Forward(y, x, f));
              s.run(new Unary.Backward(Sink.write(dx), dy, x, y, f));
              results.addAll(List.of(y, dx));
            }
            for (var f : Binary.Function.values()) {
              var y = s.random(dtype, 5, n);
              s.run(new Binary.Forward(y, x, u, f));
              results.add(y);
            }
            for (var f : Reduce.Function.values()) {
              var y = s.random(dtype, 5, 1);
              var z = s.random(dtype, 1, n);
              s.run(new Reduce.Forward(y, x, 1, f));
              s.run(new Reduce.Forward(z, x, 0, f));
              results.addAll(List.of(y, z));
            }
            var h = s.random(dtype, 5, n);
            var dg = s.extreme(DType.F32, 5, n);
            var du = s.extreme(dtype, 5, n);
            s.run(new SwiGlu.Forward(h, x, u));
            s.run(new SwiGlu.Backward(Sink.add(dg), Sink.write(du), dy, x, u));
            var dropped = s.extreme(dtype, 5, n);
            s.run(new Dropout.Mask(Sink.add(dropped), x, 0.4f, 9, 0));
            var normed = s.random(dtype, 5, n);
            var rstd = s.random(DType.F32, 5);
            var dx = s.extreme(dtype, 5, n);
            var dw = s.extreme(DType.F32, n);
            var w = s.extreme(dtype, n);
            s.run(new RmsNorm.Forward(normed, rstd, x, w, 1e-5f));
            s.run(new RmsNorm.Backward(Sink.add(dx), Sink.add(dw), dy, x, w, rstd));
            for (boolean log : new boolean[] {true, false}) {
              var soft = s.random(dtype, 5, n);
              var dsoft = s.extreme(dtype, 5, n);
              s.run(new Softmax.Forward(soft, x, log));
              s.run(new Softmax.Backward(Sink.write(dsoft), dy, soft, log));
              results.addAll(List.of(soft, dsoft));
            }
            var master = s.extreme(DType.F32, 5, n);
            var m = s.extreme(DType.F32, 5, n);
            var v = s.extreme(DType.F32, 5, n);
            var grad = s.extreme(DType.F32, 5, n);
            s.run(new AdamW.Step(normed, master, m, v, grad, s.random(DType.F32, 1), 1e-2f, 0.9f, 0.99f, 1e-8f, 0.1f, 2));
            var loss = s.random(DType.F32, 5);
            var lse = s.random(DType.F32, 5);
            s.run(new CrossEntropy.Forward(loss, lse, x, s.below(n, 5)));
            s.run(new CrossEntropy.Fused(loss, u, u, s.below(n, 5), 0.5f));
            results.addAll(List.of(h, dg, du, dropped, normed, rstd, dx, dw, master, m, v, loss, lse, u));
            return results;
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 15, 16, 17, 63, 65, 207})
  void kernelsWriteNothingBesideTheirResults(int n) {
    for (var dtype : DTYPES) {
      Stage.sameEverywhere(
          s -> {
            var whole = new ArrayList<Tensor>();
            var x = s.random(dtype, 3, n);
            s.run(new SwiGlu.Forward(inside(s, whole, dtype, 3, n), x, s.random(dtype, 3, n)));
            s.run(
                new SwiGlu.Backward(Sink.write(inside(s, whole, dtype, 3, n)), Sink.add(inside(s, whole, dtype, 3, n)), x, x,
                    s.random(dtype, 3, n)));
            s.run(new Dropout.Mask(Sink.write(inside(s, whole, dtype, 3, n)), x, 0.4f, 9, 0));
            s.run(new Binary.Forward(inside(s, whole, dtype, 3, n), x, s.random(dtype, 3, n), Binary.Function.SUB));
            s.run(new Move.Copy(Sink.add(inside(s, whole, DType.F32, 3, n)), x));
            s.run(new Move.Fill(inside(s, whole, dtype, 3, n), 2));
            var w = s.random(dtype, n);
            s.run(new RmsNorm.Forward(inside(s, whole, dtype, 3, n), inside(s, whole, DType.F32, 3), x, w, 1e-5f));
            s.run(
                new RmsNorm.ForwardAdded(inside(s, whole, dtype, 3, n), inside(s, whole, DType.F32, 3), inside(s, whole, dtype, 3, n), x,
                    s.random(dtype, 3, n), w, 1e-5f));
            s.run(
                new RmsNorm.Backward(Sink.write(inside(s, whole, dtype, 3, n)), Sink.add(inside(s, whole, DType.F32, n)), x, x, w,
                    s.random(DType.F32, 3)));
            var targets = s.integers(0, -100, n - 1);
            s.run(new CrossEntropy.Forward(inside(s, whole, DType.F32, 3), inside(s, whole, DType.F32, 3), x, targets));
            var z = inside(s, whole, dtype, 3, n);
            s.run(new CrossEntropy.Fused(inside(s, whole, DType.F32, 3), z, z, targets, 0.3f));
            s.run(new CrossEntropy.Fused(inside(s, whole, DType.F32, 3), inside(s, whole, dtype, 3, n), x, targets, 0.3f));
            s.run(new Embedding.Forward(inside(s, whole, dtype, 3, n), s.integers(1, 0, 1), s.random(dtype, 2, n)));
            s.run(new Embedding.Backward(Sink.add(inside(s, whole, DType.F32, 2, n)), x, s.integers(1, 0, 1)));
            s.run(
                new Rope.Rotate(
                    Sink.write(inside(s, whole, dtype, 3, 1, 2 * n)), s.random(dtype, 3, 1, 2 * n), s.integers(1, 0, 1),
                    s.random(DType.F32, 2, 2 * n), Rope.Pairing.HALVES, false));
            return whole;
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 15, 16, 17, 48, 63, 65, 128, 207, 256})
  void attentionStaysInsideAndANaNReachesOnlyWhoSeesIt(int d) {
    for (var dtype : DTYPES) {
      for (boolean causal : new boolean[] {true, false}) {
        Stage.sameEverywhere(
            s -> {
              var whole = new ArrayList<Tensor>();
              int t = 41;
              var q = s.random(dtype, t, 2, d);
              var k = s.random(dtype, t, 1, d);
              var v = s.random(dtype, t, 1, d);
              if (causal) {
                k.set(poisoned(k, 30 * d, Float.NaN));
                v.set(poisoned(v, 35 * d + d / 2, Float.POSITIVE_INFINITY));
              }
              var starts = s.integers(0, 1, 20, t);
              var o = inside(s, whole, dtype, t, 2, d);
              var lse = inside(s, whole, DType.F32, t, 2);
              s.run(new Attention.Forward(o, lse, q, k, v, starts, 0.3f, causal));
              s.run(
                  new Attention.Backward(
                      Sink.write(inside(s, whole, dtype, t, 2, d)), Sink.add(inside(s, whole, dtype, t, 1, d)),
                      Sink.write(inside(s, whole, DType.F32, t, 1, d)), s.random(dtype, t, 2, d), o, lse, q, k, v, starts, 0.3f,
                      causal));
              s.run(
                  new Attention.Decode(
                      inside(s, whole, dtype, 3, 2, d), q.slice(0, 3), k.reshape(t, 1, 1, d), v.reshape(t, 1, 1, d),
                      s.below(t, 3, t), s.integers(0, 1, 2, 3), s.integers(1, 17, t), 0.3f));
              return whole;
            });
      }
    }
  }

  private static float[] poisoned(Tensor t, int at, float value) {
    var values = t.toFloats();
    values[at] = value;
    return values;
  }

  /// A tensor between two strips of random content; `whole` receives all three as one.
  private static Tensor inside(Stage s, List<Tensor> whole, DType dtype, int... dims) {
    int[] larger = dims.clone();
    larger[0] += 64;
    var t = s.random(dtype, larger);
    whole.add(t);
    return t.slice(32, 32 + dims[0]);
  }
}
