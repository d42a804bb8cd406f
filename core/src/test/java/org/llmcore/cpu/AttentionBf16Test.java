package org.llmcore.cpu;

import java.util.ArrayList;
import java.util.List;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.FieldSource;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.cpu.code.AmxTraps;
import org.llmcore.cpu.code.CpuFeatures;
import org.llmcore.op.Attention;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Results and gradients of attention where bf16 is multiplied as such, in pairs or on tiles, differ from exact ones of the same inputs by the rounding of p, ds and results to bf16 and of sums to f32, and by
/// nothing else.
class AttentionBf16Test {
  private static final List<Tier> TIERS = List.of(Tier.AMX, Tier.AVX512BF16);
  private static final float SCALE = 0.3f;
  private static final double ROUNDED = 0x1p-8; // half a unit of bf16 at worst; terms are many or their errors smaller, which leaves room for sums in f32

  @BeforeAll
  static void tiles() {
    AmxTraps.begin();
  }

  private static void needs(Tier tier) {
    assumeTrue(tier == Tier.AMX || tier.available(), "needs " + tier);
  }

  @AfterEach
  void theProcessorWouldHaveAccepted() {
    AmxTraps.accepted();
  }

  /// Sums beside the sums of their terms' magnitudes.
  private static final class Exact {
    final double[] value;
    final double[] size;

    Exact(Tensor like) {
      value = new double[(int) like.elements()];
      size = new double[value.length];
    }

    void add(int i, double term) {
      value[i] += term;
      size[i] += Math.abs(term);
    }

    /// @param roundings on the way of a term into the sum and of the sum to `got`
    void check(String name, Tensor got, int roundings) {
      var floats = got.toFloats();
      for (int i = 0; i < floats.length; i++) {
        assertThat(Math.abs(floats[i] - value[i])).as("%s[%d] = %s, exactly %s", name, i, floats[i], value[i]).isLessThanOrEqualTo(roundings * ROUNDED * size[i] + 1e-6);
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    "AMX,64,2,1,true", "AMX,48,2,2,true", "AMX,128,1,1,true", "AMX,2,3,1,false", "AMX,80,2,1,false",
    "AVX512BF16,64,2,1,true", "AVX512BF16,48,2,2,true", "AVX512BF16,128,1,1,true", "AVX512BF16,2,3,1,false", "AVX512BF16,80,2,1,false"})
  void resultsAreExactButForRounding(Tier tier, int d, int heads, int groups, boolean causal) {
    needs(tier);
    int[] starts = {0, 600, 601, 601, 638};
    long before = CpuFeatures.here().amx() ? 0 : AmxTraps.executed();
    try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
      var c = kernel(new Stage(region, device), starts, heads, groups, d, causal);
      var o = new Exact(c.o());
      var q = c.q().toFloats();
      var k = c.k().toFloats();
      var v = c.v().toFloats();
      var lse = c.lse().toFloats();
      for (int s = 0; s + 1 < starts.length; s++) {
        for (int t = starts[s]; t < starts[s + 1]; t++) {
          for (int h = 0; h < heads; h++) {
            int query = (t * heads + h) * d;
            var p = new double[(causal ? t + 1 : starts[s + 1]) - starts[s]];
            double sum = 0;
            for (int u = 0; u < p.length; u++) {
              double score = 0;
              for (int i = 0; i < d; i++) score += (double) q[query + i] * k[key(starts[s] + u, groups, h, heads, d) + i];
              p[u] = Math.exp(SCALE * score);
              sum += p[u];
            }
            assertThat(lse[t * heads + h]).as("lse of query %d, head %d", t, h).isCloseTo((float) Math.log(sum), within(2e-5f)); // of scores and a sum in f32
            for (int u = 0; u < p.length; u++) {
              for (int i = 0; i < d; i++) o.add(query + i, p[u] / sum * v[key(starts[s] + u, groups, h, heads, d) + i]);
            }
          }
        }
      }
      o.check("o", c.o(), 2);
    }
    if (tier == Tier.AMX && !CpuFeatures.here().amx()) assertThat(AmxTraps.executed()).isGreaterThan(before);
  }

  private static int key(int row, int groups, int head, int heads, int d) {
    return (row * groups + head * groups / heads) * d;
  }

  private static Attention.Backward kernel(Stage s, int[] starts, int heads, int groups, int d, boolean causal) {
    int t = starts[starts.length - 1];
    var q = s.random(DType.BF16, t, heads, d);
    var k = s.random(DType.BF16, t, groups, d);
    var v = s.random(DType.BF16, t, groups, d);
    var o = s.random(DType.BF16, t, heads, d);
    var lse = s.random(DType.F32, t, heads);
    var bounds = s.integers(starts);
    s.run(new Attention.Forward(o, lse, q, k, v, bounds, SCALE, causal));
    return new Attention.Backward(
        Sink.write(s.random(DType.F32, t, heads, d)), Sink.write(s.random(DType.F32, t, groups, d)), Sink.write(s.random(DType.F32, t, groups, d)),
        s.random(DType.BF16, t, heads, d), o, lse, q, k, v, bounds, SCALE, causal);
  }

