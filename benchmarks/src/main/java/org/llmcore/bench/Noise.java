package org.llmcore.bench;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.EnumMap;
import java.util.Map;

import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Random values for tensors of any size: one block, uploaded again and again. Zeros would run faster than what a model
/// computes with, because a GPU that flips fewer bits takes less power.
final class Noise implements AutoCloseable {
  private static final int BLOCK = 1 << 20;

  private final Device device;
  private final Arena arena = Arena.ofConfined();
  private final Map<DType, MemorySegment> blocks = new EnumMap<>(DType.class);

  Noise(Device device) {
    this.device = device;
  }

  /// A tensor of values in ±0.5; bytes and ids are below 64.
  Tensor carve(Region region, DType dtype, int... dims) {
    return fill(region.carve(dtype, Shape.of(dims)));
  }

  Tensor fill(Tensor t) {
    var block = blocks.computeIfAbsent(t.dtype(), this::block);
    long rows = (t.elements() + BLOCK - 1) / BLOCK;
    for (long r = 0; r < rows; r++) {
      int n = (int) Math.min(BLOCK, t.elements() - r * BLOCK);
      device.upload(block, slice(t, r * BLOCK, n));
    }
    return t;
  }

  private static Tensor slice(Tensor t, long from, int n) {
    int whole = Math.toIntExact(t.elements());
    return t.reshape(whole).slice(Math.toIntExact(from), Math.toIntExact(from + n));
  }

  private MemorySegment block(DType dtype) {
    var bytes = arena.allocate((long) BLOCK * dtype.bytes(), 64);
    try (var region = Region.growing("noise")) {
      var t = region.carve(dtype, Shape.of(BLOCK));
      if (dtype == DType.I32) {
        var ids = new int[BLOCK];
        for (int i = 0; i < BLOCK; i++) ids[i] = (int) (64 * Dropout.uniform(4, i));
        t.set(ids);
      } else if (dtype == DType.U8) {
        var b = new byte[BLOCK];
        for (int i = 0; i < BLOCK; i++) b[i] = (byte) (64 * Dropout.uniform(4, i));
        t.set(b);
      } else {
        var values = new float[BLOCK];
        for (int i = 0; i < BLOCK; i++) values[i] = Dropout.uniform(3, i) - 0.5f;
        t.set(values);
      }
      return bytes.copyFrom(t.segment());
    }
  }

  @Override
  public void close() {
    arena.close();
  }
}
