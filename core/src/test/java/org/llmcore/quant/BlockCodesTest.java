package org.llmcore.quant;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Random;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

import org.llmcore.tensor.BlockType;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// Blocks of GGML's types against published bytes, their own bounds, and the published search.
class BlockCodesTest {
  private static float[] decoded(BlockType type, byte[] bytes, int n) {
    try (var arena = Arena.ofConfined()) {
      var m = arena.allocate(bytes.length);
      MemorySegment.copy(MemorySegment.ofArray(bytes), 0, m, 0, bytes.length);
      var out = new float[n];
      for (int i = 0; i < n; i++) out[i] = type.value(m.address() + (long) (i / type.weights()) * type.bytes(),
          i % type.weights());
      return out;
    }
  }

  private static float[] roundTrip(BlockType type, float[] x) {
    return decoded(type, BlockCodes.encode(type, x, x.length), x.length);
  }

  private static float[] random(int n, long seed, double outliers) {
    var random = new Random(seed);
    var x = new float[n];
    for (int i = 0; i < n; i++) x[i] = (float) (random.nextGaussian() * (random.nextDouble() < outliers ? 20 : 1) * 0.05);
    return x;
  }

  @Test
  void aRampHasTheBytesOfThePythonPackage() {
    // gguf 0.19.0: quantize(((np.arange(32) - 13.25) * 0.37).astype(np.float32))
    var ramp = new float[32];
    for (int i = 0; i < 32; i++) ramp[i] = (float) ((i - 13.25) * 0.37);
    assertThat(HexFormat.of().formatHex(BlockCodes.encode(BlockType.Q8_0, ramp, 32)))
        .isEqualTo("9f2aa1a8b0b7bec5ccd3dae2e9f0f7fe050d141b222930373f464d545b626a71787f");
    assertThat(HexFormat.of().formatHex(BlockCodes.encode(BlockType.Q4_0, ramp, 32)))
        .isEqualTo("91ba7e6e6d5d5c5c4b4b3a3a292919180807");
  }

  @Test
  void noWeightIsFurtherOffThanItsTypeExplains() {
    var x = random(32 * 500, 3, 0.02);
    var eight = roundTrip(BlockType.Q8_0, x);
    var four = roundTrip(BlockType.Q4_0, x);
    for (int b = 0; b < x.length; b += 32) {
      float max = 0;
      for (int i = b; i < b + 32; i++) max = Math.max(max, Math.abs(x[i]));
      double half = max / 127.0 / 2 + max * 0x1p-11 + 127 * 0x1p-25;
      double step = max / 8.0 + max * 0x1p-11 + 8 * 0x1p-25; // 8·d becomes 7·d
      for (int i = b; i < b + 32; i++) {
        assertThat(Math.abs(eight[i] - x[i])).isLessThanOrEqualTo((float) (half * (1 + 1e-6)));
        assertThat(Math.abs(four[i] - x[i])).isLessThanOrEqualTo((float) (step * (1 + 1e-6)));
      }
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"Q8_0", "Q4_0", "Q4_K"})
  void zerosSpikesAndConstantsSurvive(BlockType type) {
    var zeros = new float[256];
    for (float v : roundTrip(type, zeros)) assertThat(v == 0).isTrue();
    var spike = new float[256];
    spike[77] = -2;
    var kept = roundTrip(type, spike);
    assertThat(kept[77]).isBetween(-2.01f, -1.99f);
    for (int i = 0; i < 256; i++) if (i != 77) assertThat(Math.abs(kept[i])).as("weight " + i)
        .isLessThanOrEqualTo(2 * 0x1p-10f); // two f16 scales
    var tiny = new float[256];
    Arrays.fill(tiny, 1e-42f);
    for (float v : roundTrip(type, tiny)) assertThat(v == 0).isTrue();
    var constant = new float[256];
    Arrays.fill(constant, 0.75f);
    for (float v : roundTrip(type, constant)) assertThat(v).isBetween(0.74f, 0.76f);
  }

