package org.llmcore.peft;

import org.llmcore.InvalidInput;
import org.llmcore.model.DenseLinear;
import org.llmcore.model.Linear;
import org.llmcore.model.QuantLinear;
import org.llmcore.op.Binary;
import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.op.MatMul;
import org.llmcore.op.Move;
import org.llmcore.op.Pass;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Reduce;
import org.llmcore.op.Sink;
import org.llmcore.op.Unary;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// A low-rank update whose direction and magnitude are trained apart (Liu et al. 2024, arXiv:2402.09353, eq. 5), with PEFT's
/// semantics: the norm counts as a constant in the gradient (§4.3), and with dropout the base's own output is not dropped.
///
///     V = W + s·B·A        y = m ∘ (x·Vᵀ) / ‖V‖        ‖V‖ by rows of V
///     y = x·Wᵀ − u·Wᵀ + m ∘ (u·Vᵀ) / ‖V‖               u = dropout(x), where dropout applies
///
/// | tensor | shape     | dtype |
/// |--------|-----------|-------|
/// | m      | (outputs) | f32   |
///
/// The division comes before the product with m, so that m's gradient is one chain over tokens. The norm costs one pass over
/// W in f32, in memory that is given back at once.
public record DoraLinear(LoraLinear lora, Tensor magnitude) implements Linear {
  @Override
  public String name() {
    return lora.name();
  }

  @Override
  public int inputs() {
    return lora.inputs();
  }

  @Override
  public int outputs() {
    return lora.outputs();
  }

  @Override
  public Tensor apply(Pass p, Tensor x) {
    var norm = norm(p.device(), p.region()).reshape(1, outputs());
    var m = magnitude.reshape(1, outputs());
    if (!Dropout.applies(p, lora.dropout())) {
      return Binary.apply(p, Binary.apply(p, lora.apply(p, x), norm, Binary.Function.DIV), m, Binary.Function.MUL);
    }
    var u = lora.masks().drop(p, x, lora.dropout(), name());
    var base = lora.base().apply(p, u); // (T,outputs)
    var v = Binary.apply(p, Binary.apply(p, base, lora.update(p, u), Binary.Function.ADD), norm, Binary.Function.DIV);
    var rest = Binary.apply(p, lora.base().apply(p, x), base, Binary.Function.SUB);
    return Binary.apply(p, rest, Binary.apply(p, v, m, Binary.Function.MUL), Binary.Function.ADD);
  }

  /// ‖W + s·B·A‖ by rows, (outputs, 1); everything else it needs is given back.
  Tensor norm(Device device, Region region) {
    var norm = region.carve(DType.F32, Shape.of(outputs(), 1));
    long mark = region.mark();
    var v = sum(device, region);
    device.run(new Unary.Forward(v, v, Unary.Function.SQUARE));
    device.run(new Reduce.Forward(norm, v, 1, Reduce.Function.SUM));
    device.run(new Unary.Forward(norm, norm, Unary.Function.SQRT));
    region.release(mark);
    return norm;
  }

  /// W + s·B·A (outputs, inputs) in f32.
  private Tensor sum(Device device, Region region) {
    var v = region.carve(DType.F32, Shape.of(outputs(), inputs()));
    switch (lora.base()) {
      case DenseLinear d -> device.run(new Move.Copy(Sink.write(v), d.w()));
      case QuantLinear q -> device.run(new QuantMatMul.Dequantize(v, q.w()));
      default -> throw new InvalidInput("layer " + name() + " shows no weights", "DoRA needs the norm of the base's weights");
    }
    device.run(new MatMul.Product(Sink.add(v), lora.bt(), lora.a(), true, false, lora.scale()));
    return v;
  }

  /// m as it starts: the norm of the base's rows, so that the adapted layer equals the base. B must be zero.
  void initialise(Device device) {
    try (var scratch = device.growing("magnitude")) {
      device.run(new Move.Copy(Sink.write(magnitude), norm(device, scratch).reshape(outputs())));
      device.synchronize();
    }
  }

  /// Puts m ∘ V / ‖V‖ in place of the base's weights.
  void merge(Device device, Tensor w) {
    try (var scratch = device.growing("merge")) {
      var norm = norm(device, scratch);
      var v = sum(device, scratch);
      device.run(new Binary.Forward(v, v, norm, Binary.Function.DIV));
      device.run(new Binary.Forward(v, v, magnitude.reshape(outputs(), 1), Binary.Function.MUL));
      device.run(new Move.Copy(Sink.write(w), v));
      device.synchronize();
    }
  }
}
