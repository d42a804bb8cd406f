package org.llmcore.tensor;

import java.lang.foreign.MemorySegment;

/// Where a region's bytes come from, and how the host reaches them where they are not its own.
public interface Store extends AutoCloseable {
  /// Whether addresses are those of the process: then tensors are read and written in place.
  boolean host();

  /// Zeroed bytes that live until `close`.
  /// @return their address, a multiple of `alignment`
  /// @throws OutOfMemoryError if there is no room
  long allocate(long bytes, long alignment);

  /// Bytes of the next chunk of a growing region that has `chunks` already and needs `bytes` more.
  default long chunk(long bytes, int chunks) {
    return Math.max(bytes, 1L << 20 << Math.min(chunks, 8));
  }

  /// Copies all of `from` to an address of this store.
  void upload(MemorySegment from, long address);

  /// Fills `to` from an address of this store, after all kernels given before.
  void download(long address, MemorySegment to);

  /// Frees everything.
  @Override
  void close();
}
