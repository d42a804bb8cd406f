package org.llmcore.cpu;

import org.llmcore.op.Rope;
import org.llmcore.tensor.Memory;

/// `Rope` on the CPU, split by tokens. Neighbouring pairs have one scalar loop for both tiers.
final class RopeCpu {
  private RopeCpu() {}

  static void run(Lanes lanes, Workers workers, Rope kernel) {
    switch (kernel) {
      case Rope.Rotate k -> {
        check(k);
        Rows.split(
            lanes, workers, k.x().dim(0), (long) k.x().dim(1) * k.x().dim(2),
            (from, to, s) -> rotate(lanes, k, from, to, s));
      }
    }
  }

  private static void check(Rope.Rotate k) {
    long positions = k.positions().address();
    for (int t = 0; t < k.x().dim(0); t++) {
      int position = Memory.i32(positions + 4L * t);
      if (position < 0 || position >= k.table().rows()) {
        throw new IllegalArgumentException("position %d of token %d is outside the table of %d".formatted(position, t,
            k.table().rows()));
      }
    }
  }

  private static void rotate(Lanes lanes, Rope.Rotate k, long from, long to, Scratch scratch) {
    if (lanes.emitted() && RopeCode.takes(k)) {
      RopeCode.rotate(k, from, to);
      return;
    }
    int heads = k.x().dim(1);
    int d = k.x().columns();
    int n = heads * d;
    long staged = scratch.floats(n);
    long result = scratch.floats(n);
    for (long t = from; t < to; t++) {
      long cos = k.table().address() + 4L * d * Memory.i32(k.positions().address() + 4 * t);
      long x = Rows.read(lanes, k.x(), t * n, n, staged);
      long y = Rows.target(k.y(), t * n, result);
      for (int h = 0; h < heads; h++) {
        if (k.pairing() == Rope.Pairing.HALVES) halves(lanes, y + 4L * h * d, x + 4L * h * d, cos, d / 2, k.inverse() ? -1 : 1);
        else neighbours(y + 4L * h * d, x + 4L * h * d, cos, d / 2, k.inverse() ? -1 : 1);
      }
      Rows.write(lanes, k.y(), t * n, n, y);
    }
  }

  private static void halves(Lanes lanes, long y, long x, long cos, int half, float sign) {
    int i = 0;
    for (; i < lanes.whole(half); i += Lanes.N) {
      var u = Lanes.load(x + 4L * i);
      var v = Lanes.load(x + 4L * (half + i));
      var c = Lanes.load(cos + 4L * i);
      var s = Lanes.load(cos + 4L * (half + i)).mul(sign);
      Lanes.store(y + 4L * i, u.fma(c, v.mul(s).neg()));
      Lanes.store(y + 4L * (half + i), u.fma(s, v.mul(c)));
    }
    for (; i < half; i++) {
      float u = Memory.f32(x + 4L * i);
      float v = Memory.f32(x + 4L * (half + i));
      float c = Memory.f32(cos + 4L * i);
      float s = Memory.f32(cos + 4L * (half + i)) * sign;
      Memory.f32(y + 4L * i, Math.fma(u, c, -(v * s)));
      Memory.f32(y + 4L * (half + i), Math.fma(u, s, v * c));
    }
  }

  private static void neighbours(long y, long x, long cos, int half, float sign) {
    for (int i = 0; i < half; i++) {
      float u = Memory.f32(x + 8L * i);
      float v = Memory.f32(x + 8L * i + 4);
      float c = Memory.f32(cos + 4L * i);
      float s = Memory.f32(cos + 4L * (half + i)) * sign;
      Memory.f32(y + 8L * i, Math.fma(u, c, -(v * s)));
      Memory.f32(y + 8L * i + 4, Math.fma(u, s, v * c));
    }
  }
}
