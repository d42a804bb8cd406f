package org.llmcore.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/// A dense row-major array of one dtype in a region. A tensor is a view: shape and dtype are immutable, the bytes are not.
///
/// `tracked` says that a gradient is wanted. `node` is the identity under which a pass keeps that gradient; a reshaped view
/// shares the node of its origin, so both have one gradient.
public final class Tensor implements Weight {
  private final Region region;
  private final long position;
  private final long address;
  private final int epoch;
  private final DType dtype;
  private final Shape shape;
  private final boolean tracked;
  private final Object node;

  Tensor(Region region, long position, long address, int epoch, DType dtype, Shape shape, boolean tracked, Object node) {
    this.region = region;
    this.position = position;
    this.address = address;
    this.epoch = epoch;
    this.dtype = dtype;
    this.shape = shape;
    this.tracked = tracked;
    this.node = node;
  }

  /// Address of the first element.
  /// @throws IllegalStateException if the region was reset, released below this tensor or closed
  public long address() {
    if (!region.live(position, bytes(), epoch)) {
      throw new IllegalStateException("tensor " + this + " is used after region '" + region.name() + "' released it");
    }
    return address;
  }

  /// The bytes of this tensor, in place: host memory only.
  public MemorySegment segment() {
    if (region.backed() && !region.host()) {
      throw new IllegalStateException("tensor " + this + " of region '" + region.name() + "' lies in device memory: download it");
    }
    if (!region.backed()) throw new IllegalStateException("tensor " + this + " of measuring region '" + region.name() + "' has no bytes");
    return Memory.ALL.asSlice(address(), bytes());
  }

  public DType dtype() {
    return dtype;
  }

  public Shape shape() {
    return shape;
  }

  /// The region it was carved from.
  public Region region() {
    return region;
  }

  /// Whether a gradient is wanted.
  public boolean tracked() {
    return tracked;
  }

  /// Identity of its gradient.
  public Object node() {
    return node;
  }

  /// Number of elements.
  public long elements() {
    return shape.elements();
  }

  @Override
  public long bytes() {
    return shape.elements() * dtype.bytes();
  }

  /// Product of all dimensions but the last.
  public int rows() {
    return shape.rows();
  }

  /// The last dimension.
  public int columns() {
    return shape.columns();
  }

  /// Dimension `axis`; negative axes count from the end.
  public int dim(int axis) {
    return shape.dim(axis);
  }

  /// The same elements under another shape; shares the gradient.
  /// @throws IllegalArgumentException if the number of elements differs
  public Tensor reshape(int... dims) {
    var s = Shape.of(dims);
    if (s.elements() != elements()) throw new IllegalArgumentException("cannot reshape " + shape + " to " + s);
    return new Tensor(region, position, address, epoch, dtype, s, tracked, node);
  }

  /// Rows `[from, to)` of the outermost dimension: a view without a gradient of its own.
  public Tensor slice(int from, int to) {
    if (from < 0 || to < from || to > shape.dim(0)) throw new IllegalArgumentException("rows [" + from + ", " + to + ") of " + shape);
    long skip = elements() / Math.max(1, shape.dim(0)) * from * dtype.bytes();
    return new Tensor(region, position + skip, address + skip, epoch, dtype, shape.with(0, to - from), false, new Object());
  }

  /// The same bytes seen as a constant: no gradient flows through the result.
  public Tensor detached() {
    return tracked ? new Tensor(region, position, address, epoch, dtype, shape, false, new Object()) : this;
  }

  /// The same bytes as a leaf whose gradient is wanted.
  public Tensor trainable() {
    return new Tensor(region, position, address, epoch, dtype, shape, true, new Object());
  }

  /// The same bytes with a gradient of its own: a second use of one parameter.
  public Tensor twin() {
    return tracked ? new Tensor(region, position, address, epoch, dtype, shape, true, new Object()) : this;
  }

  /// Same bytes, shape and gradient, tracked as asked: how a pass marks its results.
  public Tensor tracked(boolean tracked) {
    return tracked == this.tracked ? this : new Tensor(region, position, address, epoch, dtype, shape, tracked, node);
  }

  /// Copies values in, converting to this dtype.
  public Tensor set(float... values) {
    if (values.length != elements()) throw new IllegalArgumentException(values.length + " values for shape " + shape);
    try (var staging = Arena.ofConfined()) {
      var at = region.host() ? segment() : staging.allocate(Math.max(1, bytes()), 8);
      for (int i = 0; i < values.length; i++) Memory.store(dtype, at.address(), i, values[i]);
      if (!region.host()) region.store().upload(at.asSlice(0, bytes()), address());
    }
    return this;
  }

  /// Copies integers in; for I32.
  public Tensor set(int... values) {
    if (dtype != DType.I32 || values.length != elements()) throw new IllegalArgumentException(values.length + " integers for " + this);
    region.store().upload(MemorySegment.ofArray(values), address());
    return this;
  }

  /// Copies bytes in; for U8.
  public Tensor set(byte... values) {
    if (dtype != DType.U8 || values.length != elements()) throw new IllegalArgumentException(values.length + " bytes for " + this);
    region.store().upload(MemorySegment.ofArray(values), address());
    return this;
  }

  /// All elements as f32.
  public float[] toFloats() {
    var out = new float[Math.toIntExact(elements())];
    try (var staging = Arena.ofConfined()) {
      long a = here(staging, address(), bytes()).address();
      for (int i = 0; i < out.length; i++) out[i] = Memory.load(dtype, a, i);
    }
    return out;
  }

  /// All elements of an I32 tensor.
  public int[] toInts() {
    if (dtype != DType.I32) throw new IllegalArgumentException("not I32: " + this);
    try (var staging = Arena.ofConfined()) {
      return here(staging, address(), bytes()).toArray(ValueLayout.JAVA_INT_UNALIGNED);
    }
  }

  /// Element `index` in row-major order; one transfer each where the tensor lies in device memory.
  public float get(long index) {
    if (index < 0 || index >= elements()) throw new IndexOutOfBoundsException("element " + index + " of " + shape);
    if (region.host()) return Memory.load(dtype, address(), index);
    try (var staging = Arena.ofConfined()) {
      return Memory.load(dtype, here(staging, address() + index * dtype.bytes(), dtype.bytes()).address(), 0);
    }
  }

  /// Bytes of this tensor as host memory: in place, or fetched.
  private MemorySegment here(Arena staging, long from, long bytes) {
    if (region.host()) return Memory.ALL.asSlice(from, bytes);
    var copy = staging.allocate(Math.max(1, bytes), 8).asSlice(0, bytes);
    region.store().download(from, copy);
    return copy;
  }

  /// For example `F32(4, 2048)`.
  @Override
  public String toString() {
    return dtype + shape.toString();
  }
}
