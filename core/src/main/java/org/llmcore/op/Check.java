package org.llmcore.op;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// The sentences in which a kernel's constructor refuses wrong arguments: the kernel, the argument, what it is, what it must be.
final class Check {
  private Check() {}

  static void that(boolean ok, String format, Object... args) {
    if (!ok) throw new IllegalArgumentException(format.formatted(args));
  }

  static void shape(String what, Tensor t, Shape expected) {
    if (!t.shape().equals(expected)) throw new IllegalArgumentException(what + " has shape " + t.shape() + ", expected " + expected);
  }

  static void shape(String what, Sink s, Shape expected) {
    if (s.wanted()) shape(what, s.tensor(), expected);
  }

  static void dtype(String what, Tensor t, DType expected) {
    if (t.dtype() != expected) throw new IllegalArgumentException(what + " is " + t + ", expected dtype " + expected);
  }

  static void floating(String what, Tensor... tensors) {
    for (var t : tensors) {
      if (!t.dtype().floating()) throw new IllegalArgumentException(what + " is " + t + ", expected F32, BF16 or F16");
    }
  }

  static void floating(String what, Sink... sinks) {
    for (var s : sinks) if (s.wanted()) floating(what, s.tensor());
  }
}
