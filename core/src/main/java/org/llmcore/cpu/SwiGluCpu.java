package org.llmcore.cpu;

import org.llmcore.op.SwiGlu;
import org.llmcore.tensor.Memory;

/// `SwiGlu` on the CPU, split by elements.
final class SwiGluCpu {
  private SwiGluCpu() {}

  static void run(Lanes lanes, Workers workers, SwiGlu kernel) {
    switch (kernel) {
      case SwiGlu.Forward k -> Rows.split(
          lanes, workers, k.h().elements(), 1,
          (from, to, s) -> forward(lanes, k, from, (int) (to - from), s));
      case SwiGlu.Backward k -> Rows.split(
          lanes, workers, k.dh().elements(), 1,
          (from, to, s) -> backward(lanes, k, from, (int) (to - from), s));
    }
  }

  private static void forward(Lanes lanes, SwiGlu.Forward k, long from, int n, Scratch scratch) {
    if (lanes.emitted() && SwiGluCode.takes(k)) {
      SwiGluCode.forward(k, from, n);
      return;
    }
    long gate = Rows.read(lanes, k.gate(), from, n, scratch.floats(n));
    long up = Rows.read(lanes, k.up(), from, n, scratch.floats(n));
    long h = Rows.target(k.h(), from, scratch.floats(n));
    long sigma = scratch.floats(n);
    Rows.sigmoid(lanes, sigma, gate, n);
    Rows.multiply(lanes, h, gate, sigma, n);
    Rows.multiply(lanes, h, h, up, n);
    Rows.write(lanes, k.h(), from, n, h);
  }

  private static void backward(Lanes lanes, SwiGlu.Backward k, long from, int n, Scratch scratch) {
    if (lanes.emitted() && SwiGluCode.takes(k)) {
      SwiGluCode.backward(k, from, n);
      return;
    }
    long gate = Rows.read(lanes, k.gate(), from, n, scratch.floats(n));
    long up = Rows.read(lanes, k.up(), from, n, scratch.floats(n));
    long dh = Rows.read(lanes, k.dh(), from, n, scratch.floats(n));
    long spareGate = scratch.floats(n);
    long spareUp = scratch.floats(n);
    long dgate = k.dgate().wanted() ? Rows.target(k.dgate(), from, spareGate) : spareGate;
    long dup = k.dup().wanted() ? Rows.target(k.dup(), from, spareUp) : spareUp;
    long sigma = scratch.floats(n);
    Rows.sigmoid(lanes, sigma, gate, n);
    backward(lanes, dgate, dup, dh, gate, up, sigma, n);
    if (k.dgate().wanted()) Rows.write(lanes, k.dgate(), from, n, dgate);
    if (k.dup().wanted()) Rows.write(lanes, k.dup(), from, n, dup);
  }

  private static void backward(Lanes lanes, long dgate, long dup, long dh, long gate, long up, long sigma, int n) {
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) {
      var g = Lanes.load(gate + 4L * i);
      var d = Lanes.load(dh + 4L * i);
      var u = Lanes.load(up + 4L * i);
      var s = Lanes.load(sigma + 4L * i);
      Lanes.store(dup + 4L * i, d.mul(g.mul(s)));
      Lanes.store(dgate + 4L * i, d.mul(u).mul(s).mul(g.fma(Lanes.all(1).sub(s), Lanes.all(1))));
    }
    for (; i < n; i++) {
      float g = Memory.f32(gate + 4L * i);
      float d = Memory.f32(dh + 4L * i);
      float u = Memory.f32(up + 4L * i);
      float s = Memory.f32(sigma + 4L * i);
      Memory.f32(dup + 4L * i, d * (g * s));
      Memory.f32(dgate + 4L * i, d * u * s * Math.fma(g, 1 - s, 1));
    }
  }
}
