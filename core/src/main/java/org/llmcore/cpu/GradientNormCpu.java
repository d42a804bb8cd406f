package org.llmcore.cpu;

import org.llmcore.op.GradientNorm;
import org.llmcore.tensor.Memory;

/// `GradientNorm` on the CPU, split by the chunks of its definition.
final class GradientNormCpu {
  private GradientNormCpu() {}

  static void run(Lanes lanes, Workers workers, GradientNorm kernel) {
    switch (kernel) {
      case GradientNorm.SumOfSquares k -> sum(lanes, workers, k);
      case GradientNorm.Clip k -> clip(k);
    }
  }

  private static void sum(Lanes lanes, Workers workers, GradientNorm.SumOfSquares k) {
    long elements = k.x().elements();
    var chunks = new float[Math.toIntExact((elements + GradientNorm.CHUNK - 1) / GradientNorm.CHUNK)];
    workers.run(
        chunks.length,
        (task, s) -> {
          long from = (long) task * GradientNorm.CHUNK;
          int n = (int) Math.min(GradientNorm.CHUNK, elements - from);
          long x = Rows.read(lanes, k.x(), from, n, s.floats(n));
          chunks[task] = Rows.dot(lanes, x, x, n, s.floats(Rows.PARTIALS));
        });
    double total = 0;
    for (float c : chunks) total += c;
    Memory.f32(k.sums().address() + 4L * k.slot(), (float) total);
  }

  private static void clip(GradientNorm.Clip k) {
    double total = 0;
    for (int i = 0; i < k.slots(); i++) total += Memory.f32(k.sums().address() + 4L * i);
    float norm = (float) Math.sqrt(total);
    Memory.f32(k.norm().address(), norm);
    Memory.f32(k.factor().address(), k.max() <= 0 ? 1 : Math.min(1, k.max() / (norm + 1e-6f)));
  }
}
