package org.llmcore.op;

import java.lang.foreign.MemorySegment;

import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// Something that runs kernels. Implementations differ in speed, never in meaning; `ReferenceDevice` is the meaning.
/// Kernels run in the order given; `run` may return before the work is done, `synchronize` waits. One thread drives a device.
public interface Device extends AutoCloseable {
  /// What it is, for people: `cpu vector 512 bit, 2 workers`.
  String name();

  /// A fixed region of this device's memory.
  Region reserve(String name, long bytes);

  /// A region of this device's memory that takes more as needed: for what has no plan.
  Region growing(String name);

  /// Runs one kernel.
  void run(Kernel kernel);

  /// Runs work that comes again and again with other data, as a decode step does: a device may keep its kernels back and give
  /// them to the hardware at once. Results are those of `work.run()`.
  default void together(Runnable work) {
    work.run();
  }

  /// Copies `tensor.bytes()` bytes from host memory to a tensor of this device.
  void upload(MemorySegment from, Tensor tensor);

  /// Copies `tensor.bytes()` bytes of a tensor of this device to host memory, after all kernels before it.
  void download(Tensor tensor, MemorySegment to);

  /// Waits until all kernels given so far are done.
  void synchronize();

  /// Frees what the device holds; regions are closed by their owners.
  @Override
  void close();
}
