package org.llmcore.cpu;

import java.util.List;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.op.Attention;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;

/// Attention has the same bits on every tier and team; a decoded row is the forward row; sequences are strangers.
class AttentionCpuTest {
  private static final DType[] DTYPES = {DType.F32, DType.BF16, DType.F16};

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 8, 17, 48, 64, 65, 123, 128})
  void attentionHasTheSameBitsEverywhere(int d) {
    for (var dtype : DTYPES) {
      for (boolean causal : new boolean[] {true, false}) {
        Stage.sameEverywhere(s -> attention(s, dtype, d, 4, 2, causal, 0, 1, 4, 4, 24, 207));
      }
    }
  }

  @Test
  void attentionOfOneHeadPerGroupAndALongSequenceHasTheSameBitsEverywhere() {
    Stage.sameEverywhere(s -> attention(s, DType.F32, 16, 3, 3, true, 0, 150, 151, 300));
  }

  private static List<Tensor> attention(Stage s, DType dtype, int d, int heads, int groups, boolean causal, int... starts) {
    int t = starts[starts.length - 1];
    var q = s.random(dtype, t, heads, d);
    var k = s.random(dtype, t, groups, d);
    var v = s.random(dtype, t, groups, d);
    var o = s.random(dtype, t, heads, d);
    var lse = s.random(DType.F32, t, heads);
    var bounds = s.integers(starts);
    s.run(new Attention.Forward(o, lse, q, k, v, bounds, 0.3f, causal));
    var dq = s.random(dtype, t, heads, d);
    var dk = s.random(dtype, t, groups, d);
    var dv = s.random(DType.F32, t, groups, d);
    var dout = s.random(dtype, t, heads, d);
    s.run(new Attention.Backward(Sink.write(dq), Sink.add(dk), Sink.write(dv), dout, o, lse, q, k, v, bounds, 0.3f, causal));
    return List.of(o, lse, dq, dk, dv);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 3, 8, 17, 48, 64, 123, 128})
  void decodeHasTheBitsOfForward(int d) {
    for (var dtype : DTYPES) {
      for (var tier : Tier.exactHere()) decodesTheBitsOfForward(tier, dtype, d);
    }
  }

  static void decodesTheBitsOfForward(Tier tier, DType dtype, int d) {
    decodesTheBitsOfForward(tier, dtype, d, 2, 5);
    decodesTheBitsOfForward(tier, dtype, d, 1, 6);
    decodesTheBitsOfForward(tier, dtype, d, 2, 8);
  }

  private static void decodesTheBitsOfForward(Tier tier, DType dtype, int d, int groups, int size) {
    try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
      var s = new Stage(region, device);
      int t = 43;
      var q = s.random(dtype, t, 4, d);
      var k = s.random(dtype, t, groups, d);
      var v = s.random(dtype, t, groups, d);
      var o = s.random(dtype, t, 4, d);
      device.run(new Attention.Forward(o, s.random(DType.F32, t, 4), q, k, v, s.integers(0, t), 0.3f, true));
      var keys = s.random(dtype, 9, size, groups, d); // 9 pages, in scrambled order
      var values = s.random(dtype, 9, size, groups, d);
      int[] pages = {4, 7, 0, 8, 2, 6, 1, 3, 5};
      int done = 0;
      for (int rows : new int[] {17, 1, 1, 2, 3, 1, 18}) {
        var slots = new int[rows];
        for (int i = 0; i < rows; i++) slots[i] = pages[(done + i) / size] * size + (done + i) % size;
        device.run(new Attention.Store(keys, k.slice(done, done + rows), s.integers(slots)));
        device.run(new Attention.Store(values, v.slice(done, done + rows), s.integers(slots)));
        var decoded = s.random(dtype, rows, 4, d);
        var blocks = s.integers(pages).reshape(1, 9);
        device.run(
            new Attention.Decode(
                decoded, q.slice(done, done + rows), keys, values, blocks, s.integers(0,
                    rows), s.integers(done + rows), 0.3f));
        assertThat(decoded.toFloats()).isEqualTo(o.slice(done, done + rows).toFloats());
        done += rows;
      }
      assertThat(done).isEqualTo(t);
    }
  }

  @Test
  void aSequenceDoesNotDependOnItsNeighbours() {
    try (var region = Region.growing("test"); var device = new CpuDevice(true, 2)) {
      var s = new Stage(region, device);
      var q = s.random(DType.F32, 60, 2, 24);
      var k = s.random(DType.F32, 60, 2, 24);
      var v = s.random(DType.F32, 60, 2, 24);
      var packed = s.random(DType.F32, 60, 2, 24);
      var alone = s.random(DType.F32, 33, 2, 24);
      device.run(new Attention.Forward(packed, s.random(DType.F32, 60, 2), q, k, v, s.integers(0, 20, 53, 60), 0.2f, true));
      device.run(
          new Attention.Forward(
              alone, s.random(DType.F32, 33, 2), q.slice(20, 53), k.slice(20, 53), v.slice(20, 53), s.integers(0,
                  33), 0.2f, true));
      assertThat(alone.toFloats()).isEqualTo(packed.slice(20, 53).toFloats());
    }
  }
}
