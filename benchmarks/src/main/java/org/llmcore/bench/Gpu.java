package org.llmcore.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;

import org.llmcore.Devices;
import org.llmcore.InvalidInput;
import org.llmcore.cuda.GpuClock;
import org.llmcore.cuda.VendorBlas;
import org.llmcore.flags.Flags;
import org.llmcore.op.Device;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;

/// Times a GPU by its own clock, one JSON line per figure, within a budget of seconds: what a machine that is lent by the minute
/// needs. JMH (`CudaBenchmark`) measures the same cases with forks and warm-ups.
///
///     java … org.llmcore.bench.Gpu SIZE SECONDS [kernels[=TEXT]] [training] [full] [prefill] [decode]
///
/// SIZE is toy, 1b or 7b; TEXT keeps the kernels whose name holds it. Without a GPU it says why in one sentence and ends with code 3.
public final class Gpu {
  private static final int NO_GPU = 3;
  private static final String SOME = "kernels=";
  private static final double WARM_UP = 50_000; // microseconds
  private static final double TURN = 2_000; // microseconds
  private static final int MOST_IN_A_TURN = 100;

  private final GpuSize size;
  private final Device device;
  private final GpuClock clock;
  private long end;
  private final Consumer<String> out;

  private Gpu(GpuSize size, Device device, GpuClock clock, Consumer<String> out) {
    this.size = size;
    this.device = device;
    this.clock = clock;
    this.out = out;
  }

  public static void main(String[] args) {
    System.exit(run(args, System.out::println));
  }

  static int run(String[] args, Consumer<String> out) {
    var size = GpuSize.of(args[0]);
    double seconds = Double.parseDouble(args[1]);
    var sections = args.length > 2 ? List.of(args).subList(2, args.length) : List.of("kernels", "training", "full", "prefill", "decode");
    try (var device = Devices.open(Flags.Kind.CUDA, Flags.threads()); var clock = GpuClock.of(device).orElseThrow()) {
      var gpu = new Gpu(size, device, clock, out);
      long end = System.nanoTime() + (long) (seconds * 1e9);
      for (int i = 0; i < sections.size(); i++) {
        gpu.end = System.nanoTime() + (end - System.nanoTime()) / (sections.size() - i); // an equal share of what is left
        gpu.section(sections.get(i));
      }
      return 0;
    } catch (InvalidInput e) {
      System.err.println(e.getMessage());
      return NO_GPU;
    }
  }

  private void section(String name) {
    switch (name) {
      case "kernels" -> kernels("");
      case "training" -> model(m -> {
        try (var step = m.lora()) {
          report("training", "LoRA r 8 step, " + size.batch() + " x " + size.length(), step::run, size.tokens(), "tokens_per_second");
        }
      });
      case "full" -> {
        var title = "full step, " + size.fullBatch() + " x " + size.length() + (size.fullRecomputes() ? ", blocks recomputed" : "");
        try {
          model(true, m -> {
            try (var step = m.full()) {
              report("full", title, step::run, size.fullBatch() * size.length(), "tokens_per_second");
            }
          });
        } catch (InvalidInput e) { // 7b's 113 GiB of weights and training state fit on few GPUs
          failed("full", title, e);
        }
      }
      case "prefill" -> model(m -> {
        int n = Math.min(2048, size.config().contextLength());
        try (var step = m.reading(1, 0, n)) {
          report("prefill", "prompt of " + n, step::run, n, "tokens_per_second");
        }
      });
      case "decode" -> model(m -> {
        for (int sequences : new int[] {1, 32}) {
          try (var step = m.reading(sequences, Math.min(1024, size.config().contextLength() - 2), 1)) {
            report("decode", sequences + " sequences", step::run, sequences, "tokens_per_second");
          }
        }
      });
      default -> {
        if (!name.startsWith(SOME)) throw new InvalidInput("section '" + name + "'", "expected kernels, kernels=TEXT, training, full, prefill or decode");
        kernels(name.substring(SOME.length()));
      }
    }
  }

  private boolean over() {
    return System.nanoTime() > end;
  }

  private void model(Consumer<GpuModel> work) {
    model(false, work);
  }

  private void model(boolean trainable, Consumer<GpuModel> work) {
    if (over()) return;
    try (var m = new GpuModel(device, size, trainable)) {
      work.accept(m);
    }
  }

