package org.llmcore.reference;

import org.llmcore.op.Attention;
import org.llmcore.tensor.Tensor;

/// Attention row by row, with the whole row of scores at hand.
final class AttentionReference {
  private AttentionReference() {}

  static void run(Cells c, Attention kernel) {
    switch (kernel) {
      case Attention.Forward k -> forward(c, k);
      case Attention.Backward k -> backward(c, k);
      case Attention.Store k -> store(c, k);
      case Attention.Decode k -> decode(c, k);
    }
  }

  private static long at(Tensor t, int row, int head) {
    return ((long) row * t.dim(-2) + head) * t.columns();
  }

  /// Σ_d a[d]·b[d] of one head.
  private static double dot(Cells c, Tensor a, long i, Tensor b, long j) {
    double s = 0;
    for (int d = 0; d < a.columns(); d++) s += c.get(a, i + d) * c.get(b, j + d);
    return s;
  }

  private static void forward(Cells c, Attention.Forward k) {
    int group = k.q().dim(1) / k.k().dim(1);
    for (int s = 0; s + 1 < k.starts().elements(); s++) {
      int from = c.index(k.starts(), s);
      int to = c.index(k.starts(), s + 1);
      for (int t = from; t < to; t++) {
        for (int h = 0; h < k.q().dim(1); h++) {
          int end = k.causal() ? t + 1 : to;
          var p = new double[end - from];
          for (int u = from; u < end; u++) p[u - from] = k.scale() * dot(c, k.q(), at(k.q(), t, h), k.k(), at(k.k(), u, h / group));
          double lse = SoftmaxReference.logSumExp(p);
          c.set(k.lse(), (long) t * k.q().dim(1) + h, lse);
          for (int d = 0; d < k.q().columns(); d++) {
            double o = 0;
            for (int u = from; u < end; u++) o += Math.exp(p[u - from] - lse) * c.get(k.v(), at(k.v(), u, h / group) + d);
            c.set(k.o(), at(k.o(), t, h) + d, o);
          }
        }
      }
    }
  }

  private static void backward(Cells c, Attention.Backward k) {
    int heads = k.q().dim(1);
    int group = heads / k.k().dim(1);
    int width = k.q().columns();
    var dq = new double[(int) k.q().elements()];
    var dk = new double[(int) k.k().elements()];
    var dv = new double[(int) k.v().elements()];
    for (int s = 0; s + 1 < k.starts().elements(); s++) {
      int from = c.index(k.starts(), s);
      int to = c.index(k.starts(), s + 1);
      for (int t = from; t < to; t++) {
        for (int h = 0; h < heads; h++) {
          long i = at(k.q(), t, h);
          double lse = c.get(k.lse(), (long) t * heads + h);
          double delta = dot(c, k.dout(), i, k.o(), i);
          for (int u = from; u < (k.causal() ? t + 1 : to); u++) {
            long j = at(k.k(), u, h / group);
            double p = Math.exp(k.scale() * dot(c, k.q(), i, k.k(), j) - lse);
            double ds = p * (dot(c, k.dout(), i, k.v(), j) - delta) * k.scale();
            for (int d = 0; d < width; d++) {
              dv[(int) j + d] += p * c.get(k.dout(), i + d);
              dq[(int) i + d] += ds * c.get(k.k(), j + d);
              dk[(int) j + d] += ds * c.get(k.q(), i + d);
            }
          }
        }
      }
    }
    for (int i = 0; i < dq.length; i++) c.put(k.dq(), i, dq[i]);
    for (int i = 0; i < dk.length; i++) c.put(k.dk(), i, dk[i]);
    for (int i = 0; i < dv.length; i++) c.put(k.dv(), i, dv[i]);
  }

  private static void store(Cells c, Attention.Store k) {
    int row = k.x().dim(1) * k.x().dim(2);
    for (int r = 0; r < k.x().dim(0); r++) {
      for (int i = 0; i < row; i++) c.set(k.pages(), (long) c.index(k.slots(), r) * row + i, c.get(k.x(), (long) r * row + i));
    }
  }

  private static void decode(Cells c, Attention.Decode k) {
    int heads = k.q().dim(1);
    int groups = k.keys().dim(2);
    int width = k.q().columns();
    int page = k.keys().dim(1);
    for (int s = 0; s < k.lengths().elements(); s++) {
      int from = c.index(k.starts(), s);
      int to = c.index(k.starts(), s + 1);
      for (int r = from; r < to; r++) {
        int visible = c.index(k.lengths(), s) - (to - 1 - r);
        for (int h = 0; h < heads; h++) {
          var p = new double[visible];
          var at = new long[visible];
          for (int u = 0; u < visible; u++) {
            long slot = (long) c.index(k.blocks(), (long) s * k.blocks().dim(1) + u / page) * page + u % page;
            at[u] = (slot * groups + h / (heads / groups)) * width;
            p[u] = k.scale() * dot(c, k.q(), at(k.q(), r, h), k.keys(), at[u]);
          }
          double lse = SoftmaxReference.logSumExp(p);
          for (int d = 0; d < width; d++) {
            double o = 0;
            for (int u = 0; u < visible; u++) o += Math.exp(p[u] - lse) * c.get(k.values(), at[u] + d);
            c.set(k.o(), at(k.o(), r, h) + d, o);
          }
        }
      }
    }
  }
}
