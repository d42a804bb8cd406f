package org.llmcore.cli;

import java.lang.foreign.MemorySegment;

import org.llmcore.op.Device;
import org.llmcore.op.Kernel;
import org.llmcore.op.WrappedDevice;
import org.llmcore.tensor.Tensor;

/// A device that throws `Interrupt.Stopped` instead of the next kernel or copy: verbs that write a result in one piece feel an
/// interrupt wherever they are.
record Interruptible(Device inner, Interrupt stop) implements WrappedDevice {
  @Override
  public void run(Kernel kernel) {
    stop.check();
    inner.run(kernel);
  }

  @Override
  public void together(Runnable work) {
    inner.together(work);
  }

  @Override
  public void upload(MemorySegment from, Tensor tensor) {
    stop.check();
    inner.upload(from, tensor);
  }

  @Override
  public void download(Tensor tensor, MemorySegment to) {
    stop.check();
    inner.download(tensor, to);
  }
}
