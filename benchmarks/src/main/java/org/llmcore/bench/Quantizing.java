package org.llmcore.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;

import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.flags.Flags;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.quantize.Gptq;
import org.llmcore.quantize.Hessian;
import org.llmcore.quantize.ModelQuantizer;
import org.llmcore.quantize.Settings;
import org.llmcore.quantize.Source;
import org.llmcore.quantize.Team;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;
import org.llmcore.text.Wordless;

/// GPTQ to 4 bits in groups of 128, once and whole: what `GptqBenchmark` takes apart.
///
///     java … org.llmcore.bench.Quantizing layer OUTPUTS INPUTS [CALLS]
///     java … org.llmcore.bench.Quantizing model FOLDER [SEQUENCES LENGTH]
///
/// `layer` sums the inputs of CALLS × 2,048 tokens (128 if not said), factors, walks; beside the rate of a product of the layer before and
/// after. `model` writes a model of the 1.1B shape with random weights in bf16 into FOLDER, if there is none, and quantizes it on random ids
/// (32 × 512); prints the seconds of every block and the peak of the process's memory.
final class Quantizing {
  private static final int TOKENS = 2048;
  private static final Settings SETTINGS = Settings.gptq(4, 128);

  private Quantizing() {}

  public static void main(String[] args) throws IOException {
    boolean layer = args.length > 2 && args[0].equals("layer");
    if (!layer && !(args.length > 1 && args[0].equals("model"))) throw new IllegalArgumentException("expected layer OUTPUTS INPUTS [CALLS], or model FOLDER [SEQUENCES LENGTH]");
    try (var device = CpuDevice.open(); var team = new Team(Flags.threads())) {
      if (layer) layer(device, team, Integer.parseInt(args[1]), Integer.parseInt(args[2]), args.length > 3 ? Integer.parseInt(args[3]) : 128);
      else model(device, team, Path.of(args[1]), args.length > 3 ? Integer.parseInt(args[2]) : 32, args.length > 3 ? Integer.parseInt(args[3]) : 512);
    }
  }

  private static double since(long begun) {
    return (System.nanoTime() - begun) / 1e9;
  }

  private static void layer(Device device, Team team, int n, int k, int calls) {
    var random = new Random(1);
    try (var region = Region.growing("layer"); var h = new Hessian(device, k)) {
      var x = normal(region, random, TOKENS, k);
      var w = normal(region, random, n, k);
      var y = region.carve(DType.F32, Shape.of(TOKENS, n));
      double before = rate(device, x, w, y);
      long begun = System.nanoTime();
      for (int i = 0; i < calls; i++) h.add(x);
      double sums = since(begun);
      begun = System.nanoTime();
      var result = Gptq.quantize(device, team, SETTINGS, w.toFloats(), n, k, h.toFloats());
      double rest = since(begun);
      double rate = Math.max(before, rate(device, x, w, y));
      double hessian = (double) calls * TOKENS * k * (k + 512.0);
      double factor = 2.0 / 3 * k * k * k;
      double walk = (double) k * k * n;
      double limit = (hessian + factor + walk) / rate;
      System.out.printf(
          "| %d × %d | %,d | %.2f + %.2f + %.2f T | %.1f | %.1f | %.0f | %.1f | %.2f |%n", n, k, (long) calls * TOKENS, hessian / 1e12, factor / 1e12, walk / 1e12,
          sums, rest, rate / 1e9, limit, (sums + rest) / limit);
      if (result.dead() > 0) throw new IllegalStateException("random inputs that are 0");
    }
  }

  private static Tensor normal(Region region, Random random, int rows, int columns) {
    var t = region.carve(DType.F32, Shape.of(rows, columns));
    var values = new float[rows * columns];
    for (int i = 0; i < values.length; i++) values[i] = (float) random.nextGaussian();
    t.set(values);
    return t;
  }

  /// Operations per second of x·Wᵀ, the best of five.
  private static double rate(Device device, Tensor x, Tensor w, Tensor y) {
    double best = 0;
    for (int i = 0; i < 5; i++) {
      long begun = System.nanoTime();
      device.run(new MatMul.Product(Sink.write(y), x, w, false, true, 1));
      best = Math.max(best, 2.0 * x.dim(0) * x.dim(1) * w.dim(0) / since(begun));
    }
    return best;
  }

  private static void model(Device device, Team team, Path folder, int sequences, int length) throws IOException {
    var config = Shapes.of("1.1B").config();
    if (!Files.exists(folder)) write(device, config, folder);
    var random = new Random(1);
    List<int[]> text = new ArrayList<>();
    for (int i = 0; i < sequences; i++) text.add(random.ints(length, 0, config.vocabulary()).toArray());
    var out = Files.createTempDirectory("quantized");
    long begun = System.nanoTime();
    double[] last = {0};
    try (var source = Source.open(folder, Optional.empty())) {
      ModelQuantizer.quantize(device, team, source, SETTINGS, text, out.resolve("model"), (done, of, l) -> {
        if (done % 7 != 0) return;
        double now = since(begun);
        System.out.printf("block %d of %d: %.1f s%n", done / 7, of / 7, now - last[0]);
        last[0] = now;
      });
    }
    System.out.printf("%,d tokens: %.0f s, peak of the process %,d MB%n", (long) sequences * length, since(begun), Memory.peak() >> 20);
    AtomicFile.delete(out);
  }

  private static void write(Device device, LlamaConfig config, Path folder) {
    var words = new Wordless(config.vocabulary(), config.bos(), config.eos(), "the benchmark has no tokenizer", "give token ids");
    try (var model = LanguageModel.scratch(device, config, words, Precision.BF16_WEIGHTS, 1)) {
      model.save(folder, 5_000_000_000L);
    }
  }
}
