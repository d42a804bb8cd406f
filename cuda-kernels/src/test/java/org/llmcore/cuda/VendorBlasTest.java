package org.llmcore.cuda;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

import org.llmcore.InvalidInput;
import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.reference.ReferenceDevice;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

/// The vendor's library multiplies what our kernels would multiply, where it is asked to. Here it is a naive stand-in with cuBLAS's
/// functions and column-major meaning.
class VendorBlasTest {
  private static final int M = 5;
  private static final int N = 7;
  private static final int K = 3;

  private HostCuda host;
  private Path library;

  @BeforeEach
  void open() {
    HostCuda.plants("a stand-in of cuBLAS");
    host = HostCuda.open();
    host.shuffle(1);
    library = host.blas();
  }

  @AfterEach
  void clear() {
    if (host != null) host.shuffle(1);
  }

  private static Tensor random(org.llmcore.tensor.Region region, DType dtype, long key, int rows, int columns) {
    var values = new float[rows * columns];
    for (int i = 0; i < values.length; i++) values[i] = Dropout.uniform(key, i) - 0.5f;
    return region.carve(dtype, Shape.of(rows, columns)).set(values);
  }

  private static float[] product(Device device, boolean ta, boolean tb, boolean add, DType in, DType out) {
    try (var region = device.growing("product")) {
      var a = random(region, in, 1, ta ? K : M, ta ? M : K);
      var b = random(region, in, 2, tb ? N : K, tb ? K : N);
      var y = random(region, out, 3, M, N);
      device.run(new MatMul.Product(add ? Sink.add(y) : Sink.write(y), a, b, ta, tb, 0.5f));
      return y.toFloats();
    }
  }

  @Test
  void everyTranspositionAndDtypeIsOurs() {
    try (var device = host.device("", true, Optional.of(library.toString()))) {
      assertThat(device.name()).endsWith("products by cuBLAS 13.1.0 (libcublas.so.13)");
      for (boolean ta : new boolean[] {false, true}) {
        for (boolean tb : new boolean[] {false, true}) {
          for (boolean add : new boolean[] {false, true}) {
            for (var out : List.of(DType.F32, DType.BF16)) {
              for (var in : List.of(DType.F32, DType.BF16)) {
                if (in == DType.F32 && out == DType.BF16) continue; // not its business: our kernel does it
                var expected = product(new ReferenceDevice(), ta, tb, add, in, out);
                var found = product(device, ta, tb, add, in, out);
                double step = out == DType.F32 ? 0x1p-22 : 0x1p-8;
                for (int i = 0; i < expected.length; i++) assertThat((double) found[i]).isCloseTo(expected[i], within(step));
              }
            }
          }
        }
      }
      assertThat(device.productsByBlas()).isEqualTo(8 * 3);
      product(device, false, true, false, DType.F32, DType.BF16);
      assertThat(device.productsByBlas()).isEqualTo(8 * 3);
    }
  }

  @Test
  void withoutTheLibraryOneSentenceSaysWhatToDo() {
    assertThatThrownBy(() -> host.device("", true, Optional.of("/nowhere"))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("cuBLAS is not found (/nowhere/libcublas.so.13, /nowhere/libcublas.so.12)").hasMessageContaining("LLM_CUDA_BLAS");
  }

  @Test
  void nobodyUsesItUnasked() {
    try (var device = host.device()) {
      product(device, false, true, false, DType.F32, DType.F32);
      assertThat(device.productsByBlas()).isZero();
      assertThat(device.name()).doesNotContain("cuBLAS");
    }
  }
}