  @ParameterizedTest
  @EnumSource(names = {"Q8_0", "Q4_0", "Q4_K"})
  void whatHasNoFormIsRefused(BlockType type) {
    for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
      var x = new float[256];
      x[200] = bad;
      assertThatThrownBy(() -> BlockCodes.encode(type, x, 256)).isInstanceOf(ArithmeticException.class)
          .hasMessageContaining("" + bad);
    }
    var huge = new float[256];
    huge[3] = 1e9f;
    assertThatThrownBy(() -> BlockCodes.encode(type, huge, 256)).isInstanceOf(ArithmeticException.class)
        .hasMessageContaining("too large for f16");
    assertThatThrownBy(() -> BlockCodes.encode(type, huge, 100)).isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("100");
    assertThatThrownBy(() -> BlockCodes.encode(BlockType.Q6_K, huge, 256)).isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("Q6_K");
  }

  @Test
  void aBlockOfRepresentableWeightsComesBackExactly() {
    var random = new Random(5);
    var x = new float[256];
    for (int i = 0; i < 256; i++) x[i] = i % 32 == 0 ? -8 * 0.125f : (random.nextInt(16) - 8) * 0.125f;
    assertThat(roundTrip(BlockType.Q4_0, x)).containsExactly(x);
    for (int i = 0; i < 256; i++) x[i] = i % 32 == 9 ? 127 * 0.25f : (random.nextInt(255) - 127) * 0.25f;
    assertThat(roundTrip(BlockType.Q8_0, x)).containsExactly(x);
    // d = 63·2⁻¹² / 63 and dmin = 63·2⁻⁸ / 63: runs of scale 63, 31 … and all codes
    for (int i = 0; i < 256; i++) {
      int scale = new int[] {63, 31, 7, 50, 63, 12, 33, 1}[i / 32];
      int min = new int[] {63, 0, 20, 9, 11, 63, 5, 40}[i / 32];
      x[i] = 0x1p-6f * scale * (i % 32 < 16 ? i % 16 : random.nextInt(16)) - 0x1p-5f * min;
    }
    var kept = roundTrip(BlockType.Q4_K, x);
    double error = 0;
    double size = 0;
    for (int i = 0; i < 256; i++) {
      error += Math.pow(kept[i] - x[i], 2);
      size += x[i] * x[i];
    }
    assertThat(Math.sqrt(error / size)).isLessThan(0.02);
  }

  /// The published search (`make_qkx2_quants` and what follows it), naively: what is stored for a block and what it is worth.
  private static float[] published(float[] x) {
    var scales = new double[8];
    var mins = new double[8];
    for (int r = 0; r < 8; r++) {
      double squares = 0;
      double low = 0;
      double high = x[r * 32];
      for (int i = r * 32; i < r * 32 + 32; i++) {
        squares += x[i] * x[i];
        low = Math.min(low, x[i]);
        high = Math.max(high, x[i]);
      }
      double mean = Math.sqrt(squares / 32);
      double best = Double.MAX_VALUE;
      mins[r] = -low;
      for (int k = -1; k <= 20 && high > low; k++) {
        double step = (high - low) / (k < 0 ? 15 : 14 + 0.1 * k);
        double sw = 0, sx = 0, sl = 0, sll = 0, sxl = 0;
        var codes = new int[32];
        for (int i = 0; i < 32; i++) {
          double v = x[r * 32 + i];
          double w = mean + Math.abs(v);
          codes[i] = (int) Math.clamp(Math.rint((v - low) / step), 0, 15);
          sw += w;
          sx += w * v;
          sl += w * codes[i];
          sll += w * codes[i] * codes[i];
          sxl += w * codes[i] * v;
        }
        double determinant = sw * sll - sl * sl;
        if (k >= 0 && determinant <= 0) continue;
        double scale = k < 0 ? step : (sw * sxl - sx * sl) / determinant;
        double min = k < 0 ? low : (sll * sx - sl * sxl) / determinant;
        if (min > 0) {
          min = 0;
          scale = sxl / sll;
        }
        double error = 0;
        for (int i = 0; i < 32; i++) error += (mean + Math.abs(x[r * 32 + i])) * Math.pow(scale * codes[i] + min - x[r * 32 + i],
            2);
        if (error < best) {
          best = error;
          scales[r] = scale;
          mins[r] = -min;
        }
      }
    }
    double most = Arrays.stream(scales).max().orElseThrow();
    double lowest = Arrays.stream(mins).max().orElseThrow();
    float d = Float.float16ToFloat(Float.floatToFloat16((float) (most / 63)));
    float dmin = Float.float16ToFloat(Float.floatToFloat16((float) (lowest / 63)));
    var out = new float[256];
    for (int i = 0; i < 256; i++) {
      double s = d * Math.min(63, Math.rint(63 / most * scales[i / 32]));
      double m = dmin * (lowest == 0 ? 0 : Math.min(63, Math.rint(63 / lowest * mins[i / 32])));
      out[i] = (float) (s == 0 ? -m : s * Math.clamp(Math.rint((x[i] + m) / s), 0, 15) - m);
    }
    return out;
  }

  private static double error(float[] x, float[] y, boolean important) {
    double sum = 0;
    for (int r = 0; r < x.length; r += 32) {
      double squares = 0;
      for (int i = r; i < r + 32; i++) squares += x[i] * x[i];
      for (int i = r; i < r + 32; i++) sum += (important ? Math.sqrt(squares / 32) + Math.abs(x[i]) : 1) * Math.pow(x[i] - y[i],
          2);
    }
    return sum;
  }

  @Test
  void fourBitsInRunsAreNoWorseThanByThePublishedSearch() {
    for (double outliers : new double[] {0, 0.01, 0.2}) {
      int worse = 0;
      double ours = 0;
      double theirs = 0;
      double plain = 0;
      double theirPlain = 0;
      for (int seed = 0; seed < 200; seed++) {
        var x = random(256, seed, outliers);
        var a = roundTrip(BlockType.Q4_K, x);
        var b = published(x);
        if (error(x, a, true) > error(x, b, true) * (1 + 1e-9)) worse++;
        ours += error(x, a, true);
        theirs += error(x, b, true);
        plain += error(x, a, false);
        theirPlain += error(x, b, false);
      }
      assertThat(worse).as("blocks of 200 that are worse, %s outliers", outliers).isZero();
      assertThat(ours).as("%s outliers", outliers).isLessThan(theirs);
      assertThat(plain).as("plain squares, %s outliers", outliers).isLessThan(theirPlain);
    }
  }

  @Test
  void fourBitsInRunsBeatFourBitsInBlocks() {
    var x = random(256 * 50, 1, 0.01);
    assertThat(error(x, roundTrip(BlockType.Q4_K, x), false)).isLessThan(0.8 * error(x, roundTrip(BlockType.Q4_0, x), false));
  }
}
