package org.llmcore.quantize;

import java.util.concurrent.ExecutionException;
import java.util.concurrent.ForkJoinPool;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;

/// Threads for what is no kernel of a device: factorisations and the walk over columns. Tasks never share an output, so their
/// order and number of threads change no bit.
public final class Team implements AutoCloseable {
  private final ForkJoinPool pool;

  /// @param threads at least 1
  public Team(int threads) {
    pool = new ForkJoinPool(threads);
  }

  /// Runs tasks 0 … tasks−1 and returns when all are done; rethrows the first failure.
  void run(int tasks, IntConsumer task) {
    try {
      pool.submit(() -> IntStream.range(0, tasks).parallel().forEach(task)).get();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    } catch (ExecutionException e) {
      switch (thrown(e.getCause())) {
        case RuntimeException r -> throw r;
        case Error r -> throw r;
        case Throwable t -> throw new IllegalStateException(t);
      }
    }
  }

  /// What a task threw: the pool throws a copy without words, whose cause it is.
  private static Throwable thrown(Throwable t) {
    return t.getCause() != null && t.getCause().getClass() == t.getClass() ? thrown(t.getCause()) : t;
  }

  /// Splits 0 … n−1 into stretches of at most `size`.
  void split(int n, int size, Stretch task) {
    run((n + size - 1) / size, t -> task.run(t * size, Math.min(n, t * size + size)));
  }

  /// Work on [from, to).
  interface Stretch {
    void run(int from, int to);
  }

  @Override
  public void close() {
    pool.close();
  }
}
