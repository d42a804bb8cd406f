package org.llmcore.cpu;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;

/// A fixed team of threads; the caller is one of them. Tasks are taken from a counter, so an uneven split balances itself;
/// what a task computes never depends on who takes it.
///
/// A worker without work spins for some microseconds, because the next kernel usually follows at once, and then parks, so
/// that an idle engine costs nothing. One thread at a time may call `run`.
final class Workers implements AutoCloseable {
  private static final int SPINS = 20_000;

  /// One of the numbered tasks of a job. Scratch is the worker's own and empty.
  interface Task {
    void run(int task, Scratch scratch);
  }

  private final Thread[] team;
  private final Scratch[] scratch;
  private final AtomicInteger next = new AtomicInteger();
  private final AtomicInteger busy = new AtomicInteger();
  private final AtomicLong epoch = new AtomicLong();
  private volatile boolean closed;
  private Task task;
  private int tasks;
  private volatile Throwable failure;

  /// A team of `count` ≥ 1 including the caller.
  Workers(int count) {
    scratch = new Scratch[count];
    for (int i = 0; i < count; i++) scratch[i] = new Scratch();
    team = new Thread[count - 1];
    for (int i = 0; i < team.length; i++) {
      int me = i + 1;
      team[i] = Thread.ofPlatform().daemon().name("llm-worker-" + me).start(() -> work(me));
    }
  }

  int count() {
    return scratch.length;
  }

  /// Runs tasks 0 … tasks−1 and returns when all are done; rethrows the first failure.
  void run(int tasks, Task task) {
    if (team.length == 0 || tasks < 2) {
      for (int i = 0; i < tasks; i++) one(task, i, scratch[0]);
      return;
    }
    this.task = task;
    this.tasks = tasks;
    failure = null;
    next.set(0);
    busy.set(team.length);
    epoch.incrementAndGet();
    for (var t : team) LockSupport.unpark(t);
    drain(scratch[0]);
    while (busy.get() > 0) Thread.onSpinWait();
    this.task = null;
    var f = failure;
    if (f instanceof RuntimeException e) throw e;
    if (f instanceof Error e) throw e;
  }

  private void drain(Scratch own) {
    try {
      for (int i = next.getAndIncrement(); i < tasks; i = next.getAndIncrement()) one(task, i, own);
    } catch (RuntimeException | Error e) {
      failure = e;
      next.set(tasks);
    }
  }

  private static void one(Task task, int i, Scratch own) {
    own.reset();
    task.run(i, own);
  }

  private void work(int me) {
    long seen = 0;
    while (true) {
      for (int spins = 0; epoch.get() == seen; spins++) {
        if (closed) return;
        if (spins < SPINS) Thread.onSpinWait();
        else LockSupport.park(this);
      }
      seen = epoch.get();
      drain(scratch[me]);
      busy.decrementAndGet();
    }
  }

  @Override
  public void close() {
    closed = true;
    for (var t : team) LockSupport.unpark(t);
    for (var t : team) {
      try {
        t.join();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    for (var s : scratch) s.close();
  }
}
