package org.llmcore.cpu;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;

/// A fixed team of threads; the caller is one of them. Tasks are taken from a counter, so an uneven split balances itself;
/// what a task computes never depends on who takes it.
///
/// The caller waits for tasks, not for workers: one that has not woken yet, or that the system lets wait because others use its
/// core, is not missed. A worker without work spins for some microseconds, because the next kernel usually follows at once, and
/// then parks, so that an idle engine costs nothing; only parked workers are woken, for that is a system call. One thread at a
/// time may call `run`.
final class Workers implements AutoCloseable {
  private static final int SPINS = 4_000; // a pause takes some 50 ns
  private static final int PATIENCE = 1_000; // of the caller, before others may have its core

  /// One of the numbered tasks of a run. Scratch is the worker's own and empty.
  interface Task {
    void run(int task, Scratch scratch);
  }

  /// What `run` was asked for, how far it is, and what went wrong. A worker that comes late finds no task left.
  private static final class Run {
    final Task task;
    final int tasks;
    final AtomicInteger next = new AtomicInteger();
    final AtomicInteger done = new AtomicInteger();
    volatile Throwable failure;

    Run(int tasks, Task task) {
      this.tasks = tasks;
      this.task = task;
    }

    void drain(Scratch own) {
      for (int i = next.getAndIncrement(); i < tasks; i = next.getAndIncrement()) {
        int finished = 1;
        try {
          one(task, i, own);
        } catch (RuntimeException | Error e) {
          if (failure == null) failure = e;
          finished += Math.max(0, tasks - next.getAndSet(tasks)); // nobody begins the rest
        }
        done.addAndGet(finished);
      }
    }
  }

  private static final class Worker {
    final Scratch scratch = new Scratch();
    volatile boolean parked;
    Thread thread;
  }

  private final Scratch own = new Scratch();
  private final Worker[] team;
  private volatile Run run = new Run(0, (_, _) -> {});
  private volatile boolean closed;

  /// A team of `count` ≥ 1 including the caller.
  Workers(int count) {
    team = new Worker[count - 1];
    for (int i = 0; i < team.length; i++) {
      var me = new Worker();
      team[i] = me;
      me.thread = Thread.ofPlatform().daemon().name("llm-worker-" + (i + 1)).start(() -> work(me));
    }
  }

  int count() {
    return team.length + 1;
  }

  /// Runs tasks 0 … tasks−1 and returns when all are done; rethrows the first failure.
  void run(int tasks, Task task) {
    if (team.length == 0 || tasks < 2) {
      for (int i = 0; i < tasks; i++) one(task, i, own);
      return;
    }
    var now = new Run(tasks, task);
    run = now;
    for (int i = 0; i < team.length && i < tasks - 1; i++) if (team[i].parked) LockSupport.unpark(team[i].thread);
    now.drain(own);
    for (int spins = 0; now.done.get() < tasks; spins++) {
      if (spins < PATIENCE) Thread.onSpinWait();
      else Thread.yield();
    }
    if (now.failure instanceof RuntimeException e) throw e;
    if (now.failure instanceof Error e) throw e;
  }

  private static void one(Task task, int i, Scratch own) {
    own.reset();
    task.run(i, own);
  }

  private void work(Worker me) {
    Run seen = null; // not what stands in `run`: the first one may have come before this thread began
    while (true) {
      for (int spins = 0; run == seen; spins++) {
        if (closed) return;
        if (spins < SPINS) {
          Thread.onSpinWait();
        } else {
          me.parked = true;
          if (run == seen && !closed) LockSupport.park(this);
          me.parked = false;
        }
      }
      seen = run;
      seen.drain(me.scratch);
    }
  }

  @Override
  public void close() {
    closed = true;
    for (var w : team) LockSupport.unpark(w.thread);
    for (var w : team) {
      try {
        w.thread.join();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    for (var w : team) w.scratch.close();
    own.close();
  }
}
