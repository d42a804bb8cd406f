package org.llmcore;

import java.util.List;
import java.util.ServiceLoader;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.flags.Flags;
import org.llmcore.op.Device;
import org.llmcore.op.DeviceProvider;
import org.llmcore.op.HostDevice;
import org.llmcore.reference.ReferenceDevice;
import org.llmcore.trace.CheckedDevice;
import org.llmcore.trace.TracedDevice;

/// Opens the device the environment asks for (`Flags`), with the checks and the trace it asks for.
public final class Devices {
  private static final int MOST_WORKERS = 1024;

  private Devices() {}

  /// With the environment's number of workers.
  public static Device open() {
    return open(Flags.threads());
  }

  /// With this many workers.
  /// @throws InvalidInput if there are none, or more than any machine has
  public static Device open(int workers) {
    return open(Flags.device(), workers);
  }

  /// Of this kind, whatever the environment says about it.
  /// @throws InvalidInput if CUDA is asked for and this machine or this build cannot; one sentence says why
  public static Device open(Flags.Kind kind, int workers) {
    if (workers < 1 || workers > MOST_WORKERS) throw new InvalidInput(workers + " worker threads", "expected 1 to " + MOST_WORKERS + ", usually one per core");
    var device = switch (kind) {
      case CPU -> checked(CpuDevice.open(workers));
      case REFERENCE -> checked(new ReferenceDevice());
      case CUDA -> cuda();
      case AUTO -> {
        Device found;
        try {
          found = cuda();
        } catch (InvalidInput _) {
          found = checked(CpuDevice.open(workers)); // none that can be used; `inspect --device` says why
        }
        yield found;
      }
    };
    return Flags.debug() < 2 ? device : new TracedDevice(device, System.err::println, Flags.debug() > 2);
  }

  private static Device checked(HostDevice device) {
    return Flags.check() == Flags.Check.NONE ? device : new CheckedDevice(device, Flags.check() == Flags.Check.REFERENCE);
  }

  private static Device cuda() {
    if (Flags.check() != Flags.Check.NONE) throw new InvalidInput("LLM_CHECK reads every tensor in host memory", "unset it, or use --device cpu");
    return providers().stream().filter(p -> p.name().equals("cuda")).findFirst()
        .orElseThrow(() -> new InvalidInput("this build has no CUDA device", "use --device cpu"))
        .open();
  }

  /// The devices other modules bring.
  public static List<DeviceProvider> providers() {
    return ServiceLoader.load(DeviceProvider.class).stream().map(ServiceLoader.Provider::get).toList();
  }
}
