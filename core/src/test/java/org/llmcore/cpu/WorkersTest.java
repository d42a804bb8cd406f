package org.llmcore.cpu;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicIntegerArray;

import org.junit.jupiter.api.Test;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

class WorkersTest {
  @Test
  void everyTaskRunsOnceAndIsDoneWhenRunReturns() {
    for (int count : new int[] {1, 2, 5}) {
      try (var workers = new Workers(count)) {
        for (int tasks = 0; tasks < 40; tasks++) {
          for (int turn = 0; turn < 50; turn++) {
            var runs = new int[tasks]; // plain memory: `run` must publish it
            workers.run(tasks, (task, _) -> runs[task]++);
            assertThat(runs).containsOnly(tasks == 0 ? new int[0] : new int[] {1});
          }
        }
      }
    }
  }

  @Test
  void aTeamThatSleptWakesAgain() throws InterruptedException {
    try (var workers = new Workers(2)) {
      for (int turn = 0; turn < 5; turn++) {
        Thread.sleep(10); // longer than a worker spins
        var both = new CountDownLatch(2);
        workers.run(2, (_, _) -> {
          both.countDown();
          await(both);
        });
        assertThat(both.getCount()).isZero();
      }
    }
  }

  @Test
  void aNewTeamTakesPartInItsFirstRun() {
    for (int team = 0; team < 100; team++) {
      try (var workers = new Workers(2)) {
        var both = new CountDownLatch(2);
        workers.run(2, (_, _) -> {
          both.countDown();
          await(both);
        });
        assertThat(both.getCount()).isZero();
      }
    }
  }

  /// Returns only if the other task runs at the same time.
  private static void await(CountDownLatch both) {
    try {
      if (!both.await(20, TimeUnit.SECONDS)) throw new IllegalStateException("the other worker did not come");
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void theFirstFailureIsThrownWhenNoTaskRunsAnyMoreAndTheTeamGoesOn() {
    try (var workers = new Workers(3)) {
      for (int turn = 0; turn < 200; turn++) {
        int bad = turn % 30;
        var running = new AtomicIntegerArray(1);
        assertThatThrownBy(
            () -> workers.run(30, (task, _) -> {
              running.incrementAndGet(0);
              try {
                if (task == bad) throw new IllegalArgumentException("task " + task);
              } finally {
                running.decrementAndGet(0);
              }
            })).isInstanceOf(IllegalArgumentException.class).hasMessage("task " + bad);
        assertThat(running.get(0)).isZero();
        var sums = new int[8];
        workers.run(8, (task, _) -> sums[task] = task);
        assertThat(sums).containsExactly(0, 1, 2, 3, 4, 5, 6, 7);
      }
    }
  }
}
