package org.llmcore.cpu;

import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// The two products inside attention, on f32 scratch whose rows are padded with zeros to a multiple of 16.
///
/// | product | meaning                        | order of the sum                                              |
/// |---------|--------------------------------|---------------------------------------------------------------|
/// | `dots`  | s[i,u] = Σ_d q[i,d] · k[u,d]   | rule 3 over d; lanes lie along u, so keys come transposed     |
/// | `chain` | y[i,d] += Σ_j c[i,j] · x[j,d]  | one fma chain in ascending j; lanes lie along d               |
///
/// Several rows share each load of keys or x; an element's own order of operations is the same however rows are grouped.
/// Addresses are of floats, strides are in elements.
final class AttentionTiles {
  /// Rows that `chain4` handles together: with two vectors each, 8 independent chains hide the latency of an fma.
  static final int ROWS = 4;

  private AttentionTiles() {}

  /// n rounded up to whole padding units.
  static int padded(int n) {
    return n + 15 & -16;
  }

  /// Copies d elements from `from` as f32, zero-padded to `width`.
  static void row(Lanes lanes, Tensor t, long from, int d, int width, long to, long staging) {
    long source = Rows.read(lanes, t, from, d, staging);
    Rows.copy(lanes, to, source, d);
    for (int i = d; i < width; i++) Memory.f32(to + 4L * i, 0);
  }

  /// Writes d elements from `from` as column u of a (…, stride) matrix.
  static void column(Lanes lanes, Tensor t, long from, int d, int stride, int u, long to, long staging) {
    long source = Rows.read(lanes, t, from, d, staging);
    long at = to + 4L * u;
    for (int i = 0; i < d; i++) Memory.f32(at + 4L * i * stride, Memory.f32(source + 4L * i));
  }

  /// s (rows, stride) = q (rows, width) · kt (width, stride) for the first n columns; rows is rounded up to even, n to 16.
  static void dots(Lanes lanes, long s, long q, long kt, int stride, int width, int rows, int n) {
    for (int i = 0; i < rows; i += 2) {
      long to = s + 4L * i * stride;
      long from = q + 4L * i * width;
      if (lanes.vector()) {
        for (int u = 0; u < n; u += Lanes.N) dots2(to + 4L * u, from, kt + 4L * u, stride, width);
      } else {
        for (int u = 0; u < n; u++) {
          Memory.f32(to + 4L * u, dot(from, kt + 4L * u, stride, width));
          Memory.f32(to + 4L * (u + stride), dot(from + 4L * width, kt + 4L * u, stride, width));
        }
      }
    }
  }

