package org.llmcore.cpu;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.op.AdamW;
import org.llmcore.op.Attention;
import org.llmcore.op.Binary;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Dropout;
import org.llmcore.op.Embedding;
import org.llmcore.op.GradientNorm;
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
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// The scalar twin, the vectors and every number of workers give the same bits; a split batch gives the same parameter
/// gradients. What the numbers mean is the contract's business, not this test's.
class RowKernelsTest {
  private static final DType[] DTYPES = {DType.F32, DType.BF16, DType.F16};

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 17, 63, 64, 65, 123, 128, 207})
  void rmsNormHasTheSameBitsEverywhere(int c) {
    for (var dtype : DTYPES) {
      Stage.sameEverywhere(
          s -> {
            var x = s.random(dtype, 37, c);
            var w = s.random(dtype, c);
            var y = s.random(dtype, 37, c);
            var dy = s.random(dtype, 37, c);
            var dx = s.random(dtype, 37, c);
            var added = s.random(dtype, 37, c);
            var dw = s.random(DType.F32, c);
            var rstd = s.random(DType.F32, 37);
            s.run(new RmsNorm.Forward(y, rstd, x, w, 1e-5f));
            s.run(new RmsNorm.Backward(Sink.write(dx), Sink.write(dw), dy, x, w, rstd));
            s.run(new RmsNorm.Backward(Sink.add(added), Sink.add(dw), dy, x, w, rstd));
            return List.of(y, rstd, dx, added, dw);
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 15, 16, 17, 63, 64, 207})
  void normOfAResidualHasTheBitsOfItsTwoHalves(int c) {
    for (var dtype : DTYPES) {
      for (var other : DTYPES) {
        Stage.sameEverywhere(
            s -> {
              var x = s.random(dtype, 37, c);
              var r = s.random(other, 37, c);
              var w = s.random(other, c);
              var h = s.random(dtype, 37, c);
              var y = s.random(other, 37, c);
              var rstd = s.random(DType.F32, 37);
              s.run(new RmsNorm.ForwardAdded(y, rstd, h, x, r, w, 1e-5f));
              var sum = s.random(dtype, 37, c);
              var norm = s.random(other, 37, c);
              var root = s.random(DType.F32, 37);
              s.run(new Binary.Forward(sum, x, r, Binary.Function.ADD));
              s.run(new RmsNorm.Forward(norm, root, sum, w, 1e-5f));
              assertThat(h.toFloats()).isEqualTo(sum.toFloats());
              assertThat(y.toFloats()).isEqualTo(norm.toFloats());
              assertThat(rstd.toFloats()).isEqualTo(root.toFloats());
              return List.of(y, rstd, h);
            });
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 17, 63, 64, 65, 123, 128, 207})
  void embeddingHasTheSameBitsEverywhere(int c) {
    for (var dtype : DTYPES) {
      Stage.sameEverywhere(
          s -> {
            var ids = s.below(29, 60);
            var table = s.random(dtype, 29, c);
            var y = s.random(dtype, 60, c);
            var grad = s.random(DType.F32, 29, c);
            var added = s.random(dtype, 29, c);
            s.run(new Embedding.Forward(y, ids, table));
            s.run(new Embedding.Backward(Sink.write(grad), y, ids));
            s.run(new Embedding.Backward(Sink.add(added), y, ids));
            return List.of(y, grad, added);
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 6, 8, 48, 64, 66, 128, 206})
  void ropeHasTheSameBitsEverywhere(int d) {
    for (var dtype : DTYPES) {
      for (var pairing : Rope.Pairing.values()) {
        Stage.sameEverywhere(
            s -> {
              var x = s.random(dtype, 19, 3, d);
              var y = s.random(dtype, 19, 3, d);
              var table = s.random(DType.F32, 11, d);
              var positions = s.below(11, 19);
              s.run(new Rope.Rotate(Sink.add(y), x, positions, table, pairing, true));
              s.run(new Rope.Rotate(Sink.write(x), x, positions, table, pairing, false));
              return List.of(x, y);
            });
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 17, 63, 64, 65, 123, 128, 207, 9001})
  void elementByElementKernelsHaveTheSameBitsEverywhere(int n) {
    for (var dtype : DTYPES) {
      Stage.sameEverywhere(
          s -> {
            var g = s.random(dtype, n);
            var u = s.random(dtype, n);
            var dh = s.random(dtype, n);
            var h = s.random(dtype, n);
            var dg = s.random(dtype, n);
            var du = s.random(dtype, n);
            var dropped = s.random(dtype, n);
            var sums = s.random(DType.F32, 3);
            var norm = s.random(DType.F32, 1);
            var clip = s.random(DType.F32, 1);
            s.run(new SwiGlu.Forward(h, g, u));
            s.run(new SwiGlu.Backward(Sink.write(dg), Sink.add(du), dh, g, u));
            s.run(new Dropout.Mask(Sink.write(dropped), g, 0.3f, 1234567L, 0));
            s.run(new Dropout.Mask(Sink.add(dropped), u, 0.5f, -5L, 0));
            s.run(new GradientNorm.SumOfSquares(sums, 1, g));
            s.run(new GradientNorm.Clip(norm, clip, sums, 3, 1));
            var w = s.random(dtype, n);
            var master = dtype == DType.F32 ? w : s.random(DType.F32, n);
            var m = s.random(DType.F32, n);
            var v = s.positive(DType.F32, n);
            s.run(new AdamW.Step(w, master, m, v, s.random(DType.F32, n), clip, 1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 3));
            return List.of(h, dg, du, dropped, sums, norm, clip, w, master, m, v);
          });
    }
  }

  /// 65,564 elements are split at odd places by every number of workers where code is emitted.
  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 15, 16, 17, 18, 33, 207, 9001, 65564})
  void dropoutHasTheSameBitsWhereverItBegins(int n) {
    for (var dtype : DTYPES) {
      for (float rate : new float[] {0, 0.3f, Math.nextDown(1f)}) {
        Stage.sameEverywhere(
            s -> {
              var results = new ArrayList<Tensor>();
              var x = s.positive(dtype, n);
              for (int first : new int[] {0, 1, 6, 37}) {
                var y = s.random(dtype, n);
                var added = s.random(dtype, n);
                var mask = new Dropout.Mask(Sink.write(y), x, rate, -5, first);
                s.run(mask);
                s.run(new Dropout.Mask(Sink.add(added), x, rate, -5, first));
                var values = y.toFloats();
                for (int i = 0; i < n; i++) assertThat(values[i] != 0).as("element %s + %s", first, i).isEqualTo(Dropout.kept(-5, first + i, mask.threshold()));
                var parts = s.random(dtype, n);
                for (int from = 0, to = 1; from < n; from = to, to = Math.min(n, 3 * to + 2)) {
                  s.run(new Dropout.Mask(Sink.write(parts.slice(from, to)), x.slice(from, to), rate, -5, first + from));
                }
                assertThat(parts.toFloats()).isEqualTo(values);
                results.addAll(List.of(y, added));
              }
              return results;
            });
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Unary.Function.class)
  void unaryHasTheSameBitsEverywhere(Unary.Function f) {
    for (var dtype : DTYPES) {
      for (int n : new int[] {1, 17, 207}) {
        Stage.sameEverywhere(
            s -> {
              var x = f == Unary.Function.LOG || f == Unary.Function.SQRT || f == Unary.Function.RSQRT ? s.positive(dtype,
                  n) : s.random(dtype, n);
              var y = s.random(dtype, n);
              var dx = s.random(dtype, n);
              s.run(new Unary.Forward(y, x, f));
              s.run(new Unary.Backward(Sink.add(dx), s.random(dtype, n), x, y, f));
              return List.of(y, dx);
            });
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Binary.Function.class)
  void binaryHasTheSameBitsEverywhere(Binary.Function f) {
    int[][][] shapes = {
      {{5, 207}, {5, 207}}, {{5, 207}, {207}}, {{5, 207}, {5, 1}}, {{3, 1, 17}, {1, 4, 17}}, {{2, 3, 1}, {2, 1, 65}}, {{300, 3},
          {1}}, {{}, {7}}, {{1, 300}, {9, 1}}
    };
    for (var dtype : DTYPES) {
      for (var shape : shapes) {
        Stage.sameEverywhere(
            s -> {
              var a = s.random(dtype, shape[0]);
              var b = s.positive(dtype, shape[1]);
              var y = s.random(dtype, a.shape().broadcast(b.shape()).dims());
              var da = s.random(dtype, shape[0]);
              var db = s.random(DType.F32, shape[1]);
              s.run(new Binary.Forward(y, a, b, f));
              s.run(new Binary.Backward(Sink.write(da), Sink.add(db), y, a, b, f));
              return List.of(y, da, db);
            });
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 17, 63, 64, 65, 123, 128, 207, 2500})
  void softmaxAndCrossEntropyHaveTheSameBitsEverywhere(int n) {
    for (var dtype : DTYPES) {
      Stage.sameEverywhere(
          s -> {
            var results = new ArrayList<Tensor>();
            var x = s.random(dtype, 7, n);
            var dy = s.random(dtype, 7, n);
            for (boolean log : new boolean[] {false, true}) {
              var y = s.random(dtype, 7, n);
              var dx = s.random(dtype, 7, n);
              s.run(new Softmax.Forward(y, x, log));
              s.run(new Softmax.Backward(Sink.add(dx), dy, y, log));
              results.addAll(List.of(y, dx));
            }
            var targets = s.below(n, 7);
            int[] t = targets.toInts();
            t[2] = CrossEntropy.IGNORE;
            targets.set(t);
            var loss = s.random(DType.F32, 7);
            var lse = s.random(DType.F32, 7);
            var fused = s.random(DType.F32, 7);
            var dz = s.random(dtype, 7, n);
            var added = s.random(dtype, 7, n);
            s.run(new CrossEntropy.Forward(loss, lse, x, targets));
            s.run(new CrossEntropy.Backward(Sink.write(dz), s.random(DType.F32, 7), x, lse, targets));
            s.run(new CrossEntropy.Backward(Sink.add(added), s.random(DType.F32, 7), x, lse, targets));
            var apart = s.random(dtype, 7, n);
            s.run(new CrossEntropy.Fused(fused, apart, x, targets, 0.3f));
            assertThat(fused.toFloats()).isEqualTo(loss.toFloats());
            s.run(new CrossEntropy.Fused(fused, x, x, targets, 0.3f));
            assertThat(fused.toFloats()).isEqualTo(loss.toFloats());
            assertThat(apart.toFloats()).isEqualTo(x.toFloats());
            results.addAll(List.of(loss, lse, dz, added, x));
            return results;
          });
    }
  }

  @Test
  void reductionsAndMovesHaveTheSameBitsEverywhere() {
    for (var dtype : DTYPES) {
      for (int[] shape : new int[][] {{1}, {3, 17}, {5, 207}, {2, 3, 65}, {4, 300}, {2, 7, 1}}) {
        Stage.sameEverywhere(
            s -> {
              var results = new ArrayList<Tensor>();
              var x = s.random(dtype, shape);
              for (int axis = 0; axis < shape.length; axis++) {
                for (var f : Reduce.Function.values()) {
                  var y = s.random(dtype, x.shape().with(axis, 1).dims());
                  var dx = s.random(dtype, shape);
                  s.run(new Reduce.Forward(y, x, axis, f));
                  s.run(new Reduce.Backward(Sink.add(dx), s.random(dtype, y.shape().dims()), x, y, axis, f));
                  results.addAll(List.of(y, dx));
                }
                int n = shape[axis];
                var window = s.random(dtype, x.shape().with(axis, n - n / 3).dims());
                s.run(new Move.Take(Sink.add(window), x, axis, n / 3));
                s.run(new Move.Put(Sink.write(x), window, axis, 0));
                results.add(window);
              }
              var copied = s.random(DType.F32, shape);
              s.run(new Move.Copy(Sink.write(copied), x));
              s.run(new Move.Copy(Sink.add(copied), x));
              results.addAll(List.of(x, copied));
              return results;
            });
      }
    }
  }

  @Test
  void permuteTakeAndPutMoveTheRightElements() {
    try (var region = Region.growing("test"); var device = new CpuDevice(true, 2)) {
      var s = new Stage(region, device);
      var x = s.random(DType.F32, 2, 3, 5);
      var y = s.random(DType.BF16, 5, 2, 3);
      device.run(new Move.Permute(Sink.write(y), x, 2, 0, 1));
      var window = s.random(DType.F32, 2, 2, 5);
      device.run(new Move.Take(Sink.write(window), x, 1, 1));
      for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 3; j++) {
          for (int k = 0; k < 5; k++) {
            float value = x.get(i * 15 + j * 5 + k);
            assertThat(y.get(k * 6 + i * 3 + j)).isCloseTo(value, org.assertj.core.data.Offset.offset(Math.abs(value) / 256));
            if (j > 0) assertThat(window.get(i * 10 + (j - 1) * 5 + k)).isEqualTo(value);
          }
        }
      }
    }
  }

  @Test
  void aBatchSplitBetweenTwoCallsGivesTheSameParameterGradients() {
    try (var region = Region.growing("test"); var device = new CpuDevice(true, 2)) {
      var s = new Stage(region, device);
      int c = 65;
      var x = s.random(DType.F32, 40, c);
      var dy = s.random(DType.F32, 40, c);
      var w = s.random(DType.F32, c);
      var ids = s.below(13, 40);
      var rstd = s.positive(DType.F32, 40);
      var dw = new Tensor[] {s.random(DType.F32, c), s.random(DType.F32, c)};
      var dtable = new Tensor[] {s.random(DType.F32, 13, c), s.random(DType.F32, 13, c)};
      var dbias = new Tensor[] {s.random(DType.F32, c), s.random(DType.F32, c)};
      int[][] splits = {{0, 40}, {0, 7, 24, 40}};
      for (int i = 0; i < 2; i++) {
        for (int part = 0; part + 1 < splits[i].length; part++) {
          int from = splits[i][part];
          int to = splits[i][part + 1];
          var part0 = dy.slice(from, to);
          var xs = x.slice(from, to);
          device.run(new RmsNorm.Backward(Sink.NONE, sink(dw[i], part), part0, xs, w, rstd.slice(from, to)));
          device.run(new Embedding.Backward(sink(dtable[i], part), part0, ids.slice(from, to)));
          device.run(new Binary.Backward(Sink.NONE, sink(dbias[i], part), part0, xs, w, Binary.Function.MUL));
        }
      }
      assertThat(dw[1].toFloats()).isEqualTo(dw[0].toFloats());
      assertThat(dtable[1].toFloats()).isEqualTo(dtable[0].toFloats());
      assertThat(dbias[1].toFloats()).isEqualTo(dbias[0].toFloats());
    }
  }

  private static Sink sink(Tensor t, int part) {
    return part == 0 ? Sink.write(t) : Sink.add(t);
  }

  @Test
  void exponentialsAreRightToTheLastBits() {
    for (float x = -110; x < 95; x += 0.0137f) {
      double exact = StrictMath.exp(x);
      double ulp = Math.ulp((float) exact);
      if (exact > Float.MAX_VALUE) assertThat(Exp.of(x)).isEqualTo(Float.POSITIVE_INFINITY);
      else assertThat(Math.abs(Exp.of(x) - exact) / ulp).as("exp(%s) in ulps", x).isLessThan(1.2);
    }
    assertThat(Exp.of(0)).isEqualTo(1);
    assertThat(Exp.of(Float.NEGATIVE_INFINITY)).isEqualTo(0);
    assertThat(Exp.of(Float.NaN)).isNaN();
  }

  /// 1.6 million floats over all exponents; every positive float (2³¹ of them, a minute) by `main`.
  @Test
  void logarithmsAreRightToTheLastBit() {
    for (int bits = 1; bits < 0x7f80_0000; bits += 1327) logarithm(Float.intBitsToFloat(bits));
    for (float x : new float[] {1, Math.nextUp(1f), Math.nextDown(1f), 0.75f, 1.5f, Math.nextDown(1.5f), Float.MIN_VALUE, Float.MAX_VALUE}) logarithm(x);
    assertThat(Log.of(1)).isEqualTo(0);
    assertThat(Log.of(0)).isEqualTo(Float.NEGATIVE_INFINITY);
    assertThat(Log.of(-0f)).isEqualTo(Float.NEGATIVE_INFINITY);
    assertThat(Log.of(Float.POSITIVE_INFINITY)).isEqualTo(Float.POSITIVE_INFINITY);
    assertThat(Log.of(-1)).isNaN();
    assertThat(Log.of(Float.NaN)).isNaN();
  }

  private static void logarithm(float x) {
    double error = Math.abs(Log.of(x) - StrictMath.log(x)) / Math.ulp(Log.of(x));
    if (!(error <= 0.5000001)) throw new AssertionError("log(%s) is %s, %s ulp off".formatted(x, Log.of(x), error));
  }

  /// All floats: the positive ones against `StrictMath`, and all of them by machine code where there is some.
  public static void main(String[] args) {
    var others = new AtomicLong();
    IntStream.range(1, 0x7f80_0000).parallel().forEach(bits -> {
      float x = Float.intBitsToFloat(bits);
      logarithm(x);
      if (Log.of(x) != (float) StrictMath.log(x)) others.incrementAndGet();
    });
    System.out.println(others + " of 2,139,095,039 are not StrictMath's, rounded");
    if (!Tier.AVX512.available()) return;
    int n = 1 << 16;
    try (var region = Region.growing("all floats")) {
      long x = region.carve(4L * n);
      long y = region.carve(4L * n);
      for (int high = 0; high < 1 << 16; high++) {
        for (int low = 0; low < n; low++) Memory.i32(x + 4L * low, high << 16 | low);
        Rows.log(new Lanes(Tier.AVX512), y, x, n);
        for (int low = 0; low < n; low++) {
          float value = Float.intBitsToFloat(high << 16 | low);
          if (Float.floatToIntBits(Memory.f32(y + 4L * low)) != Float.floatToIntBits(Log.of(value))) throw new AssertionError("machine code: log(" + value + ")");
        }
      }
    }
    System.out.println("machine code gives the same bits for all 2^32");
  }

  @Test
  void foreignIdsTargetsPositionsAndStartsAreRefusedBeforeAnythingIsWritten() {
    try (var region = Region.growing("test"); var device = new CpuDevice(true, 1)) {
      var s = new Stage(region, device);
      var y = s.random(DType.F32, 3, 4);
      float[] before = y.toFloats();
      assertThatThrownBy(() -> device.run(new Embedding.Forward(y, s.integers(1, 9, 2), s.random(DType.F32, 5, 4))))
          .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("id 9 at index 1").hasMessageContaining("5 rows");
      assertThatThrownBy(() -> device.run(new CrossEntropy.Fused(s.random(DType.F32, 3), y, y, s.integers(1, -100, -1), 1)))
          .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("target -1 of token 2");
      assertThatThrownBy(
              () -> device.run(
                  new Rope.Rotate(Sink.write(y.reshape(3, 1, 4)), y.reshape(3, 1, 4), s.integers(0, 1, 7),
                      s.random(DType.F32, 7, 4), Rope.Pairing.HALVES, false)))
          .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("position 7 of token 2");
      var q = y.reshape(3, 1, 4);
      for (int[] starts : new int[][] {{0, 2}, {1, 3}, {0, 3, 2, 3}}) {
        assertThatThrownBy(() -> device.run(new Attention.Forward(q, s.random(DType.F32, 3, 1), q, q, q, s.integers(starts), 1,
            true)))
            .isInstanceOf(IllegalArgumentException.class).hasMessageContaining(Arrays.toString(starts));
      }
      assertThat(y.toFloats()).isEqualTo(before);
    }
  }
}
