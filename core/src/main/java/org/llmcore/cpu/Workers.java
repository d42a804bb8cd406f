package org.llmcore.cpu;

import java.lang.foreign.Arena;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;

/// provisional
final class Workers {
  interface Task {
    void run(int task, Scratch scratch);
  }

  private final int count;
  private final Scratch[] scratch;

  Workers(int count) {
    this.count = count;
    scratch = new Scratch[count];
    for (int i = 0; i < count; i++) scratch[i] = new Scratch();
  }

  int count() {
    return count;
  }

  void run(int tasks, Task task) {
    var next = new AtomicInteger();
    if (count == 1 || tasks < 2) {
      for (int i = 0; i < tasks; i++) { scratch[0].reset(); task.run(i, scratch[0]); }
      return;
    }
    var threads = new Thread[count];
    for (int w = 0; w < count; w++) {
      var s = scratch[w];
      threads[w] = new Thread(() -> {
        for (int i = next.getAndIncrement(); i < tasks; i = next.getAndIncrement()) { s.reset(); task.run(i, s); }
      });
      threads[w].start();
    }
    try { for (var t : threads) t.join(); } catch (InterruptedException e) { throw new RuntimeException(e); }
  }
}
