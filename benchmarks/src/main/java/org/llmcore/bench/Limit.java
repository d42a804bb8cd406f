package org.llmcore.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;

import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

import org.llmcore.flags.Flags;
import org.llmcore.op.Device;
import org.llmcore.op.Kernel;
import org.llmcore.trace.TracedDevice;

/// What one call of a benchmark cannot do without (`Cost`), and the least time that takes here by the peaks of arithmetic and memory,
/// which each fork measures before its first iteration. JMH adds these numbers up over `iterations`; `Main` divides.
@State(Scope.Thread)
@AuxCounters(AuxCounters.Type.EVENTS)
public class Limit implements TracedDevice.Meter {
  private final List<Cost> costs = new ArrayList<>();
  private Peaks peaks;

  @Setup(Level.Trial)
  public void measure() {
    peaks = Peaks.measure(Flags.threads());
  }

  /// Does the call; the first time on a device that counts its kernels.
  <T> T call(Device device, Function<Device, T> call) {
    return call.apply(costs.isEmpty() ? new TracedDevice(device, this) : device);
  }

  /// Runs a call of one kernel.
  void run(Device device, Kernel kernel) {
    if (costs.isEmpty()) costs.add(Cost.of(kernel));
    device.run(kernel);
  }

  @Override
  public void ran(Kernel kernel, long nanos) {
    costs.add(Cost.of(kernel));
  }

  /// One an iteration.
  public double iterations() {
    return 1;
  }

  /// Operations of a call.
  public double flops() {
    return costs.stream().mapToDouble(Cost::flops).sum();
  }

  /// Bytes of a call.
  public double bytes() {
    return costs.stream().mapToDouble(Cost::bytes).sum();
  }

  /// The least nanoseconds a call could take.
  public double least() {
    return costs.stream().mapToDouble(peaks::nanos).sum();
  }

  /// How many of those are for memory's sake.
  public double memory() {
    return costs.stream().filter(peaks::memory).mapToDouble(peaks::nanos).sum();
  }
}
