package org.llmcore.bench;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Predicate;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.cpu.Tier;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.BlockType;
import org.llmcore.tensor.Blocks;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Nf4;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Products of few rows with matrices that no cache holds, in every form, beside the bandwidth of memory measured between them.
///
///     java … -cp benchmarks.jar org.llmcore.bench.Streaming [rows] [outputs,inputs …]
///
/// Each turn multiplies with one of several copies of W, so that every byte comes from memory. The best of many turns is printed,
/// in GB/s of W's bytes and as a share of the best reading: neighbours on the machine only ever make both slower.
final class Streaming {
  private static final int[][] SHAPES = {{2048, 2048}, {5632, 2048}, {32000, 2048}, {4096, 4096}};
  private static final long COLD = Long.getLong("cold", 300L << 20); // bytes of copies of W: more than a last-level cache
  private static final int TURNS = Integer.getInteger("turns", 60);
  private static final int THREADS = Integer.getInteger("threads", 2);
  private static final boolean INT8 = Boolean.getBoolean("int8"); // activations in eight bits, where W is in few

  record Form(String name, Kernel[] copies, long bytes) {}

  private Streaming() {}

  private static Tensor random(Region region, DType dtype, int seed, int... dims) {
    var t = region.carve(dtype, Shape.of(dims));
    if (dtype == DType.F32) {
      var random = new SplittableRandom(seed);
      var row = new float[dims[dims.length - 1]];
      for (int i = 0; i < row.length; i++) row[i] = (float) random.nextDouble(-1, 1);
      for (int r = 0; r < t.rows(); r++) t.slice(r, r + 1).set(row);
      return t;
    }
    return bytes(t, seed);
  }

  /// Any bytes; floats of every dtype among them lie between 0.01 and 2, for denormal products would take time of their own.
  private static Tensor bytes(Tensor t, int seed) {
    var some = new byte[1 << 16];
    new SplittableRandom(seed).nextBytes(some);
    int size = t.dtype().bytes();
    for (int i = size - 1; i < some.length; i += size) some[i] = (byte) (size == 1 ? some[i] & 0x3f : 0x3c | some[i] & 3);
    var all = MemorySegment.ofAddress(t.address()).reinterpret(t.bytes());
    for (long at = 0; at < all.byteSize(); at += some.length) {
      MemorySegment.copy(MemorySegment.ofArray(some), 0, all, at, Math.min(some.length, all.byteSize() - at));
    }
    return t;
  }

  static List<Form> forms(Region region, int m, int n, int k, String only) {
    var x = random(region, DType.F32, 1, m, k);
    var y = region.carve(DType.F32, Shape.of(m, n));
    var forms = new ArrayList<Form>();
    Predicate<String> wanted = name -> only.isEmpty() || only.equals(name);
    for (var dtype : List.of(DType.F32, DType.BF16, DType.F16)) {
      long size = (long) n * k * dtype.bytes();
      if (wanted.test(dtype.name())) forms.add(form(dtype.name(), size, () -> new MatMul.Product(Sink.write(y), x, random(region, dtype, 2, n, k), false, true, 1)));
    }
    for (int bits : new int[] {8, 4, 3, 2}) {
      if (wanted.test("GPTQ " + bits)) forms.add(few("GPTQ " + bits, y, x, () -> {
        var w = Grouped.carve(region, n, k, bits, 128, DType.F16, false);
        w.parts().forEach(p -> bytes(p.tensor(), 3));
        return w;
      }));
    }
    for (boolean nested : new boolean[] {false, true}) {
      if (wanted.test(nested ? "NF4 double" : "NF4")) forms.add(few(nested ? "NF4 double" : "NF4", y, x, () -> {
        var w = Nf4.carve(region, n, k, nested);
        w.parts().forEach(p -> bytes(p.tensor(), 3));
        return w;
      }));
    }
    for (var type : BlockType.values()) {
      if (wanted.test(type.name())) forms.add(few(type.name(), y, x, () -> {
        var w = Blocks.carve(region, type, n, k);
        bytes(w.codes(), 4);
        return w;
      }));
    }
    return forms;
  }

  private interface Maker<T> {
    T make();
  }

  private static Form few(String name, Tensor y, Tensor x, Maker<QuantMatrix> w) {
    var first = w.make();
    var to = Sink.write(y);
    return form(name, first.bytes(), () -> INT8 ? new QuantMatMul.Int8Product(to, x, w.make()) : new QuantMatMul.Product(to, x, w.make(), true));
  }

  private static Form form(String name, long bytes, Maker<Kernel> copy) {
    var copies = new Kernel[(int) Math.min(64, COLD / bytes + 1)];
    for (int i = 0; i < copies.length; i++) copies[i] = copy.make();
    return new Form(name, copies, bytes);
  }

  public static void main(String[] args) {
    int m = args.length > 0 ? Integer.parseInt(args[0]) : 1;
    int[][] shapes = args.length < 2 ? SHAPES : Arrays.stream(args).skip(1).map(s -> Arrays.stream(s.split(",")).mapToInt(Integer::parseInt).toArray()).toArray(int[][]::new);
    String only = System.getProperty("form", "");
    try (var emitted = new CpuDevice(Tier.open(), THREADS); var vector = new CpuDevice(Tier.VECTOR, THREADS); var memory = new Bandwidth(THREADS)) {
      System.out.printf("%s beside %s, rows %d%n", emitted.name(), vector.name(), m);
      for (int[] s : shapes) {
        try (var region = Region.growing("streaming")) {
          for (var f : forms(region, m, s[0], s[1], only)) compare(s, f, emitted, vector, memory);
        }
      }
    }
  }

  private static void compare(int[] shape, Form f, CpuDevice emitted, CpuDevice vector, Bandwidth memory) {
    double read = 0;
    double fast = 0;
    double slow = 0;
    for (int turn = 0; turn < TURNS; turn++) {
      read = Math.max(read, memory.measure(Math.clamp(f.bytes, 8 << 20, 128 << 20), turn));
      fast = Math.max(fast, rate(emitted, f, turn));
      if (turn % 2 == 0) slow = Math.max(slow, rate(vector, f, turn));
    }
    System.out.printf(
        "%5d × %4d  %-10s %5.1f GB/s of %5.1f, %3.0f %%   vector %5.1f   %5.2f ×%n",
        shape[0], shape[1], f.name, fast, read, 100 * fast / read, slow, fast / slow);
  }

  static double rate(CpuDevice device, Form f, int turn) {
    long start = Bandwidth.now(THREADS);
    device.run(f.copies[turn % f.copies.length]);
    return (double) f.bytes / (Bandwidth.now(THREADS) - start);
  }
}