  @ParameterizedTest
  @CsvSource({
    "AMX,64,2,1,true", "AMX,48,2,2,true", "AMX,128,1,1,true", "AMX,2,3,1,false", "AMX,80,2,1,false",
    "AVX512BF16,64,2,1,true", "AVX512BF16,48,2,2,true", "AVX512BF16,128,1,1,true", "AVX512BF16,2,3,1,false", "AVX512BF16,80,2,1,false"})
  void gradientsAreExactButForRounding(Tier tier, int d, int heads, int groups, boolean causal) {
    needs(tier);
    int[] starts = {0, 290, 291, 291, 328};
    long before = CpuFeatures.here().amx() ? 0 : AmxTraps.executed();
    try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
      var c = kernel(new Stage(region, device), starts, heads, groups, d, causal);
      device.run(c);
      var dq = new Exact(c.q());
      var dk = new Exact(c.k());
      var dv = new Exact(c.v());
      var q = c.q().toFloats();
      var k = c.k().toFloats();
      var v = c.v().toFloats();
      var o = c.o().toFloats();
      var dout = c.dout().toFloats();
      var lse = c.lse().toFloats();
      for (int s = 0; s + 1 < starts.length; s++) {
        for (int t = starts[s]; t < starts[s + 1]; t++) {
          for (int h = 0; h < heads; h++) {
            int query = (t * heads + h) * d;
            double delta = 0;
            for (int i = 0; i < d; i++) delta += (double) dout[query + i] * o[query + i];
            for (int u = starts[s]; u < (causal ? t + 1 : starts[s + 1]); u++) {
              int key = key(u, groups, h, heads, d);
              double score = 0;
              double dp = 0;
              for (int i = 0; i < d; i++) {
                score += (double) q[query + i] * k[key + i];
                dp += (double) dout[query + i] * v[key + i];
              }
              double p = Math.exp(SCALE * score - lse[t * heads + h]);
              double ds = p * (dp - delta) * SCALE;
              for (int i = 0; i < d; i++) {
                dq.add(query + i, ds * k[key + i]);
                dk.add(key + i, ds * q[query + i]);
                dv.add(key + i, p * dout[query + i]);
              }
            }
          }
        }
      }
      dq.check("dq", c.dq().tensor(), 1);
      dk.check("dk", c.dk().tensor(), 1);
      dv.check("dv", c.dv().tensor(), 1);
    }
    if (tier == Tier.AMX && !CpuFeatures.here().amx()) assertThat(AmxTraps.executed()).isGreaterThan(before);
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 6, 34, 48, 64, 80, 128, 256})
  void decodeHasTheBitsOfForward(int d) {
    for (var tier : TIERS) {
      if (tier == Tier.AMX || tier.available()) AttentionCpuTest.decodesTheBitsOfForward(tier, DType.BF16, d);
    }
  }

  @ParameterizedTest
  @FieldSource("TIERS")
  void neitherNeighboursNorWorkersChangeABit(Tier tier) {
    needs(tier);
    var all = new ArrayList<float[]>();
    for (int workers : new int[] {1, 3}) {
      for (boolean alone : new boolean[] {false, true}) {
        try (var region = Region.growing("test"); var device = new CpuDevice(tier, workers)) {
          var c = kernel(new Stage(region, device), new int[] {0, 140, 217}, 4, 2, 64, true);
          if (alone) {
            var one = new Stage(region, device).integers(0, 77);
            var o = c.o().slice(140, 217);
            var lse = c.lse().slice(140, 217);
            var rows = c.q().slice(140, 217);
            var k = c.k().slice(140, 217);
            var v = c.v().slice(140, 217);
            device.run(new Attention.Forward(o, lse, rows, k, v, one, SCALE, true));
            c = new Attention.Backward(
                Sink.write(c.dq().tensor().slice(140, 217)), Sink.write(c.dk().tensor().slice(140, 217)), Sink.write(c.dv().tensor().slice(140, 217)), c.dout().slice(140, 217),
                o, lse, rows, k, v, one, SCALE, true);
            device.run(c);
            all.add(values(c, 0, 77));
          } else {
            device.run(c);
            all.add(values(c, 140, 217));
          }
        }
      }
    }
    for (var each : all) assertThat(each).isEqualTo(all.getFirst());
  }

  private static float[] values(Attention.Backward c, int from, int to) {
    var out = new ArrayList<Float>();
    for (var t : new Tensor[] {c.o(), c.lse(), c.dq().tensor(), c.dk().tensor(), c.dv().tensor()}) for (float f : t.slice(from, to).toFloats()) out.add(f);
    var floats = new float[out.size()];
    for (int i = 0; i < floats.length; i++) floats[i] = out.get(i);
    return floats;
  }
}