  /// @param text keeps the cases whose name holds it
  private void kernels(String text) {
    var cases = GpuCase.of(size).stream().filter(c -> c.name().contains(text)).toList();
    var blas = vendor();
    for (int i = 0; i < cases.size() && !over(); i++) {
      var c = cases.get(i);
      try (var region = device.growing("case"); var noise = new Noise(device)) {
        var kernels = c.kernels(region, noise);
        var theirs = blas.filter(b -> kernels.getFirst() instanceof MatMul.Product p && b.takes(p));
        // An equal share of what is left for each case to come.
        double share = (end - System.nanoTime()) / 1e3 / (cases.size() - i);
        var works = new ArrayList<Runnable>();
        works.add(inTurns(kernels, device::run));
        theirs.ifPresent(b -> works.add(inTurns(kernels, k -> b.run((MatMul.Product) k))));
        var micros = medians(works, share);
        var line = line("kernel", c.name(), micros.getFirst());
        if (c.flops() > 0) line.put("tflops", c.flops() / micros.getFirst() / 1e6);
        line.put("gb_per_second", c.bytes() / micros.getFirst() / 1e3);
        print(line);
        if (theirs.isPresent()) {
          var other = line("vendor", c.name(), micros.getLast());
          other.put("library", theirs.get().name());
          other.put("tflops", c.flops() / micros.getLast() / 1e6);
          print(other);
        }
      } catch (RuntimeException e) {
        failed("kernel", c.name(), e);
      }
    }
    blas.ifPresent(VendorBlas::close);
  }

  /// One kernel a call, again and again from the first.
  static Runnable inTurns(List<Kernel> kernels, Consumer<Kernel> run) {
    var turn = new AtomicInteger();
    return () -> run.accept(kernels.get(turn.getAndIncrement() % kernels.size()));
  }

  /// The vendor's library, where it is: CUDA_BLAS names its file or folder.
  private Optional<VendorBlas> vendor() {
    try {
      return Optional.of(clock.blas(Optional.ofNullable(System.getenv("CUDA_BLAS"))));
    } catch (InvalidInput e) {
      System.err.println("left out: " + e.getMessage());
      return Optional.empty();
    }
  }

  private void report(String section, String name, Runnable work, double units, String unit) {
    try {
      double micros = median(work, Math.max(1, (end - System.nanoTime()) / 1e3));
      var line = line(section, name, micros);
      line.put(unit, units / micros * 1e6);
      print(line);
    } catch (RuntimeException e) {
      failed(section, name, e);
    }
  }

  private void failed(String section, String name, RuntimeException e) {
    var line = new LinkedHashMap<String, Object>(Map.of("section", section, "case", name));
    line.put("error", String.valueOf(e.getMessage()));
    print(line);
  }

  private Map<String, Object> line(String section, String name, double micros) {
    var line = new LinkedHashMap<String, Object>();
    line.put("section", section);
    line.put("case", name);
    line.put("size", size.name());
    line.put("device", device.name());
    line.put("micros", micros);
    return line;
  }

  private void print(Map<String, Object> line) {
    try {
      out.accept(new ObjectMapper().writeValueAsString(line));
    } catch (JsonProcessingException e) {
      throw new IllegalStateException(e);
    }
  }

  private double median(Runnable work, double budget) {
    return medians(List.of(work), budget).getFirst();
  }

  /// The medians of up to 50 turns (3 at toy size) within so many microseconds, after a twentieth of a second that nobody counts: it loads the kernels
  /// and lets the clock of the GPU rise, which would otherwise be slower for the one that comes first. Works take turns; in its turn a work is run
  /// again and again for two milliseconds between two events, so that the host's part of a launch hides behind the kernels.
  private List<Double> medians(List<Runnable> works, double budget) {
    boolean toy = size.name().equals("toy");
    double warm = 0;
    do {
      for (var w : works) warm += clock.micros(w);
    } while (warm < Math.min(toy ? 0 : WARM_UP, budget / 4));
    double round = 0;
    var times = new int[works.size()];
    for (int w = 0; w < times.length; w++) {
      double one = Math.max(1, clock.micros(works.get(w)));
      times[w] = (int) Math.clamp(TURN / one, 1, toy ? 2 : MOST_IN_A_TURN);
      round += times[w] * one;
    }
    int runs = (int) Math.clamp(budget / round, 1, toy ? 3 : 50);
    var all = works.stream().map(w -> new double[runs]).toList();
    for (int i = 0; i < runs; i++) {
      for (int w = 0; w < times.length; w++) all.get(w)[i] = clock.micros(works.get(w), times[w]);
    }
    return all.stream().map(a -> {
      Arrays.sort(a);
      return a[runs / 2];
    }).toList();
  }
}