  /// Two rows of scores for one vector of keys: partial sums j and j+8 side by side, then the tree of rule 3 from the leaves,
  /// so that few values are alive. Four steps of a partial sum are written out, because a loop of three (D = 48) costs more
  /// than its work.
  private static void dots2(long s, long q, long kt, int stride, int width) {
    var zero = Lanes.all(0);
    var sum0 = zero;
    var sum1 = zero;
    for (int one = 0; one < 2; one++) {
      var two0 = zero;
      var two1 = zero;
      for (int two = one; two < 4; two += 2) {
        var four0 = zero;
        var four1 = zero;
        for (int j = two; j < 8; j += 4) {
          var a0 = zero;
          var b0 = zero;
          var a1 = zero;
          var b1 = zero;
          for (int d = j; d < width; d += 64) {
            long q0 = q + 4L * d;
            long q1 = q0 + 4L * width;
            long k = kt + 4L * d * stride;
            var u0 = Lanes.load(k);
            var v0 = Lanes.load(k + 32L * stride);
            a0 = u0.fma(Lanes.all(Memory.f32(q0)), a0);
            b0 = v0.fma(Lanes.all(Memory.f32(q0 + 32)), b0);
            a1 = u0.fma(Lanes.all(Memory.f32(q1)), a1);
            b1 = v0.fma(Lanes.all(Memory.f32(q1 + 32)), b1);
            if (d + 16 < width) {
              k += 64L * stride;
              var u1 = Lanes.load(k);
              var v1 = Lanes.load(k + 32L * stride);
              a0 = u1.fma(Lanes.all(Memory.f32(q0 + 64)), a0);
              b0 = v1.fma(Lanes.all(Memory.f32(q0 + 96)), b0);
              a1 = u1.fma(Lanes.all(Memory.f32(q1 + 64)), a1);
              b1 = v1.fma(Lanes.all(Memory.f32(q1 + 96)), b1);
            }
            if (d + 32 < width) {
              k += 64L * stride;
              var u2 = Lanes.load(k);
              var v2 = Lanes.load(k + 32L * stride);
              a0 = u2.fma(Lanes.all(Memory.f32(q0 + 128)), a0);
              b0 = v2.fma(Lanes.all(Memory.f32(q0 + 160)), b0);
              a1 = u2.fma(Lanes.all(Memory.f32(q1 + 128)), a1);
              b1 = v2.fma(Lanes.all(Memory.f32(q1 + 160)), b1);
            }
            if (d + 48 < width) {
              k += 64L * stride;
              var u3 = Lanes.load(k);
              var v3 = Lanes.load(k + 32L * stride);
              a0 = u3.fma(Lanes.all(Memory.f32(q0 + 192)), a0);
              b0 = v3.fma(Lanes.all(Memory.f32(q0 + 224)), b0);
              a1 = u3.fma(Lanes.all(Memory.f32(q1 + 192)), a1);
              b1 = v3.fma(Lanes.all(Memory.f32(q1 + 224)), b1);
            }
          }
          four0 = four0.add(a0.add(b0));
          four1 = four1.add(a1.add(b1));
        }
        two0 = two0.add(four0);
        two1 = two1.add(four1);
      }
      sum0 = sum0.add(two0);
      sum1 = sum1.add(two1);
    }
    Lanes.store(s, sum0);
    Lanes.store(s + 4L * stride, sum1);
  }

  private static float dot(long q, long kt, int stride, int width) {
    float sum = 0;
    for (int j = 0; j < 2; j++) {
      float half = 0;
      for (int quad = j; quad < 4; quad += 2) {
        float a = 0;
        float b = 0;
        float c = 0;
        float e = 0;
        for (int d = quad; d < width; d += 16) {
          long k = kt + 4L * d * stride;
          a = Math.fma(Memory.f32(k), Memory.f32(q + 4L * d), a);
          b = Math.fma(Memory.f32(k + 32L * stride), Memory.f32(q + 4L * d + 32), b);
          c = Math.fma(Memory.f32(k + 16L * stride), Memory.f32(q + 4L * d + 16), c);
          e = Math.fma(Memory.f32(k + 48L * stride), Memory.f32(q + 4L * d + 48), e);
        }
        half += a + b + (c + e);
      }
      sum += half;
    }
    return sum;
  }

  /// One row: y[d] = fma(c[j], x[j,d], y[d]) for j in [from, to).
  static void chain(Lanes lanes, long y, long c, int step, long x, int stride, int width, int from, int to) {
    if (!lanes.vector()) {
      for (int j = from; j < to; j++) {
        float f = Memory.f32(c + 4L * j * step);
        long row = x + 4L * j * stride;
        for (int d = 0; d < width; d++) Memory.f32(y + 4L * d, Math.fma(f, Memory.f32(row + 4L * d), Memory.f32(y + 4L * d)));
      }
      return;
    }
    int d = 0;
    for (; d <= width - 2 * Lanes.N; d += 2 * Lanes.N) {
      var s0 = Lanes.load(y + 4L * d);
      var s1 = Lanes.load(y + 4L * (d + Lanes.N));
      for (int j = from; j < to; j++) {
        var f = Lanes.all(Memory.f32(c + 4L * j * step));
        long row = x + 4L * (d + (long) j * stride);
        s0 = Lanes.load(row).fma(f, s0);
        s1 = Lanes.load(row + 4L * Lanes.N).fma(f, s1);
      }
      Lanes.store(y + 4L * d, s0);
      Lanes.store(y + 4L * (d + Lanes.N), s1);
    }
    for (; d < width; d += Lanes.N) {
      var s = Lanes.load(y + 4L * d);
      for (int j = from; j < to; j++) {
        s = Lanes.load(x + 4L * (d + (long) j * stride)).fma(Lanes.all(Memory.f32(c + 4L * j * step)), s);
      }
      Lanes.store(y + 4L * d, s);
    }
  }

