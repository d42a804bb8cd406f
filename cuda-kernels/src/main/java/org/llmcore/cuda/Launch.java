package org.llmcore.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

import org.llmcore.op.Sink;
import org.llmcore.tensor.Tensor;

/// One kernel call being put together: geometry and arguments in the order of the kernel's parameters. There is one native block
/// per
/// device, filled anew for every launch (the driver copies the arguments), so a launch allocates nothing outside the heap.
final class Launch {
  private static final int THREADS = 256;
  private static final int MOST_BLOCKS = 4096; // of kernels that stride: 30 blocks for each of the H200's 132 multiprocessors
  private static final int SLOTS = 48;
  private static final int ARGUMENT_BYTES = 2048;
  private static final long STREAM = 32; // offsets in CUlaunchConfig: 6 numbers of geometry, shared bytes, stream, attributes
  private static final int SHARED = 6;

  private final CudaDevice device;
  private final MemorySegment config;
  private final MemorySegment values;
  private final MemorySegment pointers;
  private String family = "";
  private String kernel = "";
  private int count;
  private long used;

  Launch(CudaDevice device, Arena arena, long stream) {
    this.device = device;
    config = arena.allocate(56, 8);
    config.set(ValueLayout.JAVA_LONG, STREAM, stream);
    values = arena.allocate(ARGUMENT_BYTES, 64);
    pointers = arena.allocate(SLOTS * 8L, 8);
  }

  /// Begins a call of the kernel `llm_<name>` of the source file `<family>.cu`.
  Launch of(String family, String name) {
    this.family = family;
    this.kernel = "llm_" + name;
    count = 0;
    used = 0;
    return grid(1, 1, 1).threads(THREADS).shared(0);
  }

  /// The address of device memory for what the next kernels hand to each other; the next caller gets the same.
  long scratch(long bytes) {
    return device.scratch(bytes);
  }

  /// Blocks of 256 threads that stride over n elements.
  Launch over(long n) {
    return grid(Math.clamp((n + THREADS - 1) / THREADS, 0, MOST_BLOCKS), 1, 1);
  }

  Launch grid(long x, long y, long z) {
    config.setAtIndex(ValueLayout.JAVA_INT, 0, Math.toIntExact(x));
    config.setAtIndex(ValueLayout.JAVA_INT, 1, Math.toIntExact(y));
    config.setAtIndex(ValueLayout.JAVA_INT, 2, Math.toIntExact(z));
    return this;
  }

  Launch threads(int x) {
    return threads(x, 1);
  }

  Launch threads(int x, int y) {
    config.setAtIndex(ValueLayout.JAVA_INT, 3, x);
    config.setAtIndex(ValueLayout.JAVA_INT, 4, y);
    config.setAtIndex(ValueLayout.JAVA_INT, 5, 1);
    return this;
  }

  /// Bytes of dynamic shared memory.
  Launch shared(int bytes) {
    config.setAtIndex(ValueLayout.JAVA_INT, SHARED, bytes);
    return this;
  }

  private long argument(int bytes, int alignment) {
    if (count == SLOTS) throw new IllegalStateException(kernel + " has more than " + SLOTS + " arguments");
    used = (used + alignment - 1) / alignment * alignment;
    pointers.setAtIndex(ValueLayout.JAVA_LONG, count++, values.address() + used);
    long at = used;
    used += bytes;
    return at;
  }

  /// An address.
  Launch pointer(Tensor t) {
    return i64(t.address());
  }

  /// An address, or 0 where nobody wants the result.
  Launch pointer(Sink s) {
    return i64(s.wanted() ? s.tensor().address() : 0);
  }

  /// An address and a dtype.
  Launch tensor(Tensor t) {
    return pointer(t).i32(t.dtype().ordinal());
  }

  /// An address, a dtype and whether to add.
  Launch sink(Sink s) {
    return s.wanted() ? tensor(s.tensor()).flag(s.add()) : i64(0).i32(0).i32(0);
  }

  Launch i32(int v) {
    values.set(ValueLayout.JAVA_INT, argument(4, 4), v);
    return this;
  }

  Launch flag(boolean v) {
    return i32(v ? 1 : 0);
  }

  Launch i64(long v) {
    values.set(ValueLayout.JAVA_LONG, argument(8, 8), v);
    return this;
  }

  Launch f32(float v) {
    values.set(ValueLayout.JAVA_FLOAT, argument(4, 4), v);
    return this;
  }

  /// A struct of numbers of 64 bits.
  Launch struct(long... v) {
    long at = argument(8 * v.length, 8);
    for (int i = 0; i < v.length; i++) values.set(ValueLayout.JAVA_LONG, at + 8L * i, v[i]);
    return this;
  }

  /// Puts it into the stream. A grid without blocks does nothing.
  void run() {
    for (int i = 0; i < 3; i++) if (config.getAtIndex(ValueLayout.JAVA_INT, i) == 0) return;
    device.launch(family, kernel, config.getAtIndex(ValueLayout.JAVA_INT, SHARED), config, pointers);
  }
}
