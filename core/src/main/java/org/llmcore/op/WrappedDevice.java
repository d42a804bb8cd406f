package org.llmcore.op;

import java.lang.foreign.MemorySegment;

import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// A device that hands every call to another one, but for those it has its own word on; `together` is one of them, since kernels that are
/// held back cannot be looked at one by one.
public interface WrappedDevice extends Device {
  Device inner();

  @Override
  default String name() {
    return inner().name();
  }

  @Override
  default Region reserve(String name, long bytes) {
    return inner().reserve(name, bytes);
  }

  @Override
  default Region growing(String name) {
    return inner().growing(name);
  }

  @Override
  default void upload(MemorySegment from, Tensor tensor) {
    inner().upload(from, tensor);
  }

  @Override
  default void download(Tensor tensor, MemorySegment to) {
    inner().download(tensor, to);
  }

  @Override
  default void synchronize() {
    inner().synchronize();
  }

  @Override
  default void close() {
    inner().close();
  }
}
