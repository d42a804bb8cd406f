package org.llmcore.cli;

import java.util.Optional;

import picocli.CommandLine.Option;

import org.llmcore.Devices;
import org.llmcore.flags.Flags;
import org.llmcore.op.Device;

/// The option that says what runs the kernels; without it the environment does (LLM_DEVICE).
final class OnDevice {
  @Option(names = "--device", paramLabel = "KIND",
      description = "cpu, cuda (fails if no GPU can be used), auto (cuda where one can), reference; "
          + "default: LLM_DEVICE, else cpu")
  private Optional<Flags.Kind> kind = Optional.empty();

  /// @param threads workers of the CPU device, if the user said
  Device open(Optional<Integer> threads) {
    return Devices.open(kind.orElseGet(Flags::device), threads.orElseGet(Flags::threads));
  }
}
