package org.llmcore.train;

import java.nio.file.Path;

import org.llmcore.eval.Task;

/// Hears what a training run does, as it does it.
public interface TrainingListener {
  /// Ignores everything.
  TrainingListener NONE = new TrainingListener() {};

  /// Something worth a line on the screen.
  default void note(String line) {}

  /// The memory plan, before anything large is allocated.
  default void planned(MemoryPlan plan) {}

  /// Training begins at step `from` + 1 of `steps`.
  default void begins(int from, int steps) {}

  /// A step is done.
  default void step(int step, Trainer.Report report, double learningRate, double tokensPerSecond) {}

  /// The evaluation loss at a step, in nats per token.
  default void evaluated(int step, double loss) {}

  /// The task is being evaluated; `done` of `items`.
  default void judging(String when, int done, int items) {}

  /// The task was evaluated before or after training.
  default void judged(String when, Task.Result result) {}

  /// A checkpoint was written.
  default void saved(Path checkpoint) {}
}
