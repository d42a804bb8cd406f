package org.llmcore.quantize;

import java.lang.foreign.MemorySegment;

import org.llmcore.op.Device;
import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.quant.GroupedCodes;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// XᵀX (K,K) in f32 of all inputs X (tokens, K) that linear layers have seen: half of n times the Hessian of the layer's squared
/// error, H = 2/n·XᵀX, in every row of W. One chain per element over all tokens, so how they were batched changes nothing. 2K²
/// operations per token.
final class Hessian implements AutoCloseable {
  private final Device device;
  private final Region region;
  private final Tensor h;
  private boolean empty = true;

  Hessian(Device device, int inputs) {
    this.device = device;
    this.region = device.reserve("hessian", Region.align(4L * inputs * inputs));
    this.h = region.carve(DType.F32, Shape.of(inputs, inputs));
  }

  /// Adds inputs (T,K).
  void add(Tensor x) {
    device.run(new MatMul.Product(empty ? Sink.write(h) : Sink.add(h), x, x, true, false, 1));
    empty = false;
  }

  int inputs() {
    return h.dim(0);
  }

  float[] toFloats() {
    return Gptq.download(device, h);
  }

  /// ‖X·Dᵀ‖² of a matrix D (outputs, inputs), row-major: the squared error of a layer whose weights are off by D.
  double squared(float[] d, int outputs) {
    int k = inputs();
    try (var scratch = Region.growing("error")) {
      var t = scratch.carve(DType.F32, Shape.of(outputs, k));
      var p = scratch.carve(DType.F32, Shape.of(outputs, k));
      device.upload(MemorySegment.ofArray(d), t);
      device.run(new MatMul.Product(Sink.write(p), t, h, false, false, 1));
      var product = Gptq.download(device, p);
      double sum = 0;
      for (int i = 0; i < d.length; i++) sum += (double) product[i] * d[i];
      return Math.max(0, sum);
    }
  }

  /// ‖X·Wᵀ − X·Ŵᵀ‖² of quantized weights.
  double error(float[] w, GroupedCodes q) {
    var d = values(q);
    for (int i = 0; i < d.length; i++) d[i] = w[i] - d[i];
    return squared(d, q.outputs());
  }

  /// The weights that codes stand for, (outputs, inputs) row-major.
  static float[] values(GroupedCodes c) {
    var w = new float[c.q().length];
    int groups = c.scales().length / c.outputs();
    for (int o = 0; o < c.outputs(); o++) {
      for (int i = 0; i < c.inputs(); i++) {
        int g = o * groups + (c.groupOf().isPresent() ? c.groupOf().get()[i] : i / c.groupSize());
        w[o * c.inputs() + i] = c.scales()[g] * ((c.q()[o * c.inputs() + i] & 0xff) - c.zeros()[g]);
      }
    }
    return w;
  }

  @Override
  public void close() {
    region.close();
  }
}
