package org.llmcore.cpu;

import java.util.Arrays;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;

import org.llmcore.flags.Flags;

/// What it costs to hand work to the team (`Workers`) and to wait for it: runs of one task per thread, each of which waits until all have
/// begun, so that nobody can do the work of two; one after another, as kernels follow each other, and after a pause in which the team has
/// gone to sleep.
///
///     java … org.llmcore.cpu.HandOff        a Markdown table of medians, microseconds
///
/// It stands in the package of `Workers`, which nobody else may use.
final class HandOff {
  private static final int RUNS = 20_000;
  private static final int PAUSES = 300;
  private static final long PAUSE = 3_000_000;

  private HandOff() {}

  public static void main(String[] args) {
    System.out.println("| threads | at once, µs | after a pause of 3 ms, µs |");
    System.out.println("|---|---|---|");
    for (int threads = 1; threads <= Flags.threads(); threads *= 2) {
      try (var workers = new Workers(threads)) {
        median(workers, RUNS, 0); // warm
        System.out.printf("| %d | %.2f | %.1f |%n", threads, median(workers, RUNS, 0), median(workers, PAUSES, PAUSE));
      }
    }
  }

  private static double median(Workers workers, int runs, long pause) {
    var nanos = new long[runs];
    for (int i = 0; i < runs; i++) {
      if (pause > 0) LockSupport.parkNanos(pause);
      var begun = new AtomicInteger();
      long start = System.nanoTime();
      workers.run(
          workers.count(),
          (_, _) -> {
            begun.incrementAndGet();
            while (begun.get() < workers.count()) Thread.onSpinWait();
          });
      nanos[i] = System.nanoTime() - start;
    }
    Arrays.sort(nanos);
    return nanos[runs / 2] / 1e3;
  }
}
