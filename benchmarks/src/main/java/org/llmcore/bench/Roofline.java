package org.llmcore.bench;

import java.util.LinkedHashMap;
import java.util.Map;

import org.llmcore.Devices;
import org.llmcore.flags.Flags;
import org.llmcore.model.Precision;
import org.llmcore.op.Kernel;
import org.llmcore.trace.TracedDevice;

/// Where the time of a training step goes, operator by operator, beside the least it could take here (Williams et al. 2009, "Roofline"):
/// operations at the peak of multiply-adds or bytes at the bandwidth of memory, whichever is more, both measured in the same run. What
/// stays in caches between kernels can be faster than the limit of its bytes.
///
///     java … org.llmcore.bench.Roofline SHAPE full|lora [PRECISION] [recompute]        a Markdown table of five steps
final class Roofline implements TracedDevice.Meter {
  private static final int WARM = 3;
  private static final int STEPS = 5;

  private static final class Row {
    double nanos;
    double flops;
    double bytes;
    double least;
    double memory; // of `least`
  }

  private final Peaks peaks;
  private final Map<String, Row> rows = new LinkedHashMap<>();

  private Roofline(Peaks peaks) {
    this.peaks = peaks;
  }

  @Override
  public void ran(Kernel kernel, long nanos) {
    var c = Cost.of(kernel);
    var r = rows.computeIfAbsent(c.name(), _ -> new Row());
    r.nanos += nanos;
    r.flops += c.flops();
    r.bytes += c.bytes();
    r.least += peaks.nanos(c);
    if (peaks.memory(c)) r.memory += peaks.nanos(c);
  }

  private void print(double step) {
    System.out.printf(
        "peaks: f32 %.0f GFLOP/s, bf16 %.0f GFLOP/s, memory %.1f GB/s; step %.1f ms without the meter, %d threads%n%n", peaks.f32(), peaks.bf16(),
        peaks.bandwidth(), step / 1e6, Flags.threads());
    System.out.println("| operator | share | ms | GFLOP/s | GB/s | limit | ms at the limit | reached |");
    System.out.println("|---|---|---|---|---|---|---|---|");
    double total = rows.values().stream().mapToDouble(r -> r.nanos).sum();
    rows.entrySet().stream().sorted((a, b) -> Double.compare(b.getValue().nanos, a.getValue().nanos)).forEach(e -> line(e.getKey(), e.getValue(), total));
    var all = new Row();
    for (var r : rows.values()) {
      all.nanos += r.nanos;
      all.flops += r.flops;
      all.bytes += r.bytes;
      all.least += r.least;
      all.memory += r.memory;
    }
    line("all", all, total);
  }

  private static void line(String name, Row r, double total) {
    System.out.printf(
        "| %s | %.1f %% | %.2f | %s | %.1f | %s | %.2f | %.0f %% |%n", name, 100 * r.nanos / total, r.nanos / STEPS / 1e6,
        r.flops == 0 ? "" : "%.0f".formatted(r.flops / r.nanos), r.bytes / r.nanos, r.memory > r.least / 2 ? "memory" : "arithmetic",
        r.least / STEPS / 1e6, 100 * r.least / r.nanos);
  }

  public static void main(String[] args) {
    if (args.length < 2 || args.length > 4) throw new IllegalArgumentException("expected SHAPE full|lora [PRECISION] [recompute]");
    var shape = Shapes.of(args[0]);
    var precision = args.length > 2 ? Precision.parse(args[2]) : Precision.F32;
    boolean recompute = args.length > 3 && args[3].equals("recompute");
    double whole;
    try (var step = Step.of(shape, args[1], precision, recompute)) {
      for (int i = 0; i < WARM; i++) step.run();
      long begun = System.nanoTime();
      for (int i = 0; i < STEPS; i++) step.run();
      whole = (System.nanoTime() - begun) / (double) STEPS;
    }
    var meter = new Roofline(Peaks.measure(Flags.threads()));
    try (var step = Step.of(new TracedDevice(Devices.open(), meter), shape, args[1], precision, recompute)) {
      for (int i = 0; i < WARM; i++) step.run();
      meter.rows.clear();
      for (int i = 0; i < STEPS; i++) step.run();
    }
    meter.print(whole);
  }
}
