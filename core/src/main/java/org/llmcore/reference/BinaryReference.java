package org.llmcore.reference;

import org.llmcore.op.Binary;
import org.llmcore.tensor.Shape;

/// Two operands under broadcasting: every element of y names the elements it came from.
final class BinaryReference {
  private BinaryReference() {}

  static void run(Cells c, Binary kernel) {
    switch (kernel) {
      case Binary.Forward k -> {
        for (long i = 0; i < k.y().elements(); i++) {
          double a = c.get(k.a(), source(i, k.y().shape(), k.a().shape()));
          double b = c.get(k.b(), source(i, k.y().shape(), k.b().shape()));
          c.set(
              k.y(), i,
              switch (k.f()) {
                case ADD -> a + b;
                case SUB -> a - b;
                case MUL -> a * b;
                case DIV -> a / b;
              });
        }
      }
      case Binary.Backward k -> {
        var da = new double[(int) k.a().elements()];
        var db = new double[(int) k.b().elements()];
        for (long i = 0; i < k.dy().elements(); i++) {
          int ia = (int) source(i, k.dy().shape(), k.a().shape());
          int ib = (int) source(i, k.dy().shape(), k.b().shape());
          double dy = c.get(k.dy(), i);
          double a = c.get(k.a(), ia);
          double b = c.get(k.b(), ib);
          switch (k.f()) {
            case ADD -> {
              da[ia] += dy;
              db[ib] += dy;
            }
            case SUB -> {
              da[ia] += dy;
              db[ib] -= dy;
            }
            case MUL -> {
              da[ia] += dy * b;
              db[ib] += dy * a;
            }
            case DIV -> {
              da[ia] += dy / b;
              db[ib] -= dy * a / (b * b);
            }
          }
        }
        for (int i = 0; i < da.length; i++) c.put(k.da(), i, da[i]);
        for (int i = 0; i < db.length; i++) c.put(k.db(), i, db[i]);
      }
    }
  }

  /// The element of an operand of shape `x` that element i of shape `y` is computed from.
  private static long source(long i, Shape y, Shape x) {
    long at = 0;
    long step = 1;
    for (int d = y.rank() - 1; d >= 0; d--) {
      int axis = d - y.rank() + x.rank();
      if (axis >= 0) {
        if (x.dim(axis) > 1) at += i % y.dim(d) * step;
        step *= x.dim(axis);
      }
      i /= y.dim(d);
    }
    return at;
  }
}
