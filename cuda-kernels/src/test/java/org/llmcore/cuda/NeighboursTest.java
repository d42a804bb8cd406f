package org.llmcore.cuda;

import java.util.Arrays;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

import org.llmcore.op.Attention;
import org.llmcore.op.Dropout;
import org.llmcore.op.Embedding;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;

/// What a batch holds beside a row changes no bit of it, whichever kernels the batch's size selects; nor does splitting a batch.
class NeighboursTest {
  private static final int HEADS = 4;
  private static final int GROUPS = 2;
  private static final int WIDTH = 64;
  private static final int PAGE = 16;

  private HostCuda host;
  private CudaDevice device;
  private Region region;

  @BeforeEach
  void open() {
    host = HostCuda.open();
    host.shuffle(7);
    device = host.device();
    region = device.growing("neighbours");
  }

  @AfterEach
  void close() {
    if (device == null) return;
    region.close();
    device.close();
  }

  private Tensor values(DType dtype, long key, int... dims) {
    var t = region.carve(dtype, Shape.of(dims));
    var v = new float[Math.toIntExact(t.elements())];
    for (int i = 0; i < v.length; i++) v[i] = (Dropout.uniform(key, i) - 0.5f) * 4;
    return t.set(v);
  }

  private Tensor ints(int... values) {
    return region.carve(DType.I32, Shape.of(values.length)).set(values);
  }

  private static float[] rows(Tensor t, int from, int to) {
    return t.slice(from, to).toFloats();
  }

  /// One sequence of 300 cached keys; queries are its last rows. The block table is as wide as `pages` says.
  private final class Cache {
    static final int LENGTH = 300;
    final Tensor q = values(DType.BF16, 1, LENGTH, HEADS, WIDTH);
    final Tensor keys = values(DType.BF16, 2, 24, PAGE, GROUPS, WIDTH);
    final Tensor values = values(DType.BF16, 3, 24, PAGE, GROUPS, WIDTH);

    /// Rows [from, to) as queries that see the keys up to themselves, after `others` sequences of one query and one key.
    float[] decode(int from, int to, int others) {
      int n = to - from;
      var queries = region.carve(DType.BF16, Shape.of(others + n, HEADS, WIDTH));
      queries.slice(0, others).set(new float[others * HEADS * WIDTH]);
      queries.slice(others, others + n).set(rows(q, from, to));
      int pages = (LENGTH + PAGE - 1) / PAGE;
      var blocks = new int[(others + 1) * pages];
      for (int s = 0; s <= others; s++) for (int b = 0; b < pages; b++) blocks[s * pages + b] = (b * 5 + 3) % 24;
      var starts = new int[others + 2];
      var lengths = new int[others + 1];
      for (int s = 0; s < others; s++) starts[s + 1] = s + 1;
      Arrays.fill(lengths, 1);
      starts[others + 1] = others + n;
      lengths[others] = to;
      var o = region.carve(DType.BF16, queries.shape());
      device.run(new Attention.Decode(o, queries, keys, values, ints(blocks).reshape(others + 1, pages), ints(starts),
          ints(lengths), 0.25f));
      return rows(o, others, others + n);
    }
  }

  /// Alone the context is split over blocks; among 150 sequences it is not; a chunk of 40 shares its keys between 32 pairs of a
  /// block.
  @Test
  void aQueryOverPagesHasTheSameBitsAloneInAChunkAndInACrowd() {
    var cache = new Cache();
    int from = Cache.LENGTH - 40;
    var chunk = cache.decode(from, Cache.LENGTH, 0);
    assertThat(chunk).hasSize(40 * HEADS * WIDTH).doesNotContain(Float.NaN);
    for (int row : new int[] {from, from + 17, Cache.LENGTH - 1}) {
      var own = Arrays.copyOfRange(chunk, (row - from) * HEADS * WIDTH, (row - from + 1) * HEADS * WIDTH);
      assertThat(cache.decode(row, row + 1, 0)).as("alone").isEqualTo(own);
      assertThat(cache.decode(row, row + 1, 150)).as("in a crowd").isEqualTo(own);
    }
    assertThat(cache.decode(from, Cache.LENGTH, 150)).as("a chunk in a crowd").isEqualTo(chunk);
  }

  /// Neighbours of NaN: a kernel that multiplies a row of theirs by zero shows it.
  @ParameterizedTest
  @CsvSource({"F32, 80, 64, 70", "BF16, 80, 64, 70", "BF16, 80, 128, 200", "BF16, 90, 64, 70", "BF16, 90, 64, 200", "BF16, 90, 128, 70",
      "BF16, 90, 128, 200"})
  void aPackedSequenceHasTheSameBitsWhateverLiesBeforeAndAfterIt(DType dtype, int capability, int width, int n) {
    try (var other = host.device(capability)) {
      for (boolean causal : new boolean[] {true, false}) {
        var alone = attend(other, dtype, width, 0, n, 0, causal);
        var packed = attend(other, dtype, width, 37, n, 11, causal);
        for (int i = 0; i < alone.length; i++) {
          assertThat(alone[i]).as("result " + i).doesNotContain(Float.NaN);
          assertThat(packed[i]).as("result " + i).isEqualTo(alone[i]);
        }
      }
    }
  }

