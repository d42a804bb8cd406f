package org.llmcore.cuda;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.op.MatMul;
import org.llmcore.op.Pass;
import org.llmcore.op.Sink;
import org.llmcore.op.Softmax;
import org.llmcore.op.TopK;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// The checks of the host driver see what they are there for: one planted bug each, in the product's own kernels.
class MutationTest {
  private record Bug(String family, String from, String to) {}

  private static final String[] FAMILIES = {"matmul_plain", "softmax", "top_k"};
  private static final List<Bug> BUGS = List.of(
      new Bug("matmul_plain", "__syncthreads();", ""), // reads a tile that is not there yet
      new Bug("matmul_plain", "m < M && n < N", "m < M"), // writes past the last column
      new Bug("matmul_plain", "first + row < lines && ", ""), // reads past the last row
      new Bug("softmax", "c < columns; c += blockDim.x) {", "c < columns + 64; c += blockDim.x) {"), // writes past the last row
      new Bug("top_k", "      __syncthreads();\n      for", "      for"), // sorts what others still move
      new Bug("top_k", "reaching = 0;\n    __syncthreads();", "reaching = 0;"), // counts before the count is 0, overwrites the bound
      new Bug("top_k", "if (threadIdx.x < k) {", "if (threadIdx.x <= k) {")); // writes one more than there is room for

  private static HostCuda host;

  @BeforeAll
  static void compile(@TempDir Path sources) throws IOException {
    for (var family : FAMILIES) Files.copy(Path.of("src/main/cuda", family + ".cu"), sources.resolve(family + ".cu"));
    for (int i = 0; i < BUGS.size(); i++) {
      var bug = BUGS.get(i);
      var text = Files.readString(Path.of("src/main/cuda", bug.family + ".cu"));
      int at = text.indexOf(bug.from);
      assertThat(at).as(bug.toString()).isPositive();
      Files.writeString(sources.resolve(bug.family + "-" + i + ".cu"), text.substring(0,
          at) + bug.to + text.substring(at + bug.from.length()));
    }
    host = HostCuda.open(sources);
  }

  private static void run(CudaDevice device, String family) {
    host.shuffle(1);
    try (var region = device.growing("mutant")) {
      var a = region.carve(DType.F32, Shape.of(5, 40)).set(new float[200]);
      var y = region.carve(DType.F32, Shape.of(5, 5));
      switch (family) {
        case "softmax" -> device.run(new Softmax.Forward(a, a, false));
        case "top_k" -> {
          var row = new float[4 * 8192]; // 63 threads see what is larger than the largest of the 64th: the row is read again
          for (int i = 0; i < row.length; i++) row[i] = i % 8192 < 504 ? 1000 + i * 7919 % 30_011 : i % 8192 < 512 ? 500 : -i;
          var x = region.carve(DType.F32, Shape.of(1, row.length)).set(row);
          TopK.apply(Pass.inference(device, region), x, region.carve(DType.F32, Shape.of(1)).set(1f), row.length, TopK.MOST);
        }
        default -> device.run(new MatMul.Product(Sink.write(y), a, a, false, true, 1));
      }
    } finally {
      host.shuffle(1);
      device.close();
    }
  }

  @Test
  void theKernelsAsTheyArePass() {
    for (var family : FAMILIES) run(host.device(), family);
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2, 3, 4, 5, 6})
  void aPlantedBugIsSeen(int i) {
    var family = BUGS.get(i).family;
    assertThatThrownBy(() -> run(host.device("-" + i), family)).isInstanceOf(CudaException.class)
        .hasMessageContaining("kernel llm_" + family);
  }
}
