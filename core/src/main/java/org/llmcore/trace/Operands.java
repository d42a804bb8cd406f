package org.llmcore.trace;

import java.lang.reflect.RecordComponent;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

import org.llmcore.op.Kernel;
import org.llmcore.op.Sink;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Tensor;

/// The tensors of a kernel call under the names its record gives them, outputs first.
record Operands(String kernel, List<Operand> list) {
  /// One tensor of the call.
  /// @param coded whether it is part of a matrix in few bits, so that its dtype rounds nothing
  record Operand(String name, Tensor tensor, boolean coded) {}

  /// The record's accessors by class; looked up once, a kernel runs many times.
  private static final ClassValue<RecordComponent[]> COMPONENTS =
      new ClassValue<>() {
        @Override
        protected RecordComponent[] computeValue(Class<?> type) {
          var all = type.isRecord() ? type.getRecordComponents() : new RecordComponent[0];
          for (var c : all) c.getAccessor().trySetAccessible();
          return all;
        }
      };

  static Operands of(Kernel kernel) {
    var out = new ArrayList<Operand>();
    for (var c : COMPONENTS.get(kernel.getClass())) {
      switch (value(c, kernel)) {
        case Tensor t -> out.add(new Operand(c.getName(), t, false));
        case Sink s when s.wanted() -> out.add(new Operand(c.getName(), s.tensor(), false));
        case List<?> several -> {
          int i = 0;
          for (var o : several) if (o instanceof Tensor t) out.add(new Operand(c.getName() + "[" + i++ + "]", t, false));
        }
        case QuantMatrix w -> w.parts().forEach(part -> out.add(new Operand(c.getName() + "." + part.name(), part.tensor(), true)));
        default -> {}
      }
    }
    return new Operands(name(kernel), out);
  }

  private static Object value(RecordComponent c, Kernel kernel) {
    try {
      var value = c.getAccessor().invoke(kernel);
      return value == null ? "" : value;
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException("cannot read " + c + " of a kernel", e);
    }
  }

  /// `RmsNorm.Forward`
  private static String name(Kernel kernel) {
    var type = kernel.getClass();
    var outer = type.getEnclosingClass();
    return outer == null ? type.getSimpleName() : outer.getSimpleName() + "." + type.getSimpleName();
  }

  /// Bytes of all tensors: the least a kernel moves if it touches each once.
  long bytes() {
    return list.stream().mapToLong(o -> o.tensor.bytes()).sum();
  }

  /// Elements of the largest tensor.
  long largest() {
    return list.stream().mapToLong(o -> o.tensor.elements()).max().orElse(1);
  }

  /// `y f32(4, 288), rstd f32(4)`
  String shapes() {
    return list.stream().map(o -> o.name + " " + o.tensor.dtype().name().toLowerCase(java.util.Locale.ROOT) + o.tensor.shape()).collect(Collectors.joining(", "));
  }
}
