package org.llmcore.trace;

import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;

import org.llmcore.op.Device;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.QuantMatMul;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Tensor;

/// Times every kernel, waiting for each to finish, and gives a table at the end: calls, share of the time, GB/s (every tensor
/// of the call moved once) and, for matrix products, GFLOP/s. With `each`, a line per call as well.
public final class TracedDevice implements Device {
  private static final class Row {
    long calls;
    long nanos;
    double bytes;
    double flops;
  }

  private final Device inner;
  private final Consumer<String> out;
  private final boolean each;
  private final Map<String, Row> rows = new LinkedHashMap<>();

  /// @param out receives lines for people
  public TracedDevice(Device inner, Consumer<String> out, boolean each) {
    this.inner = inner;
    this.out = out;
    this.each = each;
  }

  @Override
  public void run(Kernel kernel) {
    inner.synchronize();
    long begun = System.nanoTime();
    inner.run(kernel);
    inner.synchronize();
    long nanos = System.nanoTime() - begun;
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
      case MatMul.Product k -> 2.0 * k.y().tensor().elements() * (k.ta() ? k.a().dim(-2) : k.a().dim(-1));
      case QuantMatMul.Product k -> 2.0 * k.y().tensor().elements() * k.x().columns();
      default -> 0;
    };
  }

  private void table() {
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

  @Override
  public String name() {
    return inner.name() + ", traced";
  }

  @Override
  public Region reserve(String name, long bytes) {
    return inner.reserve(name, bytes);
  }

  @Override
  public Region growing(String name) {
    return inner.growing(name);
  }

  @Override
  public void upload(MemorySegment from, Tensor tensor) {
    inner.upload(from, tensor);
  }

  @Override
  public void download(Tensor tensor, MemorySegment to) {
    inner.download(tensor, to);
  }

  @Override
  public void synchronize() {
    inner.synchronize();
  }

  @Override
  public void close() {
    if (!rows.isEmpty()) table();
    inner.close();
  }
}
