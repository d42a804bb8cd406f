package org.llmcore.train;

import java.io.IOException;
import java.nio.file.Path;
import java.time.InstantSource;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;

/// What a run writes down as it goes, and tells its listener: `metrics.jsonl`, the event file of TensorBoard, at the end `loss.png`.
final class RunLog implements AutoCloseable {
  private static final String METRICS = "metrics.jsonl";

  private final Path folder;
  private final TrainingListener listener;
  private final Metrics metrics;
  private final EventFile events;

  private RunLog(Path folder, TrainingListener listener, Metrics metrics, EventFile events) {
    this.folder = folder;
    this.listener = listener;
    this.metrics = metrics;
    this.events = events;
  }

  /// The log of a run that begins.
  static RunLog create(Path folder, TrainingListener listener) {
    return new RunLog(folder, listener, Metrics.create(folder.resolve(METRICS)), EventFile.create(folder, 0, InstantSource.system()));
  }

  /// The log of a run that continues after a step: what was written of later ones is dropped.
  /// @param step empty: it begins anew
  static RunLog resume(Path folder, TrainingListener listener, Optional<Integer> step) {
    var metrics = Metrics.resume(folder.resolve(METRICS), step.orElse(-1));
    return new RunLog(folder, listener, metrics, EventFile.create(folder, step.orElse(0), InstantSource.system()));
  }

  void step(int step, Trainer.Report report, double rate, double speed) {
    var values = new LinkedHashMap<String, Double>();
    values.put("loss", report.loss());
    values.put("learning_rate", rate);
    values.put("gradient_norm", report.gradientNorm());
    values.put("tokens_per_second", speed);
    metrics.add(new Metrics.Line(step, values));
    events.add(step, Map.of("train/loss", report.loss(), "train/learning_rate", rate, "train/gradient_norm", report.gradientNorm()));
    listener.step(step, report, rate, speed);
  }

  void evaluated(int step, double loss) {
    metrics.add(new Metrics.Line(step, Map.of("eval_loss", loss)));
    events.add(step, Map.of("eval/loss", loss));
    listener.evaluated(step, loss);
  }

  /// The loss of the last step written down, NaN if there is none.
  double lastLoss() {
    return lines().stream().map(l -> l.values().get("loss")).filter(Objects::nonNull).reduce((_, last) -> last).orElse(Double.NaN);
  }

  /// Draws the losses.
  void plot() throws IOException {
    LossCurve.write(folder.resolve("loss.png"), folder.getFileName().toString(), lines());
  }

  private List<Metrics.Line> lines() {
    return Metrics.read(folder.resolve(METRICS));
  }

  @Override
  public void close() {
    try (metrics) {
      events.close();
    }
  }
}