  /// o, lse, dq, dk, dv of n rows between two other sequences.
  private float[][] attend(CudaDevice device, DType dtype, int width, int before, int n, int after, boolean causal) {
    int t = before + n + after;
    try (var region = device.growing("sequences")) {
      var q = put(region, dtype, 1, HEADS, width, before, n, after);
      var k = put(region, dtype, 2, GROUPS, width, before, n, after);
      var v = put(region, dtype, 3, GROUPS, width, before, n, after);
      var dout = put(region, dtype, 4, HEADS, width, before, n, after);
      var o = region.carve(dtype, q.shape());
      var lse = region.carve(DType.F32, Shape.of(t, HEADS));
      var bounds = before == 0 ? new int[] {0, n} : new int[] {0, before, before + n, t};
      var starts = region.carve(DType.I32, Shape.of(bounds.length)).set(bounds);
      var gradients = new Tensor[] {region.carve(dtype, q.shape()), region.carve(dtype, k.shape()), region.carve(dtype, v.shape())};
      device.run(new Attention.Forward(o, lse, q, k, v, starts, 0.25f, causal));
      device.run(new Attention.Backward(Sink.write(gradients[0]), Sink.write(gradients[1]), Sink.write(gradients[2]), dout, o, lse,
          q, k, v, starts, 0.25f, causal));
      var out = new float[5][];
      var all = new Tensor[] {o, lse, gradients[0], gradients[1], gradients[2]};
      for (int i = 0; i < 5; i++) out[i] = rows(all[i], before, before + n);
      return out;
    }
  }

  private static Tensor put(Region region, DType dtype, long key, int heads, int width, int before, int n, int after) {
    var values = new float[(before + n + after) * heads * width];
    Arrays.fill(values, Float.NaN);
    for (int i = 0; i < n * heads * width; i++) values[before * heads * width + i] = (Dropout.uniform(key, i) - 0.5f) * 4;
    return region.carve(dtype, Shape.of(before + n + after, heads, width)).set(values);
  }

  @Test
  void theGradientOfANormsWeightIsTheSameWhereverTheBatchIsSplit() {
    int rows = 300;
    var x = values(DType.BF16, 1, rows, 40);
    var dy = values(DType.BF16, 2, rows, 40);
    var w = values(DType.F32, 3, 40);
    var rstd = values(DType.F32, 4, rows);
    var whole = values(DType.F32, 5, 40);
    var parts = values(DType.F32, 5, 40);
    device.run(new RmsNorm.Backward(Sink.NONE, Sink.add(whole), dy, x, w, rstd));
    for (int[] r : new int[][] {{0, 129}, {129, 130}, {130, 300}}) device.run(new RmsNorm.Backward(Sink.NONE, Sink.add(parts),
        dy.slice(r[0], r[1]), x.slice(r[0], r[1]), w, rstd.slice(r[0], r[1])));
    assertThat(parts.toFloats()).isEqualTo(whole.toFloats());
  }

  /// Rows of 37: every other one begins inside a pair of elements that one hash decides.
  @ParameterizedTest
  @EnumSource(value = DType.class, names = {"F32", "BF16", "F16"})
  void dropoutKeepsTheSameElementsWhereverTheBatchIsSplitAndTheCpuKeepsThem(DType dtype) {
    int rows = 70;
    int width = 37;
    var ones = new float[rows * width];
    Arrays.fill(ones, 1);
    var x = region.carve(dtype, Shape.of(rows, width)).set(ones);
    for (float rate : new float[] {0, 0.3f, Math.nextDown(1f)}) {
      var whole = values(dtype, 1, rows, width);
      var mask = new Dropout.Mask(Sink.write(whole), x, rate, 11, 0);
      device.run(mask);
      var found = whole.toFloats();
      for (int i = 0; i < found.length; i++) assertThat(found[i] != 0).as("element " + i).isEqualTo(Dropout.kept(11, i, mask.threshold()));
      var parts = values(dtype, 2, rows, width);
      for (int[] r : new int[][] {{0, 1}, {1, 2}, {2, 17}, {17, 70}}) device.run(new Dropout.Mask(Sink.write(parts.slice(r[0], r[1])),
          x.slice(r[0], r[1]), rate, 11, (long) r[0] * width));
      assertThat(parts.toFloats()).isEqualTo(found);
    }
  }

  @Test
  void theGradientOfATableIsTheSameWhereverTheBatchIsSplit() {
    int tokens = 600;
    var ids = new int[tokens];
    for (int i = 0; i < tokens; i++) ids[i] = (int) (Dropout.uniform(9, i) * 3);
    var dy = values(DType.BF16, 2, tokens, 24);
    var whole = values(DType.F32, 5, 4, 24);
    var parts = values(DType.F32, 5, 4, 24);
    device.run(new Embedding.Backward(Sink.add(whole), dy, ints(ids)));
    for (int[] r : new int[][] {{0, 257}, {257, 600}}) device.run(new Embedding.Backward(Sink.add(parts), dy.slice(r[0], r[1]),
        ints(Arrays.copyOfRange(ids, r[0], r[1]))));
    assertThat(parts.toFloats()).isEqualTo(whole.toFloats());
  }
}
