package org.llmcore.train;

import java.nio.file.Path;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.BooleanSupplier;

import org.llmcore.InvalidInput;
import org.llmcore.model.Decoder;
import org.llmcore.op.Device;

/// The steps of a run, with its evaluations and checkpoints, from the first or from where a checkpoint ends.
final class TrainingLoop {
  /// Where the loop runs, and who watches it.
  /// @param checkpoints their folder
  /// @param stop asked before every step: whether to save and leave
  record Surroundings(Device device, Path checkpoints, TrainingListener listener, BooleanSupplier stop) {}

  /// What the loop leaves behind.
  /// @param firstStepDone when, by `System.nanoTime`; 0 if there was no step
  /// @param note what should be said of it; may be empty
  record Result(
      OptionalDouble accuracyBefore, OptionalDouble lossBefore, OptionalDouble lossAfter, double firstLoss, double lastLoss, int steps, double tokensPerSecond,
      long firstStepDone, boolean interrupted, Optional<String> note) {}

  private final Surroundings around;
  private final Setup setup;
  private final Recipe recipe;
  private final Trainer trainer;
  private final Tuning tuning;
  private final Optimizer optimizer;
  private final RunLog log;
  private final int from;
  private final OptionalDouble accuracyBefore;
  private OptionalDouble lossBefore;
  private OptionalDouble lastEvaluated = OptionalDouble.empty();
  private double firstLoss;
  private double lastLoss;
  private double bestLoss;
  private int bestStep;
  private int stale; // evaluations since then
  private int saved;

  /// @param accuracy the task's before training, if it is known by now
  /// @param state what the run continues from, loaded already; its accuracy counts instead
  TrainingLoop(
      Surroundings around, Setup setup, Trainer trainer, Tuning tuning, Optimizer optimizer, RunLog log, OptionalDouble accuracy,
      Optional<Checkpoint.State> state) {
    this.around = around;
    this.setup = setup;
    this.recipe = setup.recipe();
    this.trainer = trainer;
    this.tuning = tuning;
    this.optimizer = optimizer;
    this.log = log;
    from = state.map(Checkpoint.State::step).orElse(0);
    saved = state.map(Checkpoint.State::step).orElse(-1);
    lastLoss = state.isPresent() ? log.lastLoss() : Double.NaN;
    firstLoss = state.map(Checkpoint.State::firstLoss).orElse(Double.NaN);
    bestLoss = state.map(Checkpoint.State::bestLoss).orElse(Double.POSITIVE_INFINITY);
    bestStep = state.map(Checkpoint.State::bestStep).orElse(0);
    stale = state.map(Checkpoint.State::stale).orElse(0);
    accuracyBefore = state.map(s -> number(s.accuracyBefore())).orElse(accuracy);
    lossBefore = state.map(s -> number(s.lossBefore())).orElse(OptionalDouble.empty());
  }

  private static OptionalDouble number(double x) {
    return Double.isNaN(x) ? OptionalDouble.empty() : OptionalDouble.of(x);
  }

  Result run() {
    var t = recipe.training();
    int steps = setup.steps().steps();
    var schedule = new LrSchedule(t.schedule(), t.learningRate(), t.minLearningRate(), t.warmup(steps), steps);
    // An adapter leaves the base as it was: where there is one, the base is evaluated after the first step, which comes sooner.
    boolean frozen = tuning.adapter().isPresent();
    boolean continued = saved >= 0;
    if (!continued && !frozen) lossBefore = evaluate(0, tuning.decoder());
    var after = lossBefore;
    around.listener.begins(from, steps);
    long begun = System.nanoTime();
    long tokens = 0;
    long firstStepDone = 0;
    int s = from;
    boolean early = false;
    while (s < steps && !early && !around.stop.getAsBoolean()) {
      double rate = schedule.at(s);
      var report = trainer.step(++s, setup.steps().batches(s), rate);
      check(report, s);
      if (s == from + 1) firstStepDone = System.nanoTime();
      if (s == 1 && frozen && lossBefore.isEmpty()) lossBefore = evaluate(0, setup.model().decoder());
      tokens += report.tokens();
      if (Double.isNaN(firstLoss)) firstLoss = report.loss();
      lastLoss = report.loss();
      log.step(s, report, rate, perSecond(tokens, begun));
      if (due(recipe.evaluation().every(), s, steps)) {
        after = evaluate(s, tuning.decoder());
        early = recipe.evaluation().patience().isPresent() && stale >= recipe.evaluation().patience().getAsInt();
      }
      if (due(recipe.checkpoints().every(), s, steps)) save(s);
    }
    double speed = perSecond(tokens, begun);
    boolean interrupted = s < steps && !early;
    if (!interrupted && !early) after = evaluate(s, tuning.decoder());
    save(s);
    Optional<String> note = Optional.empty();
    if (early) {
      var best = Checkpoint.list(around.checkpoints).stream().filter(c -> c.state().step() == bestStep).findFirst();
      best.ifPresent(c -> c.restore(around.device, tuning));
      after = best.isPresent() ? OptionalDouble.of(bestLoss) : lastEvaluated;
      note = Optional.of("no better evaluation loss for " + stale + " evaluations: stopped after step " + s
          + (best.isPresent() ? ", taking step " + bestStep : "; no step was better than none, keeping the last"));
    }
    return new Result(accuracyBefore, lossBefore, after, firstLoss, lastLoss, s, speed, firstStepDone, interrupted, note);
  }

  private static boolean due(int every, int step, int steps) {
    return every > 0 && step % every == 0 && step < steps;
  }

  private static double perSecond(long tokens, long begun) {
    return tokens / ((System.nanoTime() - begun) / 1e9);
  }

  private void check(Trainer.Report report, int step) {
    if (Double.isFinite(report.loss()) && Double.isFinite(report.gradientNorm())) return;
    var last = saved >= 0 ? "the last good checkpoint is that of step " + saved : "there is no checkpoint yet";
    throw new InvalidInput(
        "step " + step + ": loss " + report.loss() + ", gradient norm " + report.gradientNorm() + "; the parameters were not changed, " + last,
        "lower training.learningRate, add warm-up, or look at the data of this step; --resume continues from the checkpoint");
  }

  private OptionalDouble evaluate(int step, Decoder decoder) {
    if (setup.validation().isEmpty()) return OptionalDouble.empty();
    double loss = trainer.evaluate(decoder, setup.validation());
    log.evaluated(step, loss);
    lastEvaluated = OptionalDouble.of(loss);
    if (loss < bestLoss) {
      bestLoss = loss;
      bestStep = step;
      stale = 0;
      if (step > 0 && step < setup.steps().steps()) save(step);
    } else {
      stale++;
    }
    return OptionalDouble.of(loss);
  }

  private void save(int step) {
    if (saved == step) return;
    var state =
        new Checkpoint.State(
            step, recipe.training().seed(), firstLoss, bestLoss, bestStep, stale, accuracyBefore.orElse(Double.NaN), lossBefore.orElse(Double.NaN));
    Checkpoint.write(around.checkpoints, around.device, tuning, optimizer, state, recipe.checkpoints().keep());
    saved = step;
    around.listener.saved(around.checkpoints.resolve("step-%08d".formatted(step)));
  }
}
