package org.llmcore.reference;

import org.llmcore.op.AdamW;

/// AdamW as `op.AdamW` defines it.
final class AdamWReference {
  private AdamWReference() {}

  static void run(Cells c, AdamW.Step k) {
    double clip = c.get(k.clip(), 0);
    double bias1 = 1 - Math.pow(k.beta1(), k.step());
    double bias2 = Math.sqrt(1 - Math.pow(k.beta2(), k.step()));
    for (long i = 0; i < k.w().elements(); i++) {
      double g = clip * c.get(k.grad(), i);
      double w = c.get(k.master(), i) * (1 - (double) k.lr() * k.decay());
      double m = k.beta1() * c.get(k.m(), i) + (1 - (double) k.beta1()) * g;
      double v = k.beta2() * c.get(k.v(), i) + (1 - (double) k.beta2()) * g * g;
      w -= k.lr() / bias1 * m / (Math.sqrt(v) / bias2 + k.eps());
      c.set(k.m(), i, m);
      c.set(k.v(), i, v);
      c.set(k.master(), i, w);
      if (k.w() != k.master()) c.set(k.w(), i, w);
    }
  }
}
