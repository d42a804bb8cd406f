package org.llmcore.cpu;

import org.llmcore.op.CrossEntropy;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Tensor;

/// `CrossEntropy` on the CPU, split by tokens. The exponentials of a row are made and summed in pieces that stay in the
/// first-level cache, so a row of a large vocabulary is read twice and written at most twice.
final class CrossEntropyCpu {
  /// Elements of a piece; a multiple of the 16 partial sums.
  private static final int PIECE = 2048;

  private CrossEntropyCpu() {}

  static void run(Lanes lanes, Workers workers, CrossEntropy kernel) {
    switch (kernel) {
      case CrossEntropy.Forward k -> {
        check(k.targets(), k.z().columns());
        Rows.split(lanes, workers, k.z().dim(0), k.z().columns(), (from, to, s) -> forward(lanes, k, from, to, s));
      }
      case CrossEntropy.Backward k -> {
        check(k.targets(), k.z().columns());
        if (k.dz().wanted()) Rows.split(workers, k.z().dim(0), k.z().columns(), (from, to, s) -> backward(lanes, k, from, to, s));
      }
      case CrossEntropy.Fused k -> {
        check(k.targets(), k.z().columns());
        Rows.split(lanes, workers, k.z().dim(0), k.z().columns(), (from, to, s) -> fused(lanes, k, from, to, s));
      }
    }
  }

  private static void check(Tensor targets, int vocabulary) {
    long a = targets.address();
    for (long t = 0; t < targets.elements(); t++) {
      int target = Memory.i32(a + 4 * t);
      if (target != CrossEntropy.IGNORE && (target < 0 || target >= vocabulary)) {
        throw new IllegalArgumentException(
            "target %d of token %d is neither in [0, %d) nor %d (ignored)".formatted(target, t, vocabulary, CrossEntropy.IGNORE));
      }
    }
  }

  private static void forward(Lanes lanes, CrossEntropy.Forward k, long from, long to, Scratch scratch) {
    int n = k.z().columns();
    if (lanes.emitted() && RowCode.reads(k.z())) {
      int rows = (int) (to - from);
      long maxima = scratch.floats(rows);
      long sums = scratch.floats(rows);
      CrossEntropyCode.sums(RowCode.at(k.z(), from * n), k.z().dtype(), rows, n, maxima, sums);
      for (int r = 0; r < rows; r++) {
        float lse = Memory.f32(maxima + 4L * r) + Log.of(Memory.f32(sums + 4L * r));
        int target = Memory.i32(k.targets().address() + 4 * (from + r));
        Memory.f32(k.lse().address() + 4 * (from + r), lse);
        float logit = target == CrossEntropy.IGNORE ? lse : Memory.load(k.z().dtype(), k.z().address(), (from + r) * n + target);
        Memory.f32(k.loss().address() + 4 * (from + r), target == CrossEntropy.IGNORE ? 0 : lse - logit);
      }
      return;
    }
    long partials = scratch.floats(Rows.PARTIALS);
    long staged = scratch.floats(n);
    long piece = scratch.floats(PIECE);
    for (long t = from; t < to; t++) {
      long z = Rows.read(lanes, k.z(), t * n, n, staged);
      float max = Rows.max(lanes, z, n);
      Rows.clear(partials);
      for (int c = 0; c < n; c += PIECE) {
        int m = Math.min(PIECE, n - c);
        Rows.exp(lanes, piece, z + 4L * c, 1, -max, m);
        Rows.sumInto(lanes, partials, piece, m);
      }
      float lse = max + Log.of(Rows.total(partials));
      int target = Memory.i32(k.targets().address() + 4 * t);
      Memory.f32(k.lse().address() + 4 * t, lse);
      Memory.f32(k.loss().address() + 4 * t, target == CrossEntropy.IGNORE ? 0 : lse - Memory.f32(z + 4L * target));
    }
  }

