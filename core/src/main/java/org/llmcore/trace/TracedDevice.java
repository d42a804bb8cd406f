package org.llmcore.trace;

import java.util.function.Consumer;

import org.llmcore.op.Device;
import org.llmcore.op.Kernel;
import org.llmcore.op.WrappedDevice;

/// Times every kernel, waiting for each to finish, and tells a meter; usually one that makes a table of it (`TraceTable`).
public final class TracedDevice implements WrappedDevice {
  /// Hears of every kernel.
  public interface Meter {
    void ran(Kernel kernel, long nanos);

    /// The device is closed.
    default void end() {}
  }

  private final Device inner;
  private final Meter meter;

  /// Prints a table at the end.
  /// @param out receives lines for people
  /// @param each whether to print a line per call as well
  public TracedDevice(Device inner, Consumer<String> out, boolean each) {
    this(inner, new TraceTable(out, each));
  }

  public TracedDevice(Device inner, Meter meter) {
    this.inner = inner;
    this.meter = meter;
  }

  /// The least a kernel moves, in bytes, if it touches every tensor of the call once.
  public static long bytes(Kernel kernel) {
    return Operands.of(kernel).bytes();
  }

  @Override
  public void run(Kernel kernel) {
    inner.synchronize();
    long begun = System.nanoTime();
    inner.run(kernel);
    inner.synchronize();
    meter.ran(kernel, System.nanoTime() - begun);
  }

  @Override
  public Device inner() {
    return inner;
  }

  @Override
  public String name() {
    return inner.name() + ", traced";
  }

  @Override
  public void close() {
    meter.end();
    inner.close();
  }
}
