package org.llmcore.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/// The process's own memory.
final class HostStore implements Store {
  private final Arena arena = Arena.ofShared();

  @Override
  public boolean host() {
    return true;
  }

  @Override
  public long allocate(long bytes, long alignment) {
    return arena.allocate(bytes, alignment).address();
  }

  @Override
  public void upload(MemorySegment from, long address) {
    MemorySegment.copy(from, 0, Memory.ALL, address, from.byteSize());
  }

  @Override
  public void download(long address, MemorySegment to) {
    MemorySegment.copy(Memory.ALL, address, to, 0, to.byteSize());
  }

  @Override
  public void close() {
    arena.close();
  }
}
