package org.llmcore.trace;

import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;

import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.QuantMatMul;

/// A line per kernel at the end: calls, share of the time, GB/s (every tensor of the call moved once) and, for matrix products, GFLOP/s.
/// With `each`, a line per call as well.
final class TraceTable implements TracedDevice.Meter {
  private static final class Row {
    long calls;
    long nanos;
    double bytes;
    double flops;
  }

  private final Consumer<String> out;
  private final boolean each;
  private final Map<String, Row> rows = new LinkedHashMap<>();

  TraceTable(Consumer<String> out, boolean each) {
    this.out = out;
    this.each = each;
  }

  @Override
  public void ran(Kernel kernel, long nanos) {
    var operands = Operands.of(kernel);
    var row = rows.computeIfAbsent(operands.kernel(), _ -> new Row());
    row.calls++;
    row.nanos += nanos;
    row.bytes += operands.bytes();
    row.flops += flops(kernel);
    if (each) {
      out.accept(
          String.format(
              Locale.ROOT, "%-22s %9.1f µs %7.1f GB/s  %s", operands.kernel(), nanos / 1e3, (double) operands.bytes() / nanos, operands.shapes()));
    }
  }

  /// 2·M·N·K per matrix of the batch; 0 where arithmetic is not what limits a kernel.
  private static double flops(Kernel kernel) {
    return switch (kernel) {
      case MatMul k -> k.flops();
      case QuantMatMul k -> k.flops();
      default -> 0;
    };
  }

  @Override
  public void end() {
    if (rows.isEmpty()) return;
    double total = rows.values().stream().mapToLong(r -> r.nanos).sum();
    out.accept(String.format(Locale.ROOT, "%-22s %8s %10s %6s %8s %8s", "kernel", "calls", "ms", "share", "GB/s", "GFLOP/s"));
    rows.entrySet().stream()
        .sorted((a, b) -> Long.compare(b.getValue().nanos, a.getValue().nanos))
        .forEach(
            e -> {
              var r = e.getValue();
              var gflops = r.flops == 0 ? "" : String.format(Locale.ROOT, "%.1f", r.flops / r.nanos);
              out.accept(
                  String.format(
                      Locale.ROOT, "%-22s %,8d %10.1f %5.1f%% %8.1f %8s", e.getKey(), r.calls, r.nanos / 1e6, 100 * r.nanos / total, r.bytes / r.nanos, gflops));
            });
  }
}
