package org.llmcore.tensor;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// Memory owned by lifetime, not by object: a bump cursor over a few large chunks. Tensors are carved from it and never
/// freed one by one; `reset` frees all, `release(mark)` frees what was carved since `mark`.
///
/// | kind        | made by               | grows | holds bytes | for                                             |
/// |-------------|-----------------------|-------|-------------|-------------------------------------------------|
/// | fixed       | `Device.reserve`      | no    | yes         | weights, training state, step, cache            |
/// | growing     | `Region.growing`      | yes   | yes         | experiments, tests, anything without a plan     |
/// | measuring   | `Region.measuring`    | yes   | no          | the memory plan: the same code, only counted    |
///
/// The bytes come from a `Store`: the process's own memory, or that of an accelerator.
///
/// Every carve is aligned to 64 bytes (a cache line, an AVX-512 vector). Not thread-safe: one thread drives a pass.
public final class Region implements AutoCloseable {
  private static final int ALIGNMENT = 64;

  private record Chunk(long start, long end, long address) {}

  private final String name;
  private final long limit;
  private final Optional<Store> store;
  private final List<Chunk> chunks = new ArrayList<>();
  private Chunk chunk = new Chunk(0, 0, 0);
  private long cursor;
  private long high;
  private int epoch;
  private boolean closed;

  private Region(String name, long limit, Optional<Store> store) {
    this.name = name;
    this.limit = limit;
    this.store = store;
  }

  /// A region of exactly `bytes`, allocated (and zeroed) now.
  /// @throws OutOfMemoryError if the machine refuses
  public static Region fixed(String name, long bytes) {
    return fixed(name, bytes, new HostStore());
  }

  /// The same in the memory of `store`, which the region closes.
  public static Region fixed(String name, long bytes, Store store) {
    var r = new Region(name, bytes, Optional.of(store));
    r.extend(bytes);
    return r;
  }

  /// A region that allocates further chunks as needed.
  public static Region growing(String name) {
    return growing(name, new HostStore());
  }

  /// The same in the memory of `store`, which the region closes.
  public static Region growing(String name, Store store) {
    return new Region(name, Long.MAX_VALUE, Optional.of(store));
  }

  /// A region without memory that only counts: tensors carved from it have shapes and sizes but must not be read.
  public static Region measuring(String name) {
    var r = new Region(name, Long.MAX_VALUE, Optional.empty());
    r.chunk = new Chunk(0, Long.MAX_VALUE, ALIGNMENT);
    r.chunks.add(r.chunk);
    return r;
  }

  /// A tensor of undefined content.
  /// @throws IllegalStateException if a fixed region is too small; names region, need and free bytes
  public Tensor carve(DType dtype, Shape shape) {
    return carve(dtype, shape, false);
  }

  /// A tensor whose gradient is wanted: a trainable parameter.
  public Tensor parameter(DType dtype, Shape shape) {
    return carve(dtype, shape, true);
  }

  Tensor carve(DType dtype, Shape shape, boolean tracked) {
    long bytes = Math.multiplyExact(shape.elements(), dtype.bytes());
    long address = carve(bytes);
    return new Tensor(this, cursor - align(bytes), address, epoch, dtype, shape, tracked, new Object());
  }

  /// Bytes of undefined content, for those that need no tensor.
  /// @return their address, a multiple of 64
  /// @throws IllegalStateException if a fixed region is too small
  public long carve(long bytes) {
    if (closed) throw new IllegalStateException("region " + name + " is closed");
    if (bytes < 0) throw new IllegalArgumentException(bytes + " bytes of region " + name);
    long padded = align(bytes);
    if (cursor + padded > chunk.end) advance(padded);
    long address = chunk.address + (cursor - chunk.start);
    cursor += padded;
    high = Math.max(high, cursor);
    return address;
  }

  /// Bytes that `carve` takes for a tensor of this size.
  public static long align(long bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

  private void advance(long padded) {
    for (var c : chunks) {
      if (c.start >= chunk.end && c.end - c.start >= padded && c.start >= cursor) {
        chunk = c;
        cursor = c.start;
        return;
      }
    }
    if (limit != Long.MAX_VALUE) {
      throw new IllegalStateException(
          "region '%s' is full: %,d bytes needed, %,d of %,d free".formatted(name, padded, limit - cursor, limit));
    }
    extend(store().chunk(padded, chunks.size()));
  }

  private void extend(long bytes) {
    long size = Math.max(align(bytes), ALIGNMENT);
    long start = chunks.isEmpty() ? 0 : chunks.getLast().end;
    chunk = new Chunk(start, start + size, store().allocate(size, ALIGNMENT));
    chunks.add(chunk);
    cursor = start;
  }

  /// The cursor, to `release` to later.
  public long mark() {
    return cursor;
  }

  /// Frees everything carved since `mark`; those tensors are dead.
  public void release(long mark) {
    if (mark > cursor) throw new IllegalArgumentException("mark " + mark + " lies above the cursor " + cursor + " of region " + name);
    cursor = mark;
    for (var c : chunks) {
      if (mark >= c.start && mark <= c.end) {
        chunk = c;
        return;
      }
    }
  }

  /// Frees everything; a tensor that is used afterwards is caught by its epoch.
  public void reset() {
    release(0);
    epoch++;
  }

  /// What this region is for, as memory plans and errors print it.
  public String name() {
    return name;
  }

  /// Bytes carved now.
  public long used() {
    return cursor;
  }

  /// The most bytes ever carved at once.
  public long high() {
    return high;
  }

  /// Whether the tensors carved here have memory behind them.
  public boolean backed() {
    return store.isPresent();
  }

  /// Whether an address of this region is one of the process's own memory.
  public boolean host() {
    return store.isPresent() && store.get().host();
  }

  /// The memory behind it.
  /// @throws IllegalStateException if it only counts
  Store store() {
    return store.orElseThrow(() -> new IllegalStateException("measuring region '" + name + "' has no bytes"));
  }

  boolean live(long position, long bytes, int epoch) {
    return !closed && this.epoch == epoch && position + bytes <= cursor;
  }

  @Override
  public void close() {
    if (closed) return;
    closed = true;
    store.ifPresent(Store::close);
  }
}
