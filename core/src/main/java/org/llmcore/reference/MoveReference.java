package org.llmcore.reference;

import org.llmcore.op.Move;
import org.llmcore.tensor.Tensor;

/// Elements from here to there.
final class MoveReference {
  private MoveReference() {}

  static void run(Cells c, Move kernel) {
    switch (kernel) {
      case Move.Fill k -> {
        for (long i = 0; i < k.y().elements(); i++) c.set(k.y(), i, k.value());
      }
      case Move.Copy k -> {
        for (long i = 0; i < k.x().elements(); i++) c.put(k.y(), i, c.get(k.x(), i));
      }
      case Move.Permute k -> {
        for (long i = 0; i < k.x().elements(); i++) c.put(k.y(), i, c.get(k.x(), permuted(k, i)));
      }
      case Move.Take k -> {
        for (long i = 0; i < k.y().tensor().elements(); i++) c.put(k.y(), i, c.get(k.x(), window(k.y().tensor(), k.x(), k.axis(), k.from(), i)));
      }
      case Move.Put k -> {
        for (long i = 0; i < k.x().elements(); i++) c.put(k.y(), window(k.x(), k.y().tensor(), k.axis(), k.from(), i), c.get(k.x(), i));
      }
    }
  }

  /// The element of x that element i of y is.
  private static long permuted(Move.Permute k, long i) {
    var y = k.y().tensor().shape();
    var x = k.x().shape();
    long at = 0;
    for (int d = y.rank() - 1; d >= 0; d--) {
      at += i % y.dim(d) * x.span(k.axes()[d] + 1, x.rank());
      i /= y.dim(d);
    }
    return at;
  }

  /// The element of the large tensor that element i of the small one is.
  private static long window(Tensor small, Tensor large, int axis, int from, long i) {
    long inner = small.shape().span(axis + 1, small.shape().rank());
    long n = small.dim(axis);
    return (i / (inner * n) * large.dim(axis) + i / inner % n + from) * inner + i % inner;
  }
}
