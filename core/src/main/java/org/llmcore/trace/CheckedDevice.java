package org.llmcore.trace;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

import org.llmcore.op.Custom;
import org.llmcore.op.HostDevice;
import org.llmcore.op.Kernel;
import org.llmcore.reference.ReferenceDevice;
import org.llmcore.tensor.Bf16;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// Looks at the tensors of every kernel right after it ran: the first kernel that goes wrong is named, not a loss that is NaN a
/// thousand kernels later. Either for NaN and infinity, or against the reference device, which then runs every kernel too.
///
/// A result may be `8 · eps · √n · largest |reference|` from the reference, where n is the number of elements of the largest
/// tensor of the call, which bounds the length of its sums (Higham 2002, §2.8).
public final class CheckedDevice implements HostDevice {
  private final HostDevice inner;
  private final boolean reference;
  private final ReferenceDevice judge = new ReferenceDevice();

  /// @param reference false: only NaN and infinity
  public CheckedDevice(HostDevice inner, boolean reference) {
    this.inner = inner;
    this.reference = reference;
  }

  /// @throws IllegalStateException if a tensor of the kernel is not as it should be
  @Override
  public void run(Kernel kernel) {
    var operands = Operands.of(kernel);
    if (reference && !(kernel instanceof Custom)) compared(kernel, operands);
    else inner.run(kernel);
    for (var o : operands.list()) finite(operands, o);
  }

  private static void finite(Operands all, Operands.Operand o) {
    if (!floating(o.tensor())) return;
    for (long i = 0; i < o.tensor().elements(); i++) {
      float v = Memory.load(o.tensor().dtype(), o.tensor().address(), i);
      if (!Float.isFinite(v)) {
        throw new IllegalStateException("after " + all.kernel() + " (" + all.shapes() + "): " + o.name() + " is " + v + " at element " + i);
      }
    }
  }

  private void compared(Kernel kernel, Operands operands) {
    var before = bytes(operands);
    inner.run(kernel);
    var fast = bytes(operands);
    restore(operands, before);
    judge.run(kernel);
    for (int i = 0; i < fast.size(); i++) {
      var o = operands.list().get(i);
      if (floating(o.tensor())) near(operands, o, MemorySegment.ofArray(fast.get(i)));
    }
    restore(operands, fast);
  }

  private static void near(Operands all, Operands.Operand o, MemorySegment fast) {
    var t = o.tensor();
    double largest = 0;
    for (long i = 0; i < t.elements(); i++) largest = Math.max(largest, Math.abs(Memory.load(t.dtype(), t.address(), i)));
    double tolerance = 8 * eps(all) * Math.sqrt(all.largest()) * largest;
    for (long i = 0; i < t.elements(); i++) {
      float expected = Memory.load(t.dtype(), t.address(), i);
      float found = load(t.dtype(), fast, i);
      if (!(Math.abs(found - expected) <= tolerance) && Float.compare(found, expected) != 0) {
        throw new IllegalStateException(
            "after %s (%s): %s is %s at element %d, the reference device gives %s, tolerance %.3g"
                .formatted(all.kernel(), all.shapes(), o.name(), found, i, expected, tolerance));
      }
    }
  }

  /// Unit roundoff of the coarsest dtype of the call.
  private static double eps(Operands all) {
    double eps = 0x1p-24;
    for (var o : all.list()) {
      if (o.coded()) continue;
      if (o.tensor().dtype() == DType.BF16) eps = Math.max(eps, 0x1p-8);
      if (o.tensor().dtype() == DType.F16) eps = Math.max(eps, 0x1p-11);
    }
    return eps;
  }

  private static float load(DType dtype, MemorySegment from, long i) {
    return switch (dtype) {
      case F32 -> from.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 4 * i);
      case BF16 -> Bf16.toFloat(from.get(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * i));
      default -> Float.float16ToFloat(from.get(ValueLayout.JAVA_SHORT_UNALIGNED, 2 * i));
    };
  }

  private static List<byte[]> bytes(Operands operands) {
    var out = new ArrayList<byte[]>();
    for (var o : operands.list()) out.add(view(o.tensor()).toArray(ValueLayout.JAVA_BYTE));
    return out;
  }

  private static void restore(Operands operands, List<byte[]> bytes) {
    for (int i = 0; i < bytes.size(); i++) view(operands.list().get(i).tensor()).copyFrom(MemorySegment.ofArray(bytes.get(i)));
  }

  private static MemorySegment view(Tensor t) {
    return Memory.ALL.asSlice(t.address(), t.bytes());
  }

  private static boolean floating(Tensor t) {
    return t.dtype() == DType.F32 || t.dtype() == DType.BF16 || t.dtype() == DType.F16;
  }

  @Override
  public String name() {
    return inner.name() + (reference ? ", checked against the reference" : ", checked for NaN");
  }

  @Override
  public void close() {
    inner.close();
  }
}
