package org.llmcore.reference;

import java.util.TreeMap;

import org.llmcore.op.Sink;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// Elements of tensors as doubles. Usually they are loaded from memory and rounded to the tensor's dtype when stored; in exact
/// mode every tensor that was written keeps its doubles beside its bytes, so that a chain of kernels runs in f64 from end to
/// end and can be compared with finite differences.
final class Cells {
  private record Shadow(long address, int bytes, double[] values) {}

  private final boolean exact;
  private final TreeMap<Long, Shadow> shadows = new TreeMap<>();

  Cells(boolean exact) {
    this.exact = exact;
  }

  double get(Tensor t, long i) {
    if (exact) {
      long at = t.address() + i * t.dtype().bytes();
      var e = shadows.floorEntry(at);
      if (e != null && at < e.getValue().address + (long) e.getValue().values.length * e.getValue().bytes) {
        return e.getValue().values[(int) ((at - e.getValue().address) / e.getValue().bytes)];
      }
    }
    return Memory.load(t.dtype(), t.address(), i);
  }

  int index(Tensor t, long i) {
    return Memory.i32(t.address() + 4 * i);
  }

  void set(Tensor t, long i, double value) {
    Memory.store(t.dtype(), t.address(), i, (float) value);
    if (!exact) return;
    long at = t.address() + i * t.dtype().bytes();
    var e = shadows.floorEntry(at);
    if (e == null || at >= e.getValue().address + (long) e.getValue().values.length * e.getValue().bytes) {
      var values = new double[Math.toIntExact(t.elements())];
      for (int j = 0; j < values.length; j++) values[j] = get(t, j);
      var made = new Shadow(t.address(), t.dtype().bytes(), values);
      shadows.put(t.address(), made);
      values[(int) i] = value;
    } else {
      e.getValue().values[(int) ((at - e.getValue().address) / e.getValue().bytes)] = value;
    }
  }

  /// Overwrites or adds, as the sink says; does nothing if nobody wants it.
  void put(Sink s, long i, double value) {
    if (s.wanted()) set(s.tensor(), i, s.add() ? get(s.tensor(), i) + value : value);
  }
}
