package org.llmcore.reference;

import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Sink;
import org.llmcore.tensor.Tensor;

/// Negative log-likelihood, row by row.
final class CrossEntropyReference {
  private CrossEntropyReference() {}

  static void run(Cells c, CrossEntropy kernel) {
    switch (kernel) {
      case CrossEntropy.Forward k -> {
        for (int t = 0; t < k.z().dim(0); t++) {
          double lse = SoftmaxReference.logSumExp(row(c, k.z(), t));
          c.set(k.lse(), t, lse);
          c.set(k.loss(), t, loss(c, k.z(), k.targets(), t, lse));
        }
      }
      case CrossEntropy.Backward k -> {
        for (int t = 0; t < k.z().dim(0); t++) gradient(c, k.z(), k.targets(), t, c.get(k.lse(), t), c.get(k.dloss(), t), k.dz());
      }
      case CrossEntropy.Fused k -> {
        for (int t = 0; t < k.z().dim(0); t++) {
          double lse = SoftmaxReference.logSumExp(row(c, k.z(), t));
          c.set(k.loss(), t, loss(c, k.z(), k.targets(), t, lse));
          gradient(c, k.z(), k.targets(), t, lse, k.scale(), Sink.write(k.dz()));
        }
      }
    }
  }

  private static double[] row(Cells c, Tensor z, int t) {
    var out = new double[z.columns()];
    for (int v = 0; v < out.length; v++) out[v] = c.get(z, (long) t * out.length + v);
    return out;
  }

  private static int target(Cells c, Tensor targets, int t, Tensor z) {
    return c.index(targets, t) == CrossEntropy.IGNORE ? CrossEntropy.IGNORE : c.index(targets, t, z.columns());
  }

  private static double loss(Cells c, Tensor z, Tensor targets, int t, double lse) {
    int target = target(c, targets, t, z);
    return target == CrossEntropy.IGNORE ? 0 : lse - c.get(z, (long) t * z.columns() + target);
  }

  private static void gradient(Cells c, Tensor z, Tensor targets, int t, double lse, double dloss, Sink dz) {
    int target = target(c, targets, t, z);
    for (int v = 0; v < z.columns(); v++) {
      long i = (long) t * z.columns() + v;
      double p = Math.exp(c.get(z, i) - lse) - (v == target ? 1 : 0);
      c.put(dz, i, target == CrossEntropy.IGNORE ? 0 : dloss * p);
    }
  }
}
