package org.llmcore.cuda;

import java.util.List;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

import org.llmcore.Devices;
import org.llmcore.InvalidInput;
import org.llmcore.flags.Flags;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

/// Machines without a GPU that can be used: one sentence each that says what was found and what to do.
class MissingGpuTest {
  private static final List<Long> USABLE = List.of(13000L, 1L, 80L, 0L, 4096L, 0L);
  private HostCuda host;

  @BeforeEach
  void open() {
    HostCuda.plants("a machine without a usable GPU");
    host = HostCuda.open();
    host.shuffle(1);
  }

  @AfterEach
  void usableAgain() {
    if (host != null) for (var what : HostCuda.Machine.values()) host.pretend(what, USABLE.get(what.ordinal()));
  }

  @ParameterizedTest
  @CsvSource(delimiter = '|', textBlock = """
      VERSION    | 11080 | the NVIDIA driver runs CUDA 11.8 at most             | install driver 525 or newer
      DEVICES    | 0     | the NVIDIA driver sees no GPU                        | check CUDA_VISIBLE_DEVICES
      CAPABILITY | 75    | has compute capability 7.5                           | 8.0 or newer is needed
      INIT       | 100   | the NVIDIA driver does not start                     | use --device cpu
      """)
  void isToldInOneSentence(HostCuda.Machine what, long value, String found, String hint) {
    host.pretend(what, value);
    assertThatThrownBy(() -> host.device()).isInstanceOf(InvalidInput.class).hasMessageContaining(found).hasMessageContaining(hint)
        .hasMessageContaining("--device cpu");
  }

  @Test
  void tooLittleMemoryNamesRegionNeedAndRest() {
    host.pretend(HostCuda.Machine.MEBIBYTES, 64);
    try (var device = host.device()) {
      assertThatThrownBy(() -> device.reserve("weights", 65L << 20)).isInstanceOf(InvalidInput.class)
          .hasMessageContaining("region 'weights' needs 68,157,440 bytes of the GPU's memory and 67,108,864 are free")
          .hasMessageContaining("--device cpu");
    }
  }

  @Test
  void aGpuThatAnotherProgramHoldsIsToldToo() {
    host.pretend(HostCuda.Machine.CONTEXT, 2);
    assertThatThrownBy(() -> Devices.open(Flags.Kind.CUDA, 1)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("the GPU cannot be used: cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY");
  }

  /// The host driver is the process's libcuda once a test has opened it.
  @Test
  void autoTakesTheProcessorWhereCudaInsists() {
    host.pretend(HostCuda.Machine.VERSION, 11080);
    try (var device = Devices.open(Flags.Kind.AUTO, 1)) {
      assertThat(device.name()).startsWith("cpu");
    }
    assertThatThrownBy(() -> Devices.open(Flags.Kind.CUDA, 1)).isInstanceOf(InvalidInput.class).hasMessageContaining("CUDA 11.8 at most");
  }
}
