package org.llmcore.cuda;

import java.lang.foreign.MemorySegment;

/// Copies between host and device through pinned memory, which the GPU reads and writes by itself, in two halves: while the GPU
/// copies one, the host fills or empties the other. An upload returns as soon as its bytes are in pinned memory, so small ones,
/// as every decode step has, cost no waiting; a half is used again when the stream has come past the event behind its copies.
final class Staging implements AutoCloseable {
  private static final long PIECE = 256; // copies begin at multiples of it

  private final Driver driver;
  private final long stream;
  private final MemorySegment pinned;
  private final long size;
  private final long[] behind;
  private int half;
  private long used;

  /// @param size bytes of a half
  Staging(Driver driver, long stream, long size) {
    this.driver = driver;
    this.stream = stream;
    this.size = size;
    this.pinned = driver.pinned(2 * size);
    this.behind = new long[] {driver.event(false), driver.event(false)};
  }

  /// Puts a copy of `from` into the stream; `from` may change when this returns.
  void up(MemorySegment from, long address) {
    for (long at = 0; at < from.byteSize();) {
      if (used == size) turn();
      long n = Math.min(size - used, from.byteSize() - at);
      var piece = pinned.asSlice(half * size + used, n);
      piece.copyFrom(from.asSlice(at, n));
      driver.copyIn(address + at, piece, n, stream);
      used = Math.min(size, (used + n + PIECE - 1) / PIECE * PIECE);
      at += n;
    }
  }

  /// Fills `to`, after everything in the stream.
  void down(long address, MemorySegment to) {
    long n = begin(address, to, 0);
    for (long at = 0; at < to.byteSize();) {
      int full = half;
      long next = at + n;
      long more = begin(address, to, next);
      if (more > 0) driver.await(behind[full]);
      else driver.synchronize(stream);
      to.asSlice(at, n).copyFrom(pinned.asSlice(full * size, n));
      at = next;
      n = more;
    }
  }

  /// Puts the copy of a piece into the stream, in the half that is free.
  /// @return its bytes
  private long begin(long address, MemorySegment to, long at) {
    long n = Math.min(size, to.byteSize() - at);
    if (n == 0) return 0;
    turn();
    driver.copyOut(pinned.asSlice(half * size, n), address + at, n, stream);
    used = size;
    return n;
  }

  /// To the other half, when its copies are done.
  private void turn() {
    driver.record(behind[half], stream);
    half = 1 - half;
    driver.await(behind[half]);
    used = 0;
  }

  @Override
  public void close() {
    for (long e : behind) driver.destroyEvent(e);
    driver.releasePinned(pinned);
  }
}
