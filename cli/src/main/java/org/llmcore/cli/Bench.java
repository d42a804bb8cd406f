package org.llmcore.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParentCommand;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.data.Batch;
import org.llmcore.generate.Generator;
import org.llmcore.generate.Sampling;
import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.op.GradientNorm;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.Move;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;
import org.llmcore.train.MemoryPlan;
import org.llmcore.train.OpenModel;
import org.llmcore.train.Optimizer;
import org.llmcore.train.Trainer;
import org.llmcore.train.Tuning;

/// `bench`: what this machine gives a model. For regressions between commits there are JMH benchmarks in `benchmarks/`.
@Command(
    name = "bench",
    description = {
      "Measures this machine with a model: matrix products and memory bandwidth, a LoRA training step, reading a prompt and "
          + "writing tokens.",
      "Medians of repeated runs after a warm-up, in about half a minute."
    },
    footer = {"Examples:", "  bench                            with the embedded model", "  bench --model DIR --threads 8    any model, any number of threads"})
final class Bench implements Callable<Integer> {
  private static final int ROWS = 512;
  private static final int BLOCK = 64 << 20; // floats of the bandwidth test: far more than any cache

  @ParentCommand private Main main;
  @Mixin private Opening opening;

  @Option(names = "--seconds", paramLabel = "S", defaultValue = "2", description = "time for each measurement (default: ${DEFAULT-VALUE})")
  private double seconds;

  /// One line of the table.
  private record Figure(String key, String words, double value, String unit) {}

  private final List<Figure> figures = new ArrayList<>();

  @Override
  public Integer call() {
    if (!(seconds > 0 && seconds <= 600)) throw new InvalidInput("--seconds is " + seconds, "expected a number above 0, for example 2");
    var console = main.console();
    try (var m = opening.or("embedded:sql-base").open(main.console())) {
      console.say(console.bold("llm-core") + " measures " + m.device().name());
      var c = m.model().config();
      List<Runnable> parts =
          List.of(() -> products(m.device(), c), () -> bandwidth(m.device()), () -> training(m.open()), () -> prompt(m.open()), () -> writing(m.open(), 1), () -> writing(m.open(), 8));
      try (var progress = Progress.of(console, "measuring", parts.size())) {
        for (int i = 0; i < parts.size(); i++) {
          parts.get(i).run();
          progress.advance(i + 1, "");
        }
      }
      var out = new LinkedHashMap<String, Object>();
      out.put("device", m.device().name());
      for (var f : figures) {
        if (!console.json()) console.print(String.format(Locale.ROOT, "%-44s %,12.1f %s%n", f.words, f.value, f.unit));
        out.put(f.key, f.value);
      }
      console.object(out);
    }
    return 0;
  }

  /// The median seconds of a piece of work, repeated for the time given after a warm-up of half of it.
  private double median(Runnable work) {
    repeat(work, seconds / 2, 2);
    var all = repeat(work, seconds, 5);
    all.sort(null);
    return all.get(all.size() / 2);
  }

  private static List<Double> repeat(Runnable work, double seconds, int least) {
    var all = new ArrayList<Double>();
    long begun = System.nanoTime();
    while (all.size() < least || System.nanoTime() - begun < seconds * 1e9) {
      long from = System.nanoTime();
      work.run();
      all.add((System.nanoTime() - from) / 1e9);
    }
    return all;
  }

  /// Runs a kernel and waits for it.
  private static void ran(Device device, Kernel kernel) {
    device.run(kernel);
    device.synchronize();
  }

  private static Tensor random(Region region, int... dims) {
    var t = region.carve(DType.F32, Shape.of(dims));
    var values = new float[Math.toIntExact(t.elements())];
    for (int i = 0; i < values.length; i++) values[i] = Dropout.uniform(9, i) - 0.5f;
    return t.set(values);
  }

  private void products(Device device, LlamaConfig c) {
    for (int n : new int[] {1024, c.hidden()}) {
      int k = n == 1024 ? 1024 : c.intermediate();
      try (var region = device.growing("bench")) {
        var product = new MatMul.Product(Sink.write(random(region, n == 1024 ? 1024 : ROWS, n)), random(region, n == 1024 ? 1024 : ROWS, k), random(region, n, k), false, true, 1);
        double rate = 2.0 * product.m() * product.n() * product.k() / median(() -> ran(device, product)) / 1e9;
        var shape = product.m() + " × " + product.k() + " × " + product.n();
        figures.add(new Figure(n == 1024 ? "matmul_gflops" : "matmul_model_gflops", "matrix product " + shape + ", f32", rate, "GFLOP/s"));
      }
    }
  }

