package org.llmcore.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Rates of y = x·Wᵀ at shapes of Llama models, for `benchmarks/compare-gemm.sh`: operands of one dtype, y in f32.
///
///     java … org.llmcore.bench.Gemm f32|bf16 SECONDS M,N,K …      a line `M,N,K GFLOP/s` each, from the median time
final class Gemm {
  private Gemm() {}

  public static void main(String[] args) {
    var dtype = DType.valueOf(args[0].toUpperCase(Locale.ROOT));
    double seconds = Double.parseDouble(args[1]);
    try (var device = CpuDevice.open()) {
      for (var shape : List.of(args).subList(2, args.length)) {
        var size = shape.split(",");
        System.out.println(shape + " " + String.format(Locale.ROOT, "%.1f", rate(device, dtype, seconds, Integer.parseInt(size[0]), Integer.parseInt(size[1]), Integer.parseInt(size[2]))));
      }
    }
  }

  private static double rate(Device device, DType dtype, double seconds, int m, int n, int k) {
    try (var region = device.growing("operands")) {
      var x = random(region, 1, dtype, m, k);
      var w = random(region, 2, dtype, n, k);
      var y = region.carve(DType.F32, Shape.of(m, n));
      var product = new MatMul.Product(Sink.write(y), x, w, false, true, 1);
      for (int i = 0; i < 3; i++) device.run(product);
      var times = new ArrayList<Long>();
      long end = System.nanoTime() + (long) (1e9 * seconds);
      while (times.size() < 5 || System.nanoTime() < end) {
        long begun = System.nanoTime();
        device.run(product);
        times.add(System.nanoTime() - begun);
      }
      times.sort(null);
      return 2.0 * m * n * k / times.get(times.size() / 2);
    }
  }

  private static Tensor random(Region region, int seed, DType dtype, int rows, int columns) {
    var t = region.carve(dtype, Shape.of(rows, columns));
    var values = new float[Math.toIntExact(t.elements())];
    for (int i = 0; i < values.length; i++) values[i] = 2 * Dropout.uniform(seed, i) - 1;
    return t.set(values);
  }
}
