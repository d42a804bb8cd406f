package org.llmcore.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.LongStream;

import org.llmcore.host.Linux;

/// The process's own memory. Large pieces on Linux lie in pages of 2 MB where the system grants them: fewer misses of address
/// translation in every kernel, and zeroed by the system in a fraction of the time.
final class HostStore implements Store {
  private static final long LARGE = 4L << 20;
  private static final long HUGE = 2L << 20;
  private static final long PART = 32L << 20; // populated by one thread

  private record Mapping(long address, long bytes) {}

  private final Arena arena = Arena.ofShared();
  private final List<Mapping> mappings = new ArrayList<>();

  @Override
  public boolean host() {
    return true;
  }

  @Override
  public long allocate(long bytes, long alignment) {
    return bytes >= LARGE && Linux.here() ? map(bytes) : arena.allocate(bytes, alignment).address();
  }

  private long map(long bytes) {
    long size = bytes + HUGE; // room to begin at a huge page
    long address = Linux.map(size);
    if (address == -1) throw new OutOfMemoryError("the system has no %,d bytes".formatted(bytes));
    mappings.add(new Mapping(address, size));
    long start = (address + HUGE - 1) / HUGE * HUGE;
    Linux.hugePages(start, bytes);
    if (!populate(start, bytes)) Memory.ALL.asSlice(start, bytes).fill((byte) 0); // touched now, not in the middle of a run
    return start;
  }

  /// By all cores: two took two thirds of the time of one, on a virtual machine (LAB.md).
  private static boolean populate(long start, long bytes) {
    return LongStream.range(0, Math.ceilDiv(bytes, PART)).parallel().allMatch(i -> Linux.populate(start + i * PART, Math.min(PART, bytes - i * PART)));
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
    for (var m : mappings) Linux.unmap(m.address, m.bytes);
    mappings.clear();
  }
}
