package org.llmcore.op;

import java.util.Arrays;

import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Bytes from here to there: fill, copy (which converts between floating dtypes), permutation of axes, and a window along
/// one axis taken out of or put into a larger tensor.
///
/// | kernel  | meaning                                    | its gradient              |
/// |---------|--------------------------------------------|---------------------------|
/// | Fill    | y = value                                  |                           |
/// | Copy    | y (+)= x, converted to y's dtype           | Copy                      |
/// | Permute | y[i_axes[0], i_axes[1], …] (+)= x[i_0, …]  | Permute by the inverse    |
/// | Take    | y (+)= x[…, from : from+n, …]              | Put                       |
/// | Put     | y[…, from : from+n, …] (+)= x              | Take                      |
///
/// Put leaves the rest of y as it is.
public sealed interface Move extends Kernel {
  record Fill(Tensor y, float value) implements Move {
    public Fill {
      Check.floating("Move.Fill y", y);
    }
  }

  record Copy(Sink y, Tensor x) implements Move {
    public Copy {
      Check.that(y.wanted(), "Move.Copy needs a destination");
      Check.floating("Move.Copy y", y);
      Check.floating("Move.Copy x", x);
      Check.that(y.tensor().elements() == x.elements(), "Move.Copy of %s to %s", x.shape(), y.tensor().shape());
    }
  }

  /// Dimension d of y is dimension `axes[d]` of x.
  record Permute(Sink y, Tensor x, int... axes) implements Move {
    public Permute {
      Check.that(y.wanted(), "Move.Permute needs a destination");
      Check.floating("Move.Permute y", y);
      Check.floating("Move.Permute x", x);
      Check.shape("Move.Permute y", y, permuted(x.shape(), axes));
      axes = axes.clone();
    }
  }

  record Take(Sink y, Tensor x, int axis, int from) implements Move {
    public Take {
      axis = window("Take", y, y.wanted() ? y.tensor() : x, x, x, axis, from);
    }
  }

  record Put(Sink y, Tensor x, int axis, int from) implements Move {
    public Put {
      axis = window("Put", y, x, y.wanted() ? y.tensor() : x, x, axis, from);
    }
  }

  private static int window(String kernel, Sink y, Tensor small, Tensor large, Tensor x, int axis, int from) {
    Check.that(y.wanted(), "Move.%s needs a destination", kernel);
    Check.floating("Move." + kernel + " y", y);
    Check.floating("Move." + kernel + " x", x);
    int a = large.shape().axis(axis);
    boolean fits = small.shape().rank() == large.shape().rank() && small.shape().equals(large.shape().with(a, small.dim(a)));
    Check.that(fits && from >= 0 && from + small.dim(a) <= large.dim(a), "Move.%s of %s at %s along axis %s of %s", kernel, small.shape(), from, a, large.shape());
    return a;
  }

  private static Shape permuted(Shape x, int[] axes) {
    var sorted = axes.clone();
    Arrays.sort(sorted);
    for (int i = 0; i < sorted.length; i++) Check.that(sorted.length == x.rank() && sorted[i] == i, "axes %s do not permute %s", Arrays.toString(axes), x);
    return Shape.of(Arrays.stream(axes).map(x::dim).toArray());
  }

  /// x in another floating dtype.
  static Tensor cast(Pass p, Tensor x, DType dtype) {
    var y = p.result(dtype, x.shape(), x);
    p.run(new Copy(Sink.write(y), x));
    p.onBackward(y, dy -> p.run(new Copy(p.sink(x), dy)));
    return y;
  }

  /// x with its axes in another order; dimension d of the result is dimension `axes[d]` of x.
  static Tensor permute(Pass p, Tensor x, int... axes) {
    var y = p.result(x.dtype(), permuted(x.shape(), axes), x);
    p.run(new Permute(Sink.write(y), x, axes));
    var inverse = new int[axes.length];
    for (int i = 0; i < axes.length; i++) inverse[axes[i]] = i;
    p.onBackward(y, dy -> p.run(new Permute(p.sink(x), dy, inverse)));
    return y;
  }

  /// The window [from, to) along `axis`.
  static Tensor take(Pass p, Tensor x, int axis, int from, int to) {
    var y = p.result(x.dtype(), x.shape().with(axis, to - from), x);
    p.run(new Take(Sink.write(y), x, axis, from));
    p.onBackward(
        y,
        dy -> {
          var dx = p.sink(x);
          if (!dx.add()) p.run(new Fill(dx.tensor(), 0));
          p.run(new Put(Sink.add(dx.tensor()), dy, axis, from));
        });
    return y;
  }

  /// Tensors one after another along `axis`.
  static Tensor concat(Pass p, int axis, Tensor... parts) {
    Check.that(parts.length > 0, "Move.concat of no tensors along axis %s", axis);
    int n = 0;
    for (var x : parts) {
      boolean fits = x.shape().rank() == parts[0].shape().rank() && x.shape().with(axis, 0).equals(parts[0].shape().with(axis, 0));
      Check.that(fits, "Move.concat of %s and %s along axis %s: the other axes differ", parts[0].shape(), x.shape(), axis);
      n += x.dim(axis);
    }
    var y = p.result(parts[0].dtype(), parts[0].shape().with(axis, n), parts);
    int from = 0;
    for (var x : parts) {
      p.run(new Put(Sink.write(y), x, axis, from));
      from += x.dim(axis);
    }
    p.onBackward(
        y,
        dy -> {
          int at = 0;
          for (var x : parts) {
            var dx = p.sink(x);
            if (dx.wanted()) p.run(new Take(dx, dy, axis, at));
            at += x.dim(axis);
          }
        });
    return y;
  }
}
