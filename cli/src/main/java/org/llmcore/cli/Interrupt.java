package org.llmcore.cli;

import java.util.List;
import java.util.function.BooleanSupplier;

import sun.misc.Signal;
import sun.misc.SignalHandler;

/// Ctrl-C, SIGTERM and a lost terminal as a question a loop can ask: whether to save and leave. The virtual machine does not
/// begin to shut down, so that everything still works while the run is being saved. A second signal, a second later or more,
/// ends the process at once: the launcher passes on what the terminal has sent to both of us already. Signals that the parent
/// had set to be ignored (`nohup`, a background job) stay ignored.
final class Interrupt implements BooleanSupplier {
  /// The exit code of what was interrupted.
  static final int CODE = 130;

  private static final long AGAIN = 1_000_000_000;

  /// Ends a task where it stands; what it was writing goes with it.
  static final class Stopped extends RuntimeException {
    private static final long serialVersionUID = 1;
  }

  private volatile boolean asked;
  private long first;

  Interrupt() {
    for (var name : List.of("INT", "TERM", "HUP")) listen(name);
  }

  private void listen(String name) {
    try {
      var signal = new Signal(name);
      if (Signal.handle(signal, this::received) == SignalHandler.SIG_IGN) Signal.handle(signal, SignalHandler.SIG_IGN);
    } catch (IllegalArgumentException _) {
      // this system has no such signal, or the virtual machine was told to leave signals alone
    }
  }

  private synchronized void received(Signal signal) {
    if (!asked) first = System.nanoTime();
    else if (System.nanoTime() - first > AGAIN) Runtime.getRuntime().halt(128 + signal.getNumber());
    asked = true;
  }

  @Override
  public boolean getAsBoolean() {
    return asked;
  }

  /// @throws Stopped once somebody has asked
  void check() {
    if (asked) throw new Stopped();
  }
}
