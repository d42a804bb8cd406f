package org.llmcore.cuda;

import java.util.Optional;

import org.llmcore.op.Device;

/// Time as the GPU counts it: between two events in the stream of a device, so that neither the host nor the launch is measured.
public final class GpuClock implements AutoCloseable {
  private final CudaDevice device;
  private final long from;
  private final long to;

  private GpuClock(CudaDevice device) {
    this.device = device;
    this.from = device.event();
    this.to = device.event();
  }

  /// A clock of the device, if that is a GPU.
  public static Optional<GpuClock> of(Device device) {
    return device instanceof CudaDevice cuda ? Optional.of(new GpuClock(cuda)) : Optional.empty();
  }

  /// The vendor's library in the stream of the device, to measure ours by.
  /// @param where a library file, a folder of one, or empty for what the system finds
  /// @throws org.llmcore.InvalidInput if there is none
  public VendorBlas blas(Optional<String> where) {
    return device.blas(where);
  }

  /// Microseconds from the first to the last kernel that `work` gives to the device.
  public double micros(Runnable work) {
    device.record(from);
    work.run();
    device.record(to);
    return device.micros(from, to);
  }

  @Override
  public void close() {
    device.destroyEvent(from);
    device.destroyEvent(to);
  }
}