  private static void backward(Lanes lanes, CrossEntropy.Backward k, long from, long to, Scratch scratch) {
    int n = k.z().columns();
    long staged = scratch.floats(n);
    long result = scratch.floats(n);
    for (long t = from; t < to; t++) {
      long dz = Rows.target(k.dz(), t * n, result);
      int target = Memory.i32(k.targets().address() + 4 * t);
      if (target == CrossEntropy.IGNORE) {
        if (k.dz().add()) continue;
        Rows.fill(lanes, dz, 0, n);
      } else {
        long z = Rows.read(lanes, k.z(), t * n, n, staged);
        float dloss = Memory.f32(k.dloss().address() + 4 * t);
        Rows.exp(lanes, dz, z, 1, -Memory.f32(k.lse().address() + 4 * t), n);
        Memory.f32(dz + 4L * target, Memory.f32(dz + 4L * target) - 1);
        Rows.scale(lanes, dz, dz, dloss, n);
      }
      Rows.write(lanes, k.dz(), t * n, n, dz);
    }
  }

  private static void fused(Lanes lanes, CrossEntropy.Fused k, long from, long to, Scratch scratch) {
    int n = k.z().columns();
    if (lanes.emitted() && k.inPlace()) {
      emitted(lanes, k, from, to, scratch);
      return;
    }
    long partials = scratch.floats(Rows.PARTIALS);
    long staged = scratch.floats(n);
    long result = scratch.floats(n);
    for (long t = from; t < to; t++) {
      int target = Memory.i32(k.targets().address() + 4 * t);
      long loss = k.loss().address() + 4 * t;
      long dz = Rows.target(k.dz(), t * n, result);
      if (target == CrossEntropy.IGNORE) {
        Memory.f32(loss, 0);
        Rows.fill(lanes, dz, 0, n);
      } else {
        long z = Rows.read(lanes, k.z(), t * n, n, staged);
        float logit = Memory.f32(z + 4L * target);
        float max = Rows.max(lanes, z, n);
        Rows.clear(partials);
        for (int c = 0; c < n; c += PIECE) {
          int m = Math.min(PIECE, n - c);
          Rows.exp(lanes, dz + 4L * c, z + 4L * c, 1, -max, m);
          Rows.sumInto(lanes, partials, dz + 4L * c, m);
        }
        float sum = Rows.total(partials);
        Memory.f32(loss, max + Log.of(sum) - logit);
        Rows.scale(lanes, dz, dz, k.scale() / sum, n);
        Memory.f32(dz + 4L * target, Memory.f32(dz + 4L * target) - k.scale());
      }
      Rows.write(lanes, k.dz(), t * n, n, dz);
    }
  }

  /// All rows of a task in one call where they are f32, else row by row through scratch.
  private static void emitted(Lanes lanes, CrossEntropy.Fused k, long from, long to, Scratch scratch) {
    int n = k.z().columns();
    int step = k.z().dtype() == DType.F32 ? (int) (to - from) : 1;
    long staged = scratch.floats(n);
    long maxima = scratch.floats(step);
    long sums = scratch.floats(step);
    long logits = scratch.floats(step);
    for (long t = from; t < to; t += step) {
      long targets = k.targets().address() + 4 * t;
      long z = Rows.read(lanes, k.z(), t * n, n, staged);
      CrossEntropyCode.fused(z, step, n, targets, k.scale(), maxima, sums, logits);
      if (z == staged) Rows.write(lanes, k.z(), t * n, n, z);
      for (int r = 0; r < step; r++) {
        boolean ignored = Memory.i32(targets + 4L * r) == CrossEntropy.IGNORE;
        float loss = ignored ? 0 : Memory.f32(maxima + 4L * r) + Log.of(Memory.f32(sums + 4L * r)) - Memory.f32(logits + 4L * r);
        Memory.f32(k.loss().address() + 4 * (t + r), loss);
      }
    }
  }
}
