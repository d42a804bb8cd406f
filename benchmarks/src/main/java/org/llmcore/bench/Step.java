package org.llmcore.bench;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

import org.llmcore.Devices;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.data.Batch;
import org.llmcore.model.Decoder;
import org.llmcore.model.Initialisation;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.tensor.Region;
import org.llmcore.train.MemoryPlan;
import org.llmcore.train.Optimizer;
import org.llmcore.train.Trainer;
import org.llmcore.train.Tuning;

/// One training step: forward, backward, clipping and AdamW over every parameter (`full`), or over LoRA of rank 8 on all linear
/// layers (`lora`), on random tokens.
///
///     java … org.llmcore.bench.Step SHAPE full|lora STEPS [PRECISION] [recompute]
///
/// prints the median tokens/s of the later half of the steps and the peak of the process's memory in MB. `recompute` keeps activations
/// between blocks only.
final class Step implements AutoCloseable {
  private final Device device;
  private final List<Region> regions;
  private final Trainer trainer;
  private final Batch batch;
  private int number;

  private Step(Device device, List<Region> regions, Trainer trainer, Batch batch) {
    this.device = device;
    this.regions = regions;
    this.trainer = trainer;
    this.batch = batch;
  }

  static Step of(Shapes s, String method, Precision precision, boolean recompute) {
    return of(Devices.open(), s, method, precision, recompute);
  }

  /// @param device is closed with the step
  static Step of(Device device, Shapes s, String method, Precision precision, boolean recompute) {
    var form = precision.form();
    var lora = method.equals("lora") ? Optional.of(LoraConfig.of(8, 16, 0, false, List.of("all-linear"))) : Optional.<LoraConfig>empty();
    var shape = new MemoryPlan.Shape(s.config(), form, lora, recompute);
    var plan = MemoryPlan.of(shape, s.batch() * s.length(), s.batch());
    var weights = device.reserve("weights", plan.weights());
    var training = device.reserve("training", plan.training());
    var step = device.reserve("step", plan.step());
    var decoder = Decoder.carve(s.config(), weights, form, lora.isEmpty());
    Initialisation.initialise(decoder, 1);
    var tuning = lora.map(c -> Tuning.lora(decoder, c, training)).orElseGet(() -> Tuning.full(decoder));
    tuning.lora().ifPresent(l -> l.initialise(1));
    var optimizer = new Optimizer(device, training, tuning.trained(), new Optimizer.Settings(0.9, 0.999, 1e-8, 0.01, 1));
    return new Step(device, List.of(step, training, weights), new Trainer(device, tuning, optimizer, step, recompute, 1), batch(s));
  }

  private static Batch batch(Shapes s) {
    int t = s.batch() * s.length();
    var ids = new int[t];
    var targets = new int[t];
    var positions = new int[t];
    var starts = new int[s.batch() + 1];
    for (int i = 0; i < t; i++) {
      ids[i] = (int) (Dropout.uniform(5, i) * s.config().vocabulary());
      targets[i] = (int) (Dropout.uniform(6, i) * s.config().vocabulary());
      positions[i] = i % s.length();
    }
    for (int i = 0; i <= s.batch(); i++) starts[i] = i * s.length();
    return new Batch(ids, targets, starts, positions, t);
  }

  Trainer.Report run() {
    return trainer.step(++number, List.of(batch), 1e-5);
  }

  @Override
  public void close() {
    regions.forEach(Region::close);
    device.close();
  }

  public static void main(String[] args) throws IOException {
    if (args.length < 3 || args.length > 5) throw new IllegalArgumentException("expected SHAPE full|lora STEPS [PRECISION] [recompute]");
    var shape = Shapes.of(args[0]);
    var precision = args.length > 3 ? Precision.parse(args[3]) : Precision.F32;
    boolean recompute = args.length > 4 && args[4].equals("recompute");
    int steps = Integer.parseInt(args[2]);
    var seconds = new ArrayList<Double>();
    try (var step = of(shape, args[1], precision, recompute)) {
      for (int i = 0; i < steps; i++) {
        long begun = System.nanoTime();
        step.run();
        if (i >= steps / 2) seconds.add((System.nanoTime() - begun) / 1e9);
      }
    }
    seconds.sort(null);
    double middle = seconds.get(seconds.size() / 2);
    System.out.println(String.format(Locale.ROOT, "%.1f %d", shape.batch() * shape.length() / middle, Memory.peak() >> 20));
  }
}
