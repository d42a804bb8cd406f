package org.llmcore.cli;

import sun.misc.Signal;

/// Ends this process when its launcher is gone: who kills the launcher outright means the program. `llm.launcher` is the
/// launcher's process id; where nobody set it, nothing is watched. The first look comes after half a second, so short commands
/// pay nothing. The end is that of a SIGTERM: a run is saved, a result half-written goes away; what takes longer than ten seconds
/// for that is ended at once.
final class Orphan {
  private static final long LOOK_MILLIS = 500;
  private static final long PATIENCE_MILLIS = 10_000;
  private static final int TERMINATED = 128 + 15;

  private Orphan() {}

  /// Begins to watch.
  static void watch() {
    var launcher = Long.getLong("llm.launcher");
    if (launcher == null) return;
    Thread.ofPlatform().daemon().name("orphan").start(() -> until(launcher));
  }

  private static void until(long launcher) {
    try {
      do {
        Thread.sleep(LOOK_MILLIS);
        if (ProcessHandle.of(ProcessHandle.current().pid()).isEmpty()) return; // a system that tells nothing of processes
      } while (parent() == launcher);
      Signal.raise(new Signal("TERM"));
      Thread.sleep(PATIENCE_MILLIS);
      Runtime.getRuntime().halt(TERMINATED);
    } catch (InterruptedException _) {
      // Nobody interrupts this thread.
    }
  }

  /// Whoever adopted this process may be hidden from it.
  private static long parent() {
    return ProcessHandle.current().parent().map(ProcessHandle::pid).orElse(0L);
  }
}