  private void bandwidth(Device device) {
    try (var region = device.growing("bench")) {
      var x = region.carve(DType.F32, Shape.of(BLOCK));
      device.run(new Move.Fill(x, 1));
      var sum = new GradientNorm.SumOfSquares(region.carve(DType.F32, Shape.of(1)), 0, x);
      figures.add(new Figure("read_gb_per_second", "reading memory", 4.0 * BLOCK / median(() -> ran(device, sum)) / 1e9, "GB/s"));
    }
  }

  /// A LoRA step of rank 8 on all linear layers.
  private void training(OpenModel m) {
    var c = m.base().config();
    int length = Math.min(c.contextLength(), 256);
    int sequences = Math.max(1, 2 * ROWS / length);
    var lora = LoraConfig.of(8, 16, 0, false, List.of("all-linear"));
    var shape = new MemoryPlan.Shape(c, m.base().form(), Optional.of(lora), false);
    var plan = MemoryPlan.of(shape, sequences * length, sequences);
    try (var training = m.device().reserve("training", plan.training());
        var step = m.device().reserve("step", plan.step())) {
      var tuning = Tuning.lora(m.base().decoder(), lora, training);
      tuning.lora().orElseThrow().initialise(1);
      var optimizer = new Optimizer(m.device(), training, tuning.trained(), new Optimizer.Settings(0.9, 0.999, 1e-8, 0, 1));
      var trainer = new Trainer(m.device(), tuning, optimizer, step, false, 1);
      var batch = batch(sequences, length, c.vocabulary());
      int[] number = new int[1];
      double rate = sequences * length / median(() -> trainer.step(++number[0], List.of(batch), 1e-5));
      figures.add(new Figure("lora_tokens_per_second", "LoRA step, rank 8, " + sequences + " × " + length, rate, "tokens/s"));
    }
  }

  private static Batch batch(int sequences, int length, int vocabulary) {
    int t = sequences * length;
    var ids = new int[t];
    var targets = new int[t];
    var positions = new int[t];
    var starts = new int[sequences + 1];
    for (int i = 0; i < t; i++) {
      ids[i] = (int) (Dropout.uniform(5, i) * vocabulary);
      targets[i] = (int) (Dropout.uniform(6, i) * vocabulary);
      positions[i] = i % length;
    }
    for (int i = 0; i <= sequences; i++) starts[i] = i * length;
    return new Batch(ids, targets, starts, positions, t);
  }

  private static int[] ids(int n, int vocabulary) {
    var ids = new int[n];
    for (int i = 0; i < n; i++) ids[i] = (int) (Dropout.uniform(5, i) * vocabulary);
    return ids;
  }

  private static Generator.Request request(int[] ids, int tokens) {
    return new Generator.Request(ids, tokens, Sampling.GREEDY, List.of(), Generator.Listener.NONE);
  }

  private static int known(OpenModel m) {
    return Math.min(m.base().config().vocabulary(), m.base().tokenizer().size());
  }

  private void prompt(OpenModel m) {
    int n = Math.min(m.base().config().contextLength(), ROWS);
    var ids = ids(n, known(m));
    try (var generator = m.generator(1)) {
      figures.add(new Figure("prompt_tokens_per_second", "reading a prompt of " + n, n / median(() -> generator.generate(request(ids, 1))), "tokens/s"));
    }
  }

  /// Writing from a short prompt; a model that ends its text earlier is asked again, only what it wrote counts.
  private void writing(OpenModel m, int requests) {
    int tokens = Math.min(m.base().config().contextLength() - 8, 128);
    var all = new ArrayList<Generator.Request>();
    for (int i = 0; i < requests; i++) all.add(request(Arrays.copyOfRange(ids(8 * requests, known(m)), 8 * i, 8 * i + 8), tokens));
    try (var generator = m.generator(requests)) {
      double written = generator.generate(all).stream().mapToInt(g -> g.ids().length).sum();
      double rate = written / median(() -> generator.generate(all));
      figures.add(new Figure("decode_" + requests + "_tokens_per_second", "writing, " + requests + (requests == 1 ? " request" : " requests at once"), rate, "tokens/s"));
    }
  }
}
