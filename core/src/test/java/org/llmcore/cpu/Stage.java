package org.llmcore.cpu;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

import org.llmcore.op.Dropout;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;

/// Where tests of kernels play: tensors of reproducible content, and the device to run kernels on.
final class Stage {
  /// A stretch of kernels on fresh tensors with the same content every time.
  interface Scene {
    List<Tensor> play(Stage stage);
  }

  private static final float[] EXTREMES = {
    0f, -0f, Float.NaN, Float.POSITIVE_INFINITY, 1e-41f, -0f, Float.NEGATIVE_INFINITY, -3e-45f, 0f, Float.MAX_VALUE, -104.5f,
    89.5f, -90f
  };

  private final Region region;
  private final CpuDevice device;
  private int seed = 1;

  Stage(Region region, CpuDevice device) {
    this.region = region;
    this.device = device;
  }

  /// n times the same.
  static float[] filled(int n, float value) {
    var all = new float[n];
    Arrays.fill(all, value);
    return all;
  }

  Region region() {
    return region;
  }

  Tensor random(DType dtype, int... dims) {
    var t = region.carve(dtype, Shape.of(dims));
    var values = new float[(int) t.elements()];
    for (int i = 0; i < values.length; i++) values[i] = 4 * Dropout.uniform(seed, i) - 2;
    seed++;
    return t.set(values);
  }

  /// Random with every fifth value one that loops go wrong on: NaN, infinities, zeros of both signs, denormals, the largest.
  Tensor extreme(DType dtype, int... dims) {
    var t = random(dtype, dims);
    var values = t.toFloats();
    for (int i = seed % 5; i < values.length; i += 5) values[i] = EXTREMES[(i / 5 + seed) % EXTREMES.length];
    return t.set(values);
  }

  Tensor positive(DType dtype, int... dims) {
    var t = random(dtype, dims);
    var values = t.toFloats();
    for (int i = 0; i < values.length; i++) values[i] = 0.1f + Math.abs(values[i]);
    return t.set(values);
  }

  Tensor below(int bound, int... dims) {
    var t = region.carve(DType.I32, Shape.of(dims));
    var values = new int[(int) t.elements()];
    for (int i = 0; i < values.length; i++) values[i] = (int) Long.remainderUnsigned(Dropout.bits(seed, i), bound);
    seed++;
    return t.set(values);
  }

  Tensor integers(int... values) {
    return region.carve(DType.I32, Shape.of(values.length)).set(values);
  }

  void run(Kernel kernel) {
    device.run(kernel);
  }

  private static List<int[]> bits(Tier tier, int workers, Scene scene) {
    try (var region = Region.growing("test"); var device = new CpuDevice(tier, workers)) {
      var bits = new ArrayList<int[]>();
      for (var t : scene.play(new Stage(region, device))) {
        var values = t.toFloats();
        var each = new int[values.length];
        for (int i = 0; i < each.length; i++) each[i] = Float.floatToIntBits(values[i]);
        bits.add(each);
      }
      return bits;
    }
  }

  /// All tiers of this machine give the same bits with 1, 2 and 3 workers.
  static void sameEverywhere(Scene scene) {
    var expected = bits(Tier.SCALAR, 1, scene);
    for (var tier : Tier.exactHere()) {
      for (int workers : new int[] {1, 2, 3}) {
        assertThat(bits(tier, workers, scene)).as("%s, %d workers", tier, workers).usingElementComparator(Arrays::compare).isEqualTo(expected);
      }
    }
  }

  /// dW = dyᵀ·x over all tokens at once, and over these stretches of them one after another, gives the same bits with 1, 2 and 3 workers.
  static void splitsChangeNoBitOfAGradient(Tier tier, int... splits) {
    int tokens = splits[splits.length - 1];
    var all = new ArrayList<float[]>();
    for (int workers : new int[] {1, 2, 3}) {
      for (var stretches : new int[][] {{0, tokens}, splits}) {
        try (var region = Region.growing("test"); var device = new CpuDevice(tier, workers)) {
          var s = new Stage(region, device);
          var dy = s.random(DType.BF16, tokens, 90);
          var x = s.random(DType.BF16, tokens, 76);
          var dw = s.random(DType.F32, 90, 76);
          for (int i = 0; i + 1 < stretches.length; i++) {
            int from = stretches[i];
            int to = stretches[i + 1];
            device.run(new MatMul.Product(Sink.add(dw), dy.slice(from, to), x.slice(from, to), true, false, 1));
          }
          all.add(dw.toFloats());
        }
      }
    }
    for (var each : all) assertThat(each).isEqualTo(all.getFirst());
  }
}
