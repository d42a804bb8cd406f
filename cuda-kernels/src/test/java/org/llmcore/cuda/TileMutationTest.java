package org.llmcore.cuda;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.IntStream;

import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import org.llmcore.op.Attention;
import org.llmcore.op.Dropout;
import org.llmcore.op.Embedding;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.QuantMatrices;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;

/// Every barrier, wait and mask of the kernels that work in tiles is needed: without it the checks see a race, or the results
/// change.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class TileMutationTest {
  /// The text after which the bug begins, what is there, and what stands there instead.
  private record Bug(String family, String after, String from, String to) {}

  private static final String BARRIER = "__syncthreads();";
  private static final String WAIT = "cp_async_wait<0>();";
  private static final List<Bug> BUGS = List.of(
      new Bug("attention_mma", "bool sees", BARRIER, ""),
      new Bug("attention_mma", "bool sees", WAIT, ""),
      new Bug("attention_mma", "acc[m][j][2 * r + 1] *= fade;", BARRIER, ""),
      new Bug("attention_mma", "acc[m][j][2 * r + 1] *= fade;", WAIT, ""),
      new Bug("attention_mma", "if (", "u >= rows || ", ""),
      new Bug("attention_mma", "bool sees", "u0 <= row0 + 31", "u0 < row0"),
      new Bug("attention_backward_mma", "backward_q(", BARRIER, ""),
      new Bug("attention_backward_mma", "backward_q(", WAIT, ""),
      new Bug("attention_backward_mma", "backward_q(", "u <= row)", "u < row)"),
      new Bug("attention_backward_mma", "backward_kv(", BARRIER, ""),
      new Bug("attention_backward_mma", "backward_kv(", WAIT, ""),
      new Bug("attention_backward_mma", "backward_kv(", "sstat[(i & 1) * OTHER + lane]", "sstat[lane]"),
      new Bug("attention_backward_mma", "backward_kv(", "key <= t0 + c", "key < t0 + c"),
      new Bug("attention_pages_mma", "for (int u0 = from", BARRIER, ""),
      new Bug("attention_pages_mma", "for (int u0 = from", WAIT, ""),
      new Bug("attention_pages_mma", "= n;\n      }", BARRIER, ""),
      new Bug("attention_pages_mma", "*= fade;\n      }", BARRIER, ""),
      new Bug("attention_pages_mma", "auto fetch", "inside && u < to", "inside"),
      new Bug("attention_pages_mma", "all[m][j]", "all[m][j][2 * r] * part", "all[m][j][2 * r]"),
      new Bug("rms_norm", "fetch(r0 + ROWS);", BARRIER, ""),
      new Bug("rms_norm", "fetch(0);", "side ^= 1", "side ^= 0"),
      new Bug("embedding", "votes[warp] = vote;", BARRIER, ""),
      new Bug("embedding", "where[before", BARRIER, ""),
      new Bug("embedding", "for (int u0 = 0", "return;", ";"),
      new Bug("quant_nf4_mma", "map[threadIdx.x] =", BARRIER, ""),
      new Bug("quant_nf4_mma", "uint2 u =", "i / 2 * 8 + 4)", "i / 2 * 8)"),
      new Bug("quant_nf4_mma", "b0[2]", "plane = 2", "plane = 1"),
      new Bug("quant_nf4_mma", "scaled(total", "settle();", ""),
      new Bug("quant_nf4_mma", "auto take", "if (k0 >= K) return;", ""),
      new Bug("quant_nf4_mma", "auto take", "q;", "q / 2;"),
      new Bug("quant_nf4_mma", "levels[i] =", "middle << 16", "high << 16"),
      new Bug("quant_nf4_mma", "auto take", "[block + b]", "[block]"),
      new Bug("quant_blocks_mma", "stage(slab + WARPS);", "cp_async_wait<1>();", ""),
      new Bug("quant_blocks_mma", "stage(slab + WARPS);", "__syncwarp();", ""),
      new Bug("quant_blocks_mma", "sum, a.least", "__syncwarp();", ""),
      new Bug("quant_blocks_mma", "sum, a.least", BARRIER, ""),
      new Bug("quant_blocks_mma", "auto buffer", "slab / WARPS % 2", "0"),
      new Bug("quant_blocks_mma", "auto stage", "cp_async_commit();", ""),
      new Bug("quant_blocks_mma", "auto stage", "begin & ~15LL", "begin & ~31LL"),
      new Bug("quant_blocks_mma", "units = min", "UNITS, (K", "UNITS, 32 + (K"),
      new Bug("quant_blocks_mma", "PIECES = ", "30", "15"),
      new Bug("quant_blocks_mma", "if (F::LEAST)", "ones", "w[s]"),
      new Bug("quant_blocks_mma", "bytes4(codes), fifth", "w >> 4", "w >> 3"));

  private final Map<String, List<float[]>> right = new HashMap<>();
  private HostCuda host;

  @BeforeAll
  void compile(@TempDir Path sources) throws IOException {
    var families = new TreeSet<String>();
    for (int i = 0; i < BUGS.size(); i++) {
      var bug = BUGS.get(i);
      families.add(bug.family);
      var text = source(bug.family);
      int after = text.indexOf(bug.after, text.indexOf("#include"));
      int at = text.indexOf(bug.from, after);
      assertThat(Math.min(after, at)).as(bug.toString()).isPositive();
      Files.writeString(sources.resolve(bug.family + "-" + i + ".cu"), text.substring(0,
          at) + bug.to + text.substring(at + bug.from.length()));
    }
    for (var family : families) Files.writeString(sources.resolve(family + ".cu"), source(family));
    host = HostCuda.open(sources);
  }

  /// The kernels of a family for one dtype and one width only, so that each of many copies compiles in a second.
  private static String source(String family) throws IOException {
    return Files.readString(Path.of("src/main/cuda", family + ".cu")).replaceAll("(?<!b)f16", "bf16")
        .replaceAll("<128(?=[,>])", "<64")
        .replaceAll("(?m)^.*llm_quant_nf4_mma_(16|32)\\b.*\n", "")
        .replaceAll("(?m)^.*llm_quant_blocks_mma_(?!Q4_1_8|<)\\w+.*\n", "");
  }

  private static Tensor values(Region region, DType dtype, long key, int... dims) {
    var t = region.carve(dtype, Shape.of(dims));
    var v = new float[Math.toIntExact(t.elements())];
    for (int i = 0; i < v.length; i++) v[i] = Dropout.uniform(key, i) - 0.5f;
    return t.set(v);
  }

  private static Tensor ints(Region region, int... v) {
    return region.carve(DType.I32, Shape.of(v.length)).set(v);
  }

  /// What the kernels of a family give: more than one tile of everything, a ragged last one.
  private List<float[]> run(CudaDevice device, String family, long seed) {
    host.shuffle(seed);
    try (var region = device.growing("mutant")) {
      return switch (family) {
        case "attention_mma", "attention_backward_mma" -> attention(device, region, family.contains("backward"));
        case "attention_pages_mma" -> pages(device, region);
        case "rms_norm" -> {
          var dw = region.carve(DType.F32, Shape.of(33));
          device.run(new RmsNorm.Backward(Sink.NONE, Sink.write(dw), values(region, DType.F32, 1, 300, 33), values(region,
              DType.F32, 2, 300, 33),
              values(region, DType.F32, 3, 33), values(region, DType.F32, 4, 300)));
          yield List.of(dw.toFloats());
        }
        case "quant_nf4_mma" -> product(device, region, "nf4 double", 128 * 18);
        case "quant_blocks_mma" -> product(device, region, "Q4_1", 256 * 18 + 96);
        default -> {
          var table = values(region, DType.F32, 1, 3, 20);
          device.run(new Embedding.Backward(Sink.add(table), values(region, DType.F32, 2, 520, 20), ints(region,
              IntStream.range(0, 520).map(i -> i * i % 3)
              .toArray())));
          yield List.of(table.toFloats());
        }
      };
    } finally {
      host.shuffle(1);
      device.close();
    }
  }

  private static List<float[]> attention(CudaDevice device, Region region, boolean backward) {
    int t = 150;
    var out = new ArrayList<float[]>();
    for (boolean causal : new boolean[] {true, false}) {
      var q = values(region, DType.BF16, 1, t, 2, 16);
      var k = values(region, DType.BF16, 2, t, 1, 16);
      var v = values(region, DType.BF16, 3, t, 1, 16);
      var o = values(region, DType.BF16, 4, t, 2, 16);
      var lse = values(region, DType.F32, 5, t, 2);
      var starts = ints(region, 0, t);
      if (backward) {
        var gradients = List.of(region.carve(DType.BF16, q.shape()), region.carve(DType.BF16, k.shape()),
            region.carve(DType.BF16, v.shape()));
        device.run(new Attention.Backward(Sink.write(gradients.get(0)), Sink.write(gradients.get(1)),
            Sink.write(gradients.get(2)), q, o, lse, q, k, v, starts,
            0.7f, causal));
        gradients.forEach(g -> out.add(g.toFloats()));
      } else {
        device.run(new Attention.Forward(o, lse, q, k, v, starts, 0.7f, causal));
        out.add(o.toFloats());
      }
    }
    return out;
  }

  /// 272 sequences, so that one block takes all keys of a pair.
  private static List<float[]> pages(CudaDevice device, Region region) {
    int n = 272; // the block table ends where its memory does
    var o = region.carve(DType.BF16, Shape.of(n, 1, 16));
    var lengths = new int[n];
    Arrays.fill(lengths, 1);
    lengths[n - 1] = 290;
    var blocks = new int[n * 3];
    for (int i = 0; i < 3; i++) blocks[n * 3 - 1 - i] = i;
    device.run(new Attention.Decode(o, values(region, DType.BF16, 1, n, 1, 16), values(region, DType.BF16, 2, 3, 100, 1, 16),
        values(region, DType.BF16, 3, 3, 100, 1, 16),
        ints(region, blocks).reshape(n, 3), ints(region, IntStream.rangeClosed(0, n).toArray()), ints(region, lengths), 0.7f));
    return List.of(o.toFloats());
  }

  /// Some warps have three slabs, some two.
  private static List<float[]> product(CudaDevice device, Region region, String form, int inputs) {
    var w = QuantMatrices.forms().stream().filter(f -> f.name().equals(form)).findFirst().orElseThrow().make(region, 19, inputs, 3);
    var y = region.carve(DType.F32, Shape.of(5, 19));
    device.run(new QuantMatMul.Product(Sink.write(y), values(region, DType.BF16, 1, 5, inputs), w, true));
    return List.of(y.toFloats());
  }

  static IntStream bugs() {
    return IntStream.range(0, BUGS.size());
  }

  @Test
  void theKernelsAsTheyArePassAndAgreeInEveryOrder() {
    for (var family : BUGS.stream().map(Bug::family).distinct().toList()) {
      var first = right.computeIfAbsent(family, f -> run(host.device(), f, 1));
      for (long seed = 2; seed <= 3; seed++) assertThat(run(host.device(), family, seed)).as(family).usingRecursiveComparison()
          .isEqualTo(first);
    }
  }

  @ParameterizedTest
  @MethodSource("bugs")
  void aPlantedBugIsSeen(int i) {
    var bug = BUGS.get(i);
    var expected = right.computeIfAbsent(bug.family, f -> run(host.device(), f, 1));
    boolean seen = false;
    for (long seed = 1; seed <= 3 && !seen; seed++) {
      try {
        var found = run(host.device("-" + i), bug.family, seed);
        for (int r = 0; r < expected.size(); r++) seen |= !Arrays.equals(expected.get(r), found.get(r));
      } catch (CudaException e) {
        assertThat(e).hasMessageContaining("kernel llm_" + bug.family.replace("_mma", ""));
        seen = true;
      }
    }
    assertThat(seen).as(bug.toString()).isTrue();
  }
}
