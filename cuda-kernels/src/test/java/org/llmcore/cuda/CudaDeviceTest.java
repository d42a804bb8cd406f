package org.llmcore.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

import org.llmcore.Devices;
import org.llmcore.InvalidInput;
import org.llmcore.op.Attention;
import org.llmcore.op.DeviceProvider;
import org.llmcore.op.Move;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// Memory, threads and errors of the CUDA device, on the host driver.
class CudaDeviceTest {
  private HostCuda host;
  private CudaDevice device;

  @BeforeEach
  void open() {
    host = HostCuda.open();
    host.shuffle(1);
    device = host.device();
  }

  @AfterEach
  void close() {
    if (device == null) return;
    host.shuffle(1);
    device.close();
  }

  @Test
  void isFoundByItsName() {
    assertThat(Devices.providers()).extracting(DeviceProvider::name).contains("cuda");
  }

  @Test
  void namesTheGpu() {
    HostCuda.plants("the name of the processor as a GPU's");
    assertThat(device.name()).isEqualTo("cuda CPU (hostcuda), compute capability 8.0");
  }

  @Test
  void whatGoesUpComesDownAndFreshMemoryIsZero() {
    int n = 3_000_017; // more than the pinned buffer
    try (var region = device.reserve("copies", 16L * n); var arena = Arena.ofConfined()) {
      var t = region.carve(DType.I32, Shape.of(n));
      assertThat(t.toInts()).containsOnly(0);
      var from = arena.allocate(ValueLayout.JAVA_INT, n);
      for (int i = 0; i < n; i++) from.setAtIndex(ValueLayout.JAVA_INT, i, i * 31);
      device.upload(from, t);
      var to = arena.allocate(ValueLayout.JAVA_INT, n);
      device.download(t, to);
      assertThat(to.mismatch(from)).isEqualTo(-1);
    }
  }

  @Test
  void aTensorInDeviceMemoryIsNotReadInPlace() {
    try (var region = device.growing("far")) {
      var t = region.carve(DType.F32, Shape.of(2)).set(1.5f, -2);
      assertThat(t.toFloats()).containsExactly(1.5f, -2);
      assertThat(t.get(1)).isEqualTo(-2);
      assertThatThrownBy(t::segment).hasMessageContaining("device memory");
    }
  }

  @Test
  void aRegionThatDoesNotFitIsRefusedInOneSentence() {
    assertThatThrownBy(() -> device.reserve("too large", 1L << 45))
        .isInstanceOf(InvalidInput.class)
        .hasMessageContaining("region 'too large' needs 35,184,372,088,832 bytes of the GPU's memory");
  }

  @Test
  void aMissingDriverIsToldInOneSentence() {
    assertThatThrownBy(() -> Driver.open(Optional.of(Path.of("/nowhere/libcuda.so.1")))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("no NVIDIA driver");
  }

  @Test
  void anotherPlatformThreadMayDriveItButNoVirtualOne() throws InterruptedException {
    try (var region = device.growing("threads")) {
      var t = region.carve(DType.F32, Shape.of(5));
      var thread = new Thread(() -> device.run(new Move.Fill(t, 3)));
      thread.start();
      thread.join();
      assertThat(t.toFloats()).containsOnly(3);
      var thrown = new AtomicReference<Throwable>();
      Thread.ofVirtual().start(() -> {
        try {
          device.run(new Move.Fill(t, 4));
        } catch (IllegalStateException e) {
          thrown.set(e);
        }
      }).join();
      assertThat(thrown.get()).hasMessageContaining("platform thread");
    }
  }

  /// A slot outside the pages is a write outside every buffer: with LLM_DEBUG the exception names the kernel at once.
  @Test
  void anErrorNamesTheKernelThatCausedIt() {
    HostCuda.plants("a write outside every buffer");
    try (var region = device.reserve("pages", 1024)) {
      var pages = region.carve(DType.F32, Shape.of(1, 2, 1, 4));
      var x = region.carve(DType.F32, Shape.of(1, 1, 4));
      var slots = region.carve(DType.I32, Shape.of(1)).set(1 << 20);
      assertThatThrownBy(() -> device.run(new Attention.Store(pages, x, slots)))
          .isInstanceOf(CudaException.class).hasMessageContaining("kernel llm_attention_store failed")
          .hasMessageContaining("ILLEGAL_ADDRESS");
      host.shuffle(1);
    }
  }

  /// 21 columns: rows begin at multiples of 2 or 4 bytes, and end within eight elements.
  @Test
  void copiesAndFillsTakeAnyAddress() {
    var values = new float[3 * 21];
    for (int i = 0; i < values.length; i++) values[i] = i - 30;
    for (var from : List.of(DType.F32, DType.BF16, DType.F16)) {
      for (var to : List.of(DType.F32, DType.BF16, DType.F16)) {
        try (var region = device.growing("copies")) {
          var x = region.carve(from, Shape.of(3, 21)).set(values);
          var y = region.carve(to, Shape.of(4, 21)).set(new float[4 * 21]);
          device.run(new Move.Fill(y.slice(0, 3), 7));
          device.run(new Move.Copy(Sink.write(y.slice(1, 2)), x.slice(2, 3)));
          device.run(new Move.Copy(Sink.add(y.slice(0, 2)), x.slice(0, 2)));
          var expected = new float[4 * 21];
          for (int c = 0; c < 21; c++) {
            expected[c] = 7 + values[c];
            expected[21 + c] = values[42 + c] + values[21 + c];
            expected[42 + c] = 7;
          }
          assertThat(y.toFloats()).as("%s to %s", from, to).containsExactly(expected);
        }
      }
    }
  }

  @Test
  void anEmptyTensorLaunchesNothing() {
    try (var region = device.growing("empty")) {
      var t = region.carve(DType.F32, Shape.of(0, 3));
      device.run(new Move.Copy(Sink.write(t), t));
      device.synchronize();
    }
  }

  /// An upload returns before its bytes are on the device; the caller may write over them at once.
  @Test
  void whatWasUploadedIsWhatItWasThen() {
    var from = new byte[5_000_000];
    try (var quick = host.device("", false); var region = quick.reserve("uploads", 64L << 20)) {
      var all = new ArrayList<Tensor>();
      for (int i = 0; i < 10; i++) {
        Arrays.fill(from, (byte) i);
        int n = i % 2 == 0 ? from.length : 3;
        var t = region.carve(DType.U8, Shape.of(n));
        quick.upload(MemorySegment.ofArray(from), t);
        all.add(t);
      }
      Arrays.fill(from, (byte) 99);
      for (int i = 0; i < 10; i++) {
        var to = new byte[(int) all.get(i).bytes()];
        quick.download(all.get(i), MemorySegment.ofArray(to));
        assertThat(to).containsOnly((byte) i);
      }
    }
  }
}
