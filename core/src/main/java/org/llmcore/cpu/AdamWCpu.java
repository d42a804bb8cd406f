package org.llmcore.cpu;

import org.llmcore.op.AdamW;
import org.llmcore.tensor.Memory;

/// `AdamW` on the CPU, split by elements. The scalars are made in double precision, once a call.
final class AdamWCpu {
  private AdamWCpu() {}

  record Factors(float keep, float beta1, float rest1, float beta2, float rest2, float rate, float root, float eps) {
    static Factors of(AdamW.Step k) {
      double correction1 = 1 - StrictMath.pow(k.beta1(), k.step());
      double correction2 = 1 - StrictMath.pow(k.beta2(), k.step());
      return new Factors(
          (float) (1 - (double) k.lr() * k.decay()),
          k.beta1(), (float) (1 - (double) k.beta1()),
          k.beta2(), (float) (1 - (double) k.beta2()),
          (float) (k.lr() / correction1), (float) (1 / Math.sqrt(correction2)), k.eps());
    }
  }

  static void run(Lanes lanes, Workers workers, AdamW kernel) {
    switch (kernel) {
      case AdamW.Step k -> {
        var factors = Factors.of(k);
        Rows.split(lanes, workers, k.w().elements(), 1, (from, to, _) -> step(lanes, k, factors, from, (int) (to - from)));
      }
    }
  }

  private static void step(Lanes lanes, AdamW.Step k, Factors f, long from, int n) {
    long w = k.master().address() + 4 * from;
    long m = k.m().address() + 4 * from;
    long v = k.v().address() + 4 * from;
    long grad = k.grad().address() + 4 * from;
    float clip = Memory.f32(k.clip().address());
    if (lanes.emitted() && AdamWCode.takes(k)) {
      AdamWCode.step(k, f, clip, from, n);
      return;
    }
    int i = 0;
    for (; i < lanes.whole(n); i += Lanes.N) {
      var g = Lanes.load(grad + 4L * i).mul(clip);
      var m1 = g.fma(Lanes.all(f.rest1), Lanes.load(m + 4L * i).mul(f.beta1));
      var v1 = g.mul(g).fma(Lanes.all(f.rest2), Lanes.load(v + 4L * i).mul(f.beta2));
      Lanes.store(m + 4L * i, m1);
      Lanes.store(v + 4L * i, v1);
      var move = m1.mul(-f.rate).div(v1.sqrt().fma(Lanes.all(f.root), Lanes.all(f.eps)));
      Lanes.store(w + 4L * i, Lanes.load(w + 4L * i).fma(Lanes.all(f.keep), move));
    }
    for (; i < n; i++) {
      float g = Memory.f32(grad + 4L * i) * clip;
      float m1 = Math.fma(g, f.rest1, Memory.f32(m + 4L * i) * f.beta1);
      float v1 = Math.fma(g * g, f.rest2, Memory.f32(v + 4L * i) * f.beta2);
      Memory.f32(m + 4L * i, m1);
      Memory.f32(v + 4L * i, v1);
      float move = m1 * -f.rate / Math.fma((float) Math.sqrt(v1), f.root, f.eps);
      Memory.f32(w + 4L * i, Math.fma(Memory.f32(w + 4L * i), f.keep, move));
    }
    if (k.w().address() != k.master().address()) Rows.write(lanes, k.w(), from, n, w);
  }
}
