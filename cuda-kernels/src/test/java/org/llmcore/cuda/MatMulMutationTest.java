package org.llmcore.cuda;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import static org.assertj.core.api.Assertions.assertThat;
import static org.llmcore.tensor.DType.BF16;
import static org.llmcore.tensor.DType.F32;

/// Bugs planted in the matrix products, one at a time: barriers, waits, commits, bounds, stages, phases, descriptors. Each
/// must show, either to the host driver's checks or in the result, in one of three orders of threads and copies.
class MatMulMutationTest {
  /// A kernel, and a product small enough to be quick and large enough to go round its ring.
  private enum Subject {
    MMA("matmul_mma", "bf16_nn", 80, new MatMulCudaTest.Case(BF16, BF16, F32, false, false, 130, 40, 264, false)),
    MIXED("matmul_mixed", "f32_bf16_tn", 80, new MatMulCudaTest.Case(F32, BF16, F32, false, true, 70, 72, 40, false)),
    HOPPER("matmul_hopper", "nn_128", 90, new MatMulCudaTest.Case(BF16, BF16, F32, false, false, 264, 72, 648, false)),
    LOW("matmul_hopper", "tn_128_low", 90, MatMulCudaTest.Case.low(F32, true, 136, 72, 136, 24, false)),
    LOW_ACROSS("matmul_hopper", "nn_128_low", 90, MatMulCudaTest.Case.low(F32, false, 136, 72, 136, 24, false)),
    FEW("matmul_few_hopper", "few_hopper_256", 90, new MatMulCudaTest.Case(BF16, BF16, F32, false, true, 11, 290, 840, false)),
    STREAM("matmul_skinny", "stream_bf16_8", 80, new MatMulCudaTest.Case(BF16, BF16, F32, false, true, 5, 140, 520, false)),
    OUTER("matmul_skinny", "outer_16", 80, new MatMulCudaTest.Case(BF16, BF16, F32, true, false, 8, 168, 1000, false)),
    UPDATE("matmul_skinny", "update_bf16", 80, new MatMulCudaTest.Case(BF16, F32, BF16, false, false, 500, 24, 3, true));

    private final String family;
    private final String kernel;
    private final int capability;
    private final MatMulCudaTest.Case product;

    Subject(String family, String kernel, int capability, MatMulCudaTest.Case product) {
      this.family = family;
      this.kernel = kernel;
      this.capability = capability;
      this.product = product;
    }

    /// The source with its headers, and this kernel alone.
    String source() throws IOException {
      var text = new StringBuilder();
      for (var file : List.of("matmul.cuh", "matmul_tiles.cuh", "skinny.cuh", family + ".cu")) {
        if (file.equals("matmul_tiles.cuh") && !family.equals("matmul_mma") && !family.equals("matmul_mixed")) continue;
        if (file.equals("skinny.cuh") && !family.equals("matmul_skinny")) continue;
        text.append(Files.readString(Path.of("src/main/cuda", file)));
      }
      var name = "llm_\\w*(?<!" + kernel + "|planes|outer_sum)";
      return text.toString().replaceAll("#pragma once\n|#include \"(matmul|skinny).*\n|EXPORT_KERNEL\\(" + name + "\\)\n", "")
          .replaceAll("extern \"C\" .*\n" + name + "\\(\\w+\\) .*\n", "");
    }
  }

  private record Bug(Subject subject, String from, String to) {}