  /// `chain` for `ROWS` rows of y (…, width) and of coefficients, `rowStep` apart.
  static void chain4(Lanes lanes, long y, long c, int rowStep, int step, long x, int stride, int width, int from, int to) {
    if (!lanes.vector()) {
      for (int i = 0; i < ROWS; i++) chain(lanes, y + 4L * i * width, c + 4L * i * rowStep, step, x, stride, width, from, to);
      return;
    }
    int d = 0;
    for (; d <= width - 2 * Lanes.N; d += 2 * Lanes.N) chain4x2(y + 4L * d, c, rowStep, step, x + 4L * d, stride, width, from,
        to);
    for (; d < width; d += Lanes.N) chain4x1(y + 4L * d, c, rowStep, step, x + 4L * d, stride, width, from, to);
  }

  private static void chain4x2(long y, long c, int rowStep, int step, long x, int stride, int width, int from, int to) {
    long next = 4L * Lanes.N;
    long row = 4L * width;
    var a0 = Lanes.load(y);
    var a1 = Lanes.load(y + next);
    var b0 = Lanes.load(y + row);
    var b1 = Lanes.load(y + row + next);
    var c0 = Lanes.load(y + 2 * row);
    var c1 = Lanes.load(y + 2 * row + next);
    var d0 = Lanes.load(y + 3 * row);
    var d1 = Lanes.load(y + 3 * row + next);
    long down = 4L * rowStep;
    for (int j = from; j < to; j++) {
      var x0 = Lanes.load(x + 4L * j * stride);
      var x1 = Lanes.load(x + 4L * j * stride + next);
      long f = c + 4L * j * step;
      var fa = Lanes.all(Memory.f32(f));
      var fb = Lanes.all(Memory.f32(f + down));
      var fc = Lanes.all(Memory.f32(f + 2 * down));
      var fd = Lanes.all(Memory.f32(f + 3 * down));
      a0 = x0.fma(fa, a0);
      a1 = x1.fma(fa, a1);
      b0 = x0.fma(fb, b0);
      b1 = x1.fma(fb, b1);
      c0 = x0.fma(fc, c0);
      c1 = x1.fma(fc, c1);
      d0 = x0.fma(fd, d0);
      d1 = x1.fma(fd, d1);
    }
    Lanes.store(y, a0);
    Lanes.store(y + next, a1);
    Lanes.store(y + row, b0);
    Lanes.store(y + row + next, b1);
    Lanes.store(y + 2 * row, c0);
    Lanes.store(y + 2 * row + next, c1);
    Lanes.store(y + 3 * row, d0);
    Lanes.store(y + 3 * row + next, d1);
  }

  private static void chain4x1(long y, long c, int rowStep, int step, long x, int stride, int width, int from, int to) {
    long row = 4L * width;
    var a = Lanes.load(y);
    var b = Lanes.load(y + row);
    var e = Lanes.load(y + 2 * row);
    var g = Lanes.load(y + 3 * row);
    long down = 4L * rowStep;
    for (int j = from; j < to; j++) {
      var x0 = Lanes.load(x + 4L * j * stride);
      long f = c + 4L * j * step;
      a = x0.fma(Lanes.all(Memory.f32(f)), a);
      b = x0.fma(Lanes.all(Memory.f32(f + down)), b);
      e = x0.fma(Lanes.all(Memory.f32(f + 2 * down)), e);
      g = x0.fma(Lanes.all(Memory.f32(f + 3 * down)), g);
    }
    Lanes.store(y, a);
    Lanes.store(y + row, b);
    Lanes.store(y + 2 * row, e);
    Lanes.store(y + 3 * row, g);
  }
}
