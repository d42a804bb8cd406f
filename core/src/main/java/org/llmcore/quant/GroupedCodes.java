package org.llmcore.quant;

import java.lang.foreign.MemorySegment;
import java.util.Optional;

import org.llmcore.op.Device;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// The host form of a `Grouped` matrix: w[o,i] = scales[o,g]·(q[o,i] − zeros[o,g]).
///
/// @param bits 2, 3, 4 or 8
/// @param q codes (outputs, inputs) row-major, one per byte, unsigned
/// @param scales (outputs, groups); rounded when uploaded as f16
/// @param zeros (outputs, groups), each in −1 … 2ᵇ
/// @param groupOf the group of each column, where columns were reordered
public record GroupedCodes(int bits, int outputs, int inputs, int groupSize, byte[] q, float[] scales, int[] zeros, Optional<int[]> groupOf) {
  /// @throws IllegalArgumentException if an array has another length or a zero or group is out of range
  public GroupedCodes {
    int groups = Grouped.groups(inputs, groupSize);
    if (q.length != (long) outputs * inputs || scales.length != (long) outputs * groups || zeros.length != scales.length) {
      throw new IllegalArgumentException(
          "%d codes, %d scales and %d zeros for (%d, %d) in groups of %d".formatted(q.length, scales.length, zeros.length, outputs, inputs, groupSize));
    }
    for (int z : zeros) if (z < -1 || z > 1 << bits) throw new IllegalArgumentException("zero " + z + " for " + bits + " bits");
    if (groupOf.isPresent()) {
      if (groupOf.get().length != inputs) throw new IllegalArgumentException(groupOf.get().length + " groups for " + inputs + " columns");
      for (int g : groupOf.get()) if (g < 0 || g >= groups) throw new IllegalArgumentException("group " + g + " of " + groups);
    }
  }

  /// Carves a matrix and uploads into it.
  /// @param scaleType F16, or F32 to keep every digit
  public Grouped upload(Device device, Region region, DType scaleType) {
    var w = Grouped.carve(region, outputs, inputs, bits, groupSize, scaleType, groupOf.isPresent());
    upload(device, w);
    return w;
  }

  /// Uploads into a matrix of the same form.
  public void upload(Device device, Grouped w) {
    if (w.bits() != bits || w.outputs() != outputs || w.inputs() != inputs || w.groupSize() != groupSize || w.groupOf().isPresent() != groupOf.isPresent()) {
      throw new IllegalArgumentException("cannot upload %d bits (%d, %d) to %s (%d, %d)".formatted(bits, outputs, inputs, w.describe(), w.outputs(), w.inputs()));
    }
    device.upload(MemorySegment.ofArray(Grouped.pack(bits, inputs, q)), w.codes());
    var z = new float[zeros.length];
    for (int i = 0; i < z.length; i++) z[i] = zeros[i];
    upload(device, scales, w.scales());
    upload(device, z, w.zeros());
    groupOf.ifPresent(g -> device.upload(MemorySegment.ofArray(g), w.groupOf().orElseThrow()));
  }

  private static void upload(Device device, float[] values, Tensor to) {
    if (to.dtype() == DType.F32) {
      device.upload(MemorySegment.ofArray(values), to);
      return;
    }
    try (var host = Region.fixed("conversion", Region.align(to.bytes()))) {
      var t = host.carve(to.dtype(), to.shape());
      for (int i = 0; i < values.length; i++) Memory.store(to.dtype(), t.address(), i, values[i]);
      device.upload(t.segment(), to);
    }
  }
}