  private static final List<Bug> BUGS = List.of(
      new Bug(Subject.MMA, "cp_async_wait<STAGES - 2>();", "cp_async_wait<STAGES - 1>();"),
      new Bug(Subject.MMA, "__syncthreads();   // stage k is there", "// stage k is there"),
      new Bug(Subject.MMA, "cp_async_commit();", ""),
      new Bug(Subject.MMA, "__syncthreads();   // the stages become", "// the stages become"),
      new Bug(Subject.MMA, "ahead = k + STAGES - 1", "ahead = k + STAGES"),
      new Bug(Subject.MMA, "    __syncwarp();\n    patch_out", "    patch_out"),
      new Bug(Subject.MMA, "N);\n    __syncwarp();", "N);"),
      new Bug(Subject.MMA, "line < lines && k < depth;", "line <= lines && k < depth;"),
      new Bug(Subject.MMA, "r < 16 && row0 + r < M", "r < 16 && row0 + r <= M"),
      new Bug(Subject.MMA, "line / S::EACH + (block >> 1)", "line / S::EACH + (block & 1)"),
      new Bug(Subject.MIXED, "p >= 0; p--", "p >= 1; p--"),
      new Bug(Subject.MIXED, "middle = c >> 16", "middle = 0 * c"),
      new Bug(Subject.MIXED, "raw + k % STAGES * STAGE", "raw + ahead % STAGES * STAGE"),
      new Bug(Subject.HOPPER, "mbar_wait(empty + stage, phase ^ 1);", ""),
      new Bug(Subject.HOPPER, "mbar_wait(full + stage, phase);", ""),
      new Bug(Subject.HOPPER, "mbar_wait(full + stage, phase);", "mbar_wait(full + stage, phase ^ 1);"),
      new Bug(Subject.HOPPER, "wgmma_wait<1>();", "wgmma_wait<2>();"),
      new Bug(Subject.HOPPER, "wgmma_wait<0>();", ""),
      new Bug(Subject.HOPPER, "wgmma_commit();", ""),
      new Bug(Subject.HOPPER, "mbar_arrive(empty + before);", "mbar_arrive(empty + stage);"),
      new Bug(Subject.HOPPER, "if (k > 0 && tid == 0) mbar_arrive(empty + before);", ""),
      new Bug(Subject.HOPPER, "mbar_expect_tx(full + stage, STAGE);", "mbar_expect_tx(full + stage, A_BYTES);"),
      new Bug(Subject.HOPPER, "mbar_init(empty + s, 2)", "mbar_init(empty + s, 1)"),
      new Bug(Subject.HOPPER, "stage = 0, phase ^= 1;", "stage = 0;"),
      new Bug(Subject.HOPPER, "(d, at, bt, k + kk != 0);\n        }", "(d, at, bt, kk != 0);\n        }"),
      new Bug(Subject.HOPPER, "panel_desc(sb, PANEL)", "panel_desc(sb, PANEL / 2)"),
      new Bug(Subject.HOPPER, "kk * (TB ? 2 : 128)", "kk * (TB ? 2 : 64)"),
      new Bug(Subject.HOPPER, "        __syncwarp();\n        patch_out", "        patch_out"),
      new Bug(Subject.LOW, "base + low : base", "base : base"),
      new Bug(Subject.LOW, "(k - base) * RANKS", "(k - base) * BK"),
      new Bug(Subject.LOW, "n * BN, (k - base) * BK", "n * BN, k * BK"),
      new Bug(Subject.LOW, "k >= base ? 0", "k > base ? 0"),
      new Bug(Subject.LOW, "rank < r;", "rank <= r;"),
      new Bug(Subject.LOW, "scale * at[0]", "at[0]"),
      new Bug(Subject.LOW, "if (j >= n) return;", ""),
      new Bug(Subject.LOW, "split3(p[0][i], p[1][i], p[2][i], in", "split3(p[0][i], p[2][i], p[2][i], in"),
      new Bug(Subject.LOW_ACROSS, "chunk * BK * n + j", "chunk * RANKS * n + j"),
      new Bug(Subject.LOW_ACROSS, "i % RANKS / 2] >> 16 * (i % 2)", "i % RANKS / 2] >> 16 * (i & 2)"),
      new Bug(Subject.FEW, "mbar_wait(empty + stage, (k / STAGES & 1) ^ 1);", ""),
      new Bug(Subject.FEW, "(k / STAGES & 1) ^ 1", "k / STAGES & 1"),
      new Bug(Subject.FEW, "mbar_wait(full + stage, k / STAGES & 1);", ""),
      new Bug(Subject.FEW, "mbar_wait(full + stage, k / STAGES & 1);", "mbar_wait(full + stage, 0);"),
      new Bug(Subject.FEW, "wgmma_wait<0>();", "wgmma_wait<1>();"),
      new Bug(Subject.FEW, "wgmma_commit();", ""),
      new Bug(Subject.FEW, "if (tid % 32 == 0) mbar_arrive(empty + stage);", ""),
      new Bug(Subject.FEW, "if (tid % 32 == 0) mbar_arrive(empty + stage);", "if (tid == 0) mbar_arrive(empty + stage);"),
      new Bug(Subject.FEW, "(width + strip) * BK * 2", "C_BYTES + strip * BK * 2"),
      new Bug(Subject.FEW, "mbar_init(empty + i, 4)", "mbar_init(empty + i, 3)"),
      new Bug(Subject.FEW, "bar_sync(1, 256);", ""),
      new Bug(Subject.FEW, "  __syncthreads();\n#pragma unroll 1\n  for (int e", "#pragma unroll 1\n  for (int e"),
      new Bug(Subject.FEW, "k += 2)", "k += 1)"),
      new Bug(Subject.FEW, "b + kk * 2", "b + kk"),
      new Bug(Subject.FEW, "k * BK, first);", "k * BK, blockIdx.x * N);"),
      new Bug(Subject.FEW, "(tid >> 5) * 16", "(tid >> 5) * 8"),
      new Bug(Subject.FEW, "if (first + row < many) ", ""),
      new Bug(Subject.FEW, "e < few * strip", "e < width * strip"),
      new Bug(Subject.STREAM, "    __syncthreads();\n    if (warp < half)", "    if (warp < half)"),
      new Bug(Subject.STREAM, "  __syncthreads();\n}\n\n// Element of", "}\n\n// Element of"),
      new Bug(Subject.STREAM, "min(first + i * 8 + g, many - 1)", "(first + i * 8 + g)"),
      new Bug(Subject.STREAM, "ahead < K ?", "ahead <= K ?"),
      new Bug(Subject.OUTER, "cp_async_wait<STAGES - 2>();", "cp_async_wait<STAGES - 1>();"),
      new Bug(Subject.OUTER, "__syncwarp();   // stage i is", "// stage i is"),
      new Bug(Subject.OUTER, "__syncthreads();   // the rings", "// the rings"),
      new Bug(Subject.OUTER, "raw + warp * STAGES * STAGE", "raw"),
      new Bug(Subject.OUTER, "__syncthreads();   // the later", "// the later"),
      new Bug(Subject.OUTER, "__syncthreads();   // and those", "// and those"),
      new Bug(Subject.OUTER, "end = min(all, (int)(blockIdx.y + 1) * each)", "end = all"),
      new Bug(Subject.OUTER, "slab = blockIdx.y * each +", "slab = blockIdx.y * (each - 1) +"),
      new Bug(Subject.OUTER, "PIECES * 512", "PIECES * 256"),
      new Bug(Subject.OUTER, "row >= few || first + column >= many", "first + column >= many"),
      new Bug(Subject.OUTER, "p < count", "p < count - 1"),
      new Bug(Subject.UPDATE, "__syncthreads();   // nobody reads", "// nobody reads"),
      new Bug(Subject.UPDATE, "    __syncthreads();\n    float acc[8][8]", "    float acc[8][8]"),
      new Bug(Subject.UPDATE, "if (add && column < many)", "if (add)"),
      new Bug(Subject.UPDATE, "? get(c, (long long)r0 * few + i)", "? get(c, (long long)r0 * few + i + 1)"),
      new Bug(Subject.UPDATE, "if (row0 + r < rows) *", "*"),
      new Bug(Subject.UPDATE, "r0 += gridDim.y * 64", "r0 += gridDim.y * 32"),
      new Bug(Subject.UPDATE, "four % 2 * 32 + four / 2", "four"));

