package org.llmcore.cli;

import java.time.Duration;
import java.util.Locale;
import java.util.Optional;
import java.util.function.LongSupplier;

import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;

/// How far a long task has come: a bar on a terminal, a plain line every few seconds elsewhere (a log, a pipe), nothing under
/// `--quiet`. Close it before saying anything else.
public final class Progress implements AutoCloseable {
  private static final long LINE_EVERY = Duration.ofSeconds(5).toNanos();
  private static final int REDRAW_MILLIS = 100;

  private final Console console;
  private final String task;
  private final long steps;
  private final LongSupplier nanos;
  private final Optional<ProgressBar> bar;
  private final long started;
  private long first = -1;
  private long firstAt;
  private long spoken;

  /// Starts showing `task` of `steps` steps.
  public static Progress of(Console console, String task, long steps) {
    return new Progress(console, task, steps, System::nanoTime);
  }

  Progress(Console console, String task, long steps, LongSupplier nanos) {
    this.console = console;
    this.task = task;
    this.steps = steps;
    this.nanos = nanos;
    this.started = nanos.getAsLong();
    this.spoken = started;
    this.bar = console.animated() ? Optional.of(bar(console, task, steps)) : Optional.empty();
  }

  /// After a training step, counted from 1.
  public void step(long step, double loss, double learningRate, double gradientNorm, double tokensPerSecond) {
    advance(step, format("loss %.4f  lr %.2e  |g| %.3f  %,.0f tok/s", loss, learningRate, gradientNorm, tokensPerSecond));
  }

  /// After `step` parts of any other task.
  public void advance(long step, String text) {
    long now = nanos.getAsLong();
    if (first < 0) {
      first = step;
      firstAt = now;
    }
    if (bar.isPresent()) {
      bar.get().setExtraMessage("  " + text);
      bar.get().stepTo(step);
    } else if (now - spoken >= LINE_EVERY || step == steps) {
      spoken = now;
      console.say(format("%s %d/%d  %s%s", task, step, steps, text, left(step, now)));
    }
  }

  @Override
  public void close() {
    bar.ifPresent(ProgressBar::close);
  }

  /// The rate since the first report: what came before it (loading, compiling) does not repeat itself.
  private String left(long step, long now) {
    if (step >= steps || step == first) return "";
    long seconds = Math.round((now - firstAt) / 1e9 / (step - first) * (steps - step));
    return format("  %d:%02d left", seconds / 60, seconds % 60);
  }

  private static String format(String pattern, Object... values) {
    return String.format(Locale.ROOT, pattern, values);
  }

  private static ProgressBar bar(Console console, String task, long steps) {
    return new ProgressBarBuilder()
        .setTaskName(task)
        .setInitialMax(steps)
        .setStyle(ProgressBarStyle.UNICODE_BLOCK)
        .setUpdateIntervalMillis(REDRAW_MILLIS)
        .setConsumer(new ConsoleProgressBarConsumer(console.screen(), console.columns() - 1))
        .build();
  }
}
