package org.llmcore.cuda;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import org.llmcore.op.Attention;
import org.llmcore.op.Dropout;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;

/// Bugs planted in the backward pass of Hopper's attention, one at a time: waits, arrivals, byte counts, phases, descriptors, masks, the zeros
/// over a neighbour's rows. Each must show, either to the host driver's checks or in the result, in one of three orders of threads and copies.
/// What the host driver cannot show is not here: warps of a warpgroup meet at every wgmma there, so that the two barriers before the patches and
/// the one behind the statistics change nothing.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class AttentionHopperMutationTest {
  private static final String FAMILY = "attention_backward_hopper";
  private static final int BEFORE = 37; // rows of NaN before and after the sequence
  private static final int ROWS = 333; // more tiles than the ring has stages, a ragged last one
  private static final int AFTER = 70;

  /// The text after which the bug begins, what is there, and what stands there instead.
  private record Bug(String after, String from, String to) {}

  private static final List<Bug> BUGS = List.of(
      new Bug("fetch(", "p < D / 64", "p < 1"),
      new Bug("blank(", "panels; c", "panels / 2; c"),
      new Bug("blank(", "bar_sync(1, CONSUMERS);", ""),
      new Bug("along(", "kk / 4 * (PANEL >> 4)", "kk / 4 * 8"),
      new Bug("accumulate(", "panel_desc(b, PANEL)", "panel_desc(b, PANEL / 2)"),
      new Bug("accumulate(", "<1>(acc, a[kk], db + kk * 128, 1)", "<1>(acc, a[kk], db + kk * 64, 1)"),
      new Bug("accumulate(", "<1>(acc, a[kk], db + kk * 128, 1)", "<0>(acc, a[kk], db + kk * 128, 1)"),
      new Bug("accumulate(", "<1>(acc, a[kk], db + kk * 128, 1)", "<1>(acc, a[kk], db + kk * 128, kk)"),
      new Bug("backward_q(", "mbar_init(empty + s, 8)", "mbar_init(empty + s, 4)"),
      new Bug("backward_q(", "mbar_expect_tx(own, 4 * ", "mbar_expect_tx(own, 2 * "),
      new Bug("backward_q(", "mbar_wait(empty + stage, phase ^ 1);", ""),
      new Bug("backward_q(", "mbar_expect_tx(full + stage, 2 * ", "mbar_expect_tx(full + stage, 1 * "),
      new Bug("backward_q(", "stage = 0, phase ^= 1;\n      }", "stage = 0;\n      }"),
      new Bug("backward_q(", "mbar_wait(own, 0);", ""),
      new Bug("backward_q(", "mbar_wait(full + stage, phase);", ""),
      new Bug("backward_q(", "if (valid < ROWS) blank(sk, D / 64, valid);", ""),
      new Bug("backward_q(", "wgmma_wait<1>();", ""),
      new Bug("backward_q(", "wgmma_wait<0>();", ""),
      new Bug("accumulate<D>(acc, f, sk)", "wgmma_wait<0>();", ""),
      new Bug("backward_q(", "> last + e / 2", ">= last + e / 2"),
      new Bug("backward_q(", " || e / 4 * 8 + e % 2 >= to", ""),
      new Bug("backward_q(", "if (lane == 0) mbar_arrive(empty + stage);", ""),
      new Bug("backward_q(", "min(row0 + ROWS, keys)", "min(row0, keys)"),
      new Bug("backward_kv(", "mbar_init(full + s, 2)", "mbar_init(full + s, 1)"),
      new Bug("backward_kv(", "mbar_wait(empty + stage, phase ^ 1);   //", "//"),
      new Bug("backward_kv(", "mbar_wait(empty + stage, phase ^ 1);\n", "\n"),
      new Bug("backward_kv(", "mbar_expect_tx(full + stage, 2 * ", "mbar_expect_tx(full + stage, 1 * "),
      new Bug("backward_kv(", "lse[ROWS + c] = x.y", "lse[c + 0 * ROWS] = x.y"),
      new Bug("backward_kv(", "mbar_wait(own, 0);", ""),
      new Bug("backward_kv(", "mbar_wait(full + stage, phase);", ""),
      new Bug("backward_kv(", "if (valid < ROWS) blank(sq, 2 * D / 64, valid);", ""),
      new Bug("backward_kv(", "wgmma_wait<1>();", ""),
      new Bug("accumulate<D>(av", "wgmma_wait<1>();", ""),
      new Bug("accumulate<D>(av", "wgmma_wait<0>();", ""),
      new Bug("accumulate<D>(av", "as_left(fs, s);", "as_left(fp, s), as_left(fs, s);"),
      new Bug("backward_kv(", "< from + e / 2", "<= from + e / 2"),
      new Bug("backward_kv(", "if (lane == 0) mbar_arrive(empty + stage);", ""),
      new Bug("backward_kv(", "clear(ak), clear(av);", "clear(ak);"));

  private final Path sources = Path.of("src/main/cuda", FAMILY + ".cu");
  private HostCuda host;
  private List<float[]> right;

  /// The kernels for 128 columns alone, so that each of many copies compiles in a second or two.
  private String source() throws IOException {
    return Files.readString(sources).replaceAll("EXPORT_KERNEL\\(\\w+_d64\\)\n", "").replaceAll("backward_(\\w+)<64>", "backward_$1<128>")
        .replaceAll("extern \"C\" .*\n\\w+_d64\\(.*\n.*\n}\n", "");
  }

  @BeforeAll
  void compile(@TempDir Path mutants) throws IOException {
    var text = source();
    for (int i = 0; i < BUGS.size(); i++) {
      var bug = BUGS.get(i);
      int after = text.indexOf(bug.after, text.indexOf("#include"));
      int at = text.indexOf(bug.from, after);
      assertThat(Math.min(after, at)).as(bug.toString()).isPositive();
      Files.writeString(mutants.resolve(FAMILY + "-" + i + ".cu"), text.substring(0, at) + bug.to + text.substring(at + bug.from.length()));
    }
    Files.writeString(mutants.resolve(FAMILY + ".cu"), text);
    Files.copy(sources.resolveSibling("attention_backward_mma.cu"), mutants.resolve("attention_backward_mma.cu")); // statistics
    host = HostCuda.open(mutants);
    right = run("", 1);
  }

  private static Tensor values(Region region, DType dtype, long key, int... dims) {
    var t = region.carve(dtype, Shape.of(dims));
    var v = new float[Math.toIntExact(t.elements())];
    int row = v.length / dims[0];
    Arrays.fill(v, Float.NaN);
    for (int i = BEFORE * row; i < (BEFORE + ROWS) * row; i++) v[i] = Dropout.uniform(key, i) - 0.5f;
    return t.set(v);
  }

  /// Gradients of one sequence between two of NaN.
  private List<float[]> run(String suffix, long seed) {
    int t = BEFORE + ROWS + AFTER;
    var out = new ArrayList<float[]>();
    host.shuffle(seed);
    var device = host.device(90, suffix);
    try (var region = device.growing("mutant")) {
      for (boolean causal : new boolean[] {true, false}) {
        var q = values(region, DType.BF16, 1, t, 2, 128);
        var k = values(region, DType.BF16, 2, t, 1, 128);
        var v = values(region, DType.BF16, 3, t, 1, 128);
        var o = values(region, DType.BF16, 4, t, 2, 128);
        var dout = values(region, DType.BF16, 5, t, 2, 128);
        var lse = values(region, DType.F32, 6, t, 2);
        var starts = region.carve(DType.I32, Shape.of(4)).set(new int[] {0, BEFORE, BEFORE + ROWS, t});
        var gradients = List.of(region.carve(DType.BF16, q.shape()), region.carve(DType.BF16, k.shape()), region.carve(DType.BF16, v.shape()));
        device.run(new Attention.Backward(Sink.write(gradients.get(0)), Sink.write(gradients.get(1)), Sink.write(gradients.get(2)), dout, o, lse, q, k, v,
            starts, 0.3f, causal));
        gradients.forEach(g -> out.add(g.slice(BEFORE, BEFORE + ROWS).toFloats()));
      }
      return out;
    } finally {
      host.shuffle(seed);
      device.close();
    }
  }

  private static boolean same(List<float[]> a, List<float[]> b) {
    return IntStream.range(0, a.size()).allMatch(i -> Arrays.equals(a.get(i), b.get(i)));
  }

  @Test
  void theKernelsAsTheyArePassAndAgreeInEveryOrder() {
    assertThat(right).hasSize(6).allSatisfy(g -> assertThat(g).doesNotContain(Float.NaN));
    for (long seed = 2; seed <= 4; seed++) assertThat(same(right, run("", seed))).as("order " + seed).isTrue();
  }

  static IntStream bugs() {
    return IntStream.range(0, BUGS.size());
  }

  @ParameterizedTest
  @MethodSource("bugs")
  void aPlantedBugIsSeen(int i) {
    boolean seen = false;
    for (long seed = 1; seed <= 3 && !seen; seed++) {
      try {
        seen = !same(right, run("-" + i, seed));
      } catch (CudaException e) {
        assertThat(e).hasMessageContaining("kernel llm_attention_backward_");
        seen = true;
      }
    }
    assertThat(seen).as(BUGS.get(i).toString()).isTrue();
  }
}
