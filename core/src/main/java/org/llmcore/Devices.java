package org.llmcore;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.flags.Flags;
import org.llmcore.op.Device;
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
    if (workers < 1 || workers > MOST_WORKERS) throw new InvalidInput(workers + " worker threads", "expected 1 to " + MOST_WORKERS + ", usually one per core");
    HostDevice device = Flags.device() == Flags.Kind.REFERENCE ? new ReferenceDevice() : CpuDevice.open(workers);
    if (Flags.check() != Flags.Check.NONE) device = new CheckedDevice(device, Flags.check() == Flags.Check.REFERENCE);
    return Flags.debug() < 2 ? device : new TracedDevice(device, System.err::println, Flags.debug() > 2);
  }
}
