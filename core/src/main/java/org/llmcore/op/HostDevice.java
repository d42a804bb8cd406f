package org.llmcore.op;

import java.lang.foreign.MemorySegment;

import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// A device whose memory is the process's own and whose kernels are done when `run` returns.
public interface HostDevice extends Device {
  @Override
  default Region reserve(String name, long bytes) {
    return Region.fixed(name, bytes);
  }

  @Override
  default Region growing(String name) {
    return Region.growing(name);
  }

  @Override
  default void upload(MemorySegment from, Tensor tensor) {
    MemorySegment.copy(from, 0, tensor.segment(), 0, tensor.bytes());
  }

  @Override
  default void download(Tensor tensor, MemorySegment to) {
    MemorySegment.copy(tensor.segment(), 0, to, 0, tensor.bytes());
  }

  @Override
  default void synchronize() {}

  @Override
  default void close() {}
}
