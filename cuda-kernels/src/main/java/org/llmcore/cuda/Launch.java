package org.llmcore.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Optional;
import java.util.function.Supplier;

import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// One kernel call being put together: geometry and arguments in the order of the kernel's parameters. There is one native block
/// per device, filled anew for every launch (the driver copies the arguments), so a launch allocates nothing outside the heap.
final class Launch {
  private static final int THREADS = 256;
  private static final int MOST_BLOCKS = 4096; // of kernels that stride: 30 blocks for each of the H200's 132 multiprocessors
  private static final int SLOTS = 48;
  private static final int ARGUMENT_BYTES = 2048;
  private static final int MAP_BYTES = 128; // of a CUtensorMap, and its alignment
  private static final long STREAM = 32; // offsets in CUlaunchConfig: 6 numbers of geometry, shared bytes, stream, attributes
  private static final int SHARED = 6;

  private final CudaDevice device;
  private final MemorySegment config;
  private final MemorySegment values;
  private final MemorySegment pointers;
  private final MemorySegment shape;
  private String family = "";
  private String kernel = "";
  private int count;
  private long used;

  Launch(CudaDevice device, Arena arena, long stream) {
    this.device = device;
    config = arena.allocate(56, 8);
    config.set(ValueLayout.JAVA_LONG, STREAM, stream);
    values = arena.allocate(ARGUMENT_BYTES, MAP_BYTES);
    pointers = arena.allocate(SLOTS * 8L, 8);
    shape = arena.allocate(40, 8);
  }

  CudaDevice device() {
    return device;
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

  /// Memory for one kernel's result that the next reads; it lives until the next call.
  Tensor scratch(DType dtype, Shape shape) {
    return device.scratch(dtype, shape);
  }

  /// Constants that a kernel reads, on the device from the first use on.
  Tensor table(String name, Supplier<float[]> values) {
    return device.table(name, values);
  }

  private long argument(int bytes, int alignment) {
    if (count == SLOTS) throw new IllegalStateException(kernel + " has more than " + SLOTS + " arguments");
    while (used % alignment != 0) values.set(ValueLayout.JAVA_BYTE, used++, (byte) 0); // equal calls are equal bytes
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

  /// An address, or 0 where there is none.
  Launch pointer(Optional<Tensor> t) {
    return i64(t.isPresent() ? t.get().address() : 0);
  }

  /// An address and a dtype.
  Launch tensor(Tensor t) {
    return pointer(t).i32(t.dtype().ordinal());
  }

  /// An address, a dtype and whether to add.
  Launch sink(Sink s) {
    return s.wanted() ? tensor(s.tensor()).flag(s.add()) : i64(0).i32(0).i32(0);
  }

  /// A matrix of bf16 as bulk tensor copies take it: boxes of `columns` by `rows`.
  Launch map(Tensor t, int columns, int rows) {
    long at = argument(MAP_BYTES, MAP_BYTES);
    shape.setAtIndex(ValueLayout.JAVA_LONG, 0, t.columns());
    shape.setAtIndex(ValueLayout.JAVA_LONG, 1, t.rows());
    shape.setAtIndex(ValueLayout.JAVA_LONG, 2, (long) t.columns() * t.dtype().bytes());
    shape.setAtIndex(ValueLayout.JAVA_INT, 6, columns);
    shape.setAtIndex(ValueLayout.JAVA_INT, 7, rows);
    shape.setAtIndex(ValueLayout.JAVA_INT, 8, 1);
    shape.setAtIndex(ValueLayout.JAVA_INT, 9, 1);
    device.tensorMap(values.address() + at, t.address(), shape);
    return this;
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
    device.launch(family, kernel, config.getAtIndex(ValueLayout.JAVA_INT, SHARED), this);
  }

  /// A `CUlaunchConfig`.
  MemorySegment config() {
    return config;
  }

  /// An array of addresses of the arguments.
  MemorySegment pointers() {
    return pointers;
  }

  /// The call as it was put together.
  Call call(long function) {
    var offsets = new long[count];
    for (int i = 0; i < count; i++) offsets[i] = pointers.getAtIndex(ValueLayout.JAVA_LONG, i) - values.address();
    return new Call(function, config.toArray(ValueLayout.JAVA_INT), values.asSlice(0, used).toArray(ValueLayout.JAVA_BYTE), offsets);
  }

  /// Puts a call together again.
  void restore(Call c) {
    MemorySegment.copy(c.config, 0, config, ValueLayout.JAVA_INT, 0, c.config.length);
    MemorySegment.copy(c.values, 0, values, ValueLayout.JAVA_BYTE, 0, c.values.length);
    for (int i = 0; i < c.offsets.length; i++) pointers.setAtIndex(ValueLayout.JAVA_LONG, i, values.address() + c.offsets[i]);
  }

  /// A kernel call kept for later.
  record Call(long function, int[] config, byte[] values, long[] offsets) {
    /// Whether it is the same kernel with the same geometry and arguments.
    boolean same(Call o) {
      return function == o.function && Arrays.equals(config, o.config) && Arrays.equals(values, o.values) && Arrays.equals(offsets, o.offsets);
    }
  }
}
