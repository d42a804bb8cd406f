package org.llmcore.cpu;

import java.lang.management.ManagementFactory;

import org.llmcore.op.Dropout;
import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Rates of the three orientations of a linear layer y (M,N) = x (M,K) · Wᵀ (N,K): forward `x·Wᵀ`, backward `dx = dy·W` and
/// `dW += dyᵀ·x`. Prints the best GFLOP/s of a few runs. With one worker the clock is the thread's own, so that neighbours on
/// the machine do not count; with more it is the wall's. Not a benchmark.
///
///     MatMulTimings [workers] [dtype of x and W] [M,N,K …]
final class MatMulTimings {
  private static final int[][] SHAPES = {
    {2048, 288, 288}, {2048, 768, 288}, {2048, 288, 768}, {256, 32000, 288}, {2048, 32000, 288}, {512, 128, 128}, {512, 512, 256},
    {2048, 256, 512}, {2048, 512, 512}, {1, 768, 288}, {1, 32000, 288}, {8, 32000, 288}
  };

  private MatMulTimings() {}

  private static Tensor random(Region region, int seed, DType dtype, int... dims) {
    var t = region.carve(dtype, Shape.of(dims));
    var values = new float[(int) t.elements()];
    for (int i = 0; i < values.length; i++) values[i] = 2 * Dropout.uniform(seed, i) - 1;
    return t.set(values);
  }

  private static double rate(CpuDevice device, int workers, MatMul.Product product) {
    var threads = ManagementFactory.getThreadMXBean();
    for (int i = 0; i < 3; i++) device.run(product);
    long end = System.nanoTime() + Long.getLong("ms", 500) * 1_000_000;
    long best = Long.MAX_VALUE;
    for (int i = 0; i < 4 || System.nanoTime() < end; i++) {
      long t = workers == 1 ? threads.getCurrentThreadCpuTime() : System.nanoTime();
      device.run(product);
      best = Math.min(best, (workers == 1 ? threads.getCurrentThreadCpuTime() : System.nanoTime()) - t);
    }
    return 2.0 * product.m() * product.n() * product.k() / best;
  }

  public static void main(String[] args) {
    int workers = args.length > 0 ? Integer.parseInt(args[0]) : 1;
    var dtype = args.length > 1 ? DType.valueOf(args[1]) : DType.F32;
    try (var device = CpuDevice.open(workers)) {
      System.out.printf("%s, x and W %s%n", device.name(), dtype);
      for (int s = 0; s < Math.max(SHAPES.length, args.length - 2); s++) {
        if (args.length > 2 && s + 2 >= args.length || args.length <= 2 && s >= SHAPES.length) break;
        int[] d = args.length > 2 ? java.util.Arrays.stream(args[s + 2].split(",")).mapToInt(Integer::parseInt).toArray() : SHAPES[s];
        try (var region = Region.growing("timings")) {
          var x = random(region, 1, dtype, d[0], d[2]);
          var w = random(region, 2, dtype, d[1], d[2]);
          var y = random(region, 3, DType.F32, d[0], d[1]);
          var dx = random(region, 4, DType.F32, d[0], d[2]);
          var dw = random(region, 5, DType.F32, d[1], d[2]);
          System.out.printf(
              "%5d %5d %5d  NT %6.1f  NN %6.1f  TN+ %6.1f%n", d[0], d[1], d[2],
              rate(device, workers, new MatMul.Product(Sink.write(y), x, w, false, true, 1)),
              rate(device, workers, new MatMul.Product(Sink.write(dx), y, w, false, false, 1)),
              rate(device, workers, new MatMul.Product(Sink.add(dw), y, x, true, false, 1)));
        }
      }
    }
  }
}
