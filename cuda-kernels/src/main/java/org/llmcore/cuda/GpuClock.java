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
    return micros(work, 1);
  }

  /// Microseconds of one of so many runs of `work` in a row: the first event is stamped on an idle device before the host has made its first call,
  /// so what that call costs the host is in the measure once, not every time.
  public double micros(Runnable work, int times) {
    device.record(from);
    for (int i = 0; i < times; i++) work.run();
    device.record(to);
    return device.micros(from, to) / times;
  }

  @Override
  public void close() {
    device.destroyEvent(from);
    device.destroyEvent(to);
  }
}