  private static final Map<Subject, String> RIGHT = new EnumMap<>(Subject.class);
  private static HostCuda host;

  @BeforeAll
  static void compile(@TempDir Path sources) throws IOException {
    for (int i = 0; i < BUGS.size(); i++) {
      var bug = BUGS.get(i);
      var text = bug.subject.source();
      int at = text.indexOf(bug.from);
      assertThat(at).as("%s is in the source", bug).isPositive();
      Files.writeString(sources.resolve(bug.subject.family + "-" + i + ".cu"),
          text.substring(0, at) + bug.to + text.substring(at + bug.from.length()));
    }
    for (var subject : Subject.values()) {
      Files.writeString(sources.resolve(subject.family + "-" + subject + ".cu"), subject.source());
    }
    host = HostCuda.open(sources);
    for (var subject : Subject.values()) RIGHT.put(subject, right(subject));
  }

  /// What it gives in three orders of threads and copies, "" where the host driver complains.
  private static List<String> outcomes(Subject subject, String suffix) {
    var out = new ArrayList<String>();
    for (int seed = 3; seed < 6; seed++) {
      host.shuffle(seed);
      var device = host.device(subject.capability, suffix);
      try {
        out.add(Arrays.toString(subject.product.on(device)));
      } catch (CudaException e) {
        assertThat(e).hasMessageContaining("kernel llm_matmul_");
        out.add("");
      } finally {
        host.shuffle(seed);
        device.close();
      }
    }
    return out;
  }

  private static String right(Subject subject) {
    var all = outcomes(subject, "-" + subject).stream().distinct().toList();
    assertThat(all).as("%s without a bug, in three orders", subject).hasSize(1).doesNotContain("");
    return all.getFirst();
  }

  @Test
  void theKernelsAsTheyArePass() {
    assertThat(RIGHT).hasSize(Subject.values().length).allSatisfy((_, text) -> assertThat(text).doesNotContain("NaN"));
  }

  static IntStream numbers() {
    return IntStream.range(0, BUGS.size());
  }

  @ParameterizedTest
  @MethodSource("numbers")
  void aPlantedBugIsSeen(int i) {
    var bug = BUGS.get(i);
    assertThat(outcomes(bug.subject, "-" + i)).as(bug.toString()).anyMatch(o -> !o.equals(RIGHT.get(bug.subject)));
  }
}
