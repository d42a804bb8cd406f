package org.llmcore.cuda;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.op.MatMul;
import org.llmcore.op.Sink;
import org.llmcore.op.Tolerance;
import org.llmcore.reference.ReferenceDevice;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.offset;
import static org.llmcore.tensor.DType.BF16;
import static org.llmcore.tensor.DType.F16;
import static org.llmcore.tensor.DType.F32;

/// Every matrix product kernel at sizes round its tiles, on a GPU that has wgmma and on one that has not, on the host driver.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class MatMulCudaTest {
  /// One product: y (m,n) of `batch` matrices, op(a) (m,k), op(b) (k,n); with a rank, a·op(b) and alpha times a low-rank term, f32 beside bf16.
  record Case(DType a, DType b, DType y, boolean ta, boolean tb, int batch, int m, int n, int k, int rank, boolean add, float alpha) {
    Case(DType a, DType b, DType y, boolean ta, boolean tb, int m, int n, int k, boolean add) {
      this(a, b, y, ta, tb, 1, m, n, k, 0, add, add ? -0.7f : 1);
    }

    static Case low(DType y, boolean tb, int m, int n, int k, int rank, boolean add) {
      return new Case(BF16, BF16, y, false, tb, 1, m, n, k, rank, add, 1.7f);
    }

    private static Tensor filled(Device device, org.llmcore.tensor.Region region, DType dtype, long key, int... dims) {
      var t = region.carve(dtype, Shape.of(dims));
      var values = new float[Math.toIntExact(t.elements())];
      for (int i = 0; i < values.length; i++) values[i] = 2 * Dropout.uniform(key, i) - 1;
      return t.set(values);
    }

    /// The values of y.
    float[] on(Device device) {
      try (var region = device.growing("product")) {
        var ta = ta() ? new int[] {batch, k, m} : new int[] {batch, m, k};
        var tb = tb() ? new int[] {batch, n, k} : new int[] {batch, k, n};
        var a = filled(device, region, a(), 1, ta);
        var b = filled(device, region, b(), 2, tb);
        var y = filled(device, region, y(), 3, batch, m, n);
        if (batch == 1) {
          a = a.reshape(ta[1], ta[2]);
          b = b.reshape(tb[1], tb[2]);
          y = y.reshape(m, n);
        }
        var to = add ? Sink.add(y) : Sink.write(y);
        if (rank == 0) device.run(new MatMul.Product(to, a, b, ta(), tb(), alpha));
        else device.run(new MatMul.LowRank(to, a, b, tb(), filled(device, region, BF16, 4, m, rank), filled(device, region, F32, 5, rank, n), alpha));
        return y.toFloats();
      }
    }
  }

  /// The error of a sum in f32, since products are exact; and a unit of y's dtype, since both sides are rounded to it.
  private static double tolerance(Case c, double largest) {
    double sum = new Tolerance(F32, c.k + c.rank + 1).of(Math.max(largest, 1));
    return switch (c.y) {
      case BF16 -> sum + 0x1p-7 * largest;
      case F16 -> sum + 0x1p-10 * largest;
      default -> sum;
    };
  }

  private HostCuda host;
  private CudaDevice ampere;
  private CudaDevice hopper;
  private final Set<String> ran = new TreeSet<>();

  @BeforeAll
  void open() {
    host = HostCuda.open();
    host.shuffle(1);
    ampere = host.device();
    hopper = host.device(90);
    host.launched();
  }

  @AfterAll
  void close() {
    if (ampere != null) ampere.close();
    if (hopper != null) hopper.close();
  }

  /// Two blocks of 256 threads on a multiprocessor hide each other's barriers; ptxas says what the registers allow.
  @Test
  void twoBlocksFitOnAMultiprocessor() throws IOException {
    List<String> lines;
    try (var in = CudaDevice.class.getResourceAsStream("registers.txt")) {
      lines = new String(in.readAllBytes(), StandardCharsets.UTF_8).lines()
          .filter(l -> l.startsWith("matmul_mma ") || l.startsWith("matmul_skinny ") && !l.matches(".*stream_(bf16|f32)_64 .*")).toList();
    }
    assertThat(lines).hasSizeGreaterThan(30).allSatisfy(l -> {
      var words = Arrays.asList(l.split(" "));
      assertThat(Integer.parseInt(words.get(words.indexOf("registers,") - 1))).as(l).isLessThanOrEqualTo(65536 / 512);
    });
  }

  private static void forms(List<Case> out, DType a, DType b, DType y, int m, int n, int k) {
    for (int form = 0; form < 4; form++) {
      boolean ta = (form & 1) != 0;
      if (ta && a != b) continue;
      out.add(new Case(a, b, y, ta, (form & 2) != 0, m, n, k, (m + n + k + form) % 2 == 0));
    }
  }

  /// The edges of mma's tiles: 128 rows and columns, 32 deep.
  static Stream<Case> tiles() {
    var out = new ArrayList<Case>();
    for (int[] s : new int[][] {{1, 1, 1}, {3, 70, 5}, {127, 129, 31}, {128, 128, 32}, {129, 127, 33}, {136, 144, 168}}) {
      forms(out, BF16, BF16, s[2] % 2 == 0 ? BF16 : F32, s[0], s[1], s[2]);
      if (s[0] < 129) forms(out, F16, F16, s[2] % 2 == 0 ? F16 : F32, s[0], s[1], s[2]);
      forms(out, F32, BF16, F32, s[0], s[1], s[2]);
      forms(out, BF16, F32, s[2] % 2 == 0 ? BF16 : F32, s[0], s[1], s[2]);
    }
    for (boolean tb : new boolean[] {false, true}) {
      out.add(new Case(BF16, BF16, BF16, false, tb, 3, 70, 40, 24, 0, true, 0.5f));
      out.add(new Case(BF16, BF16, F16, true, tb, 2, 17, 9, 33, 0, false, 1));
      out.add(new Case(F32, BF16, F32, false, tb, 2, 33, 40, 48, 0, false, 1));
    }
    return out.stream();
  }

  /// The edges of wgmma's tiles: 128 rows, 128 and 256 columns, 64 deep; rings that go round; blocks that walk over several
  /// tiles.
  static Stream<Case> large() {
    var out = new ArrayList<Case>();
    for (int[] s : new int[][] {{72, 72, 8}, {120, 248, 56}, {128, 256, 64}, {136, 264, 72}, {264, 392, 136}, {128, 128, 512}}) {
      forms(out, BF16, BF16, s[2] % 16 == 0 ? F32 : BF16, s[0], s[1], s[2]);
    }
    out.add(new Case(BF16, BF16, F16, false, true, 129, 131, 64, true)); // only y's rows are no multiples of 16 bytes
    return out.stream();
  }

  /// Low-rank terms of a few and of many steps, of ranks that fill none; blocks that walk over several tiles.
  static Stream<Case> low() {
    var out = new ArrayList<Case>();
    for (boolean tb : new boolean[] {false, true}) {
      out.add(Case.low(BF16, tb, 72, 72, 8, 8, false));
      out.add(Case.low(F32, tb, 136, 264, 72, 16, true));
      out.add(Case.low(BF16, tb, 264, 392, 136, 24, true));
      out.add(Case.low(F32, tb, 128, 128, 320, 64, false));
      out.add(Case.low(BF16, tb, 300, 520, 64, 8, false));
    }
    return out.stream();
  }

  static Stream<Case> skinny() {
    var out = new ArrayList<Case>();
    for (int m : new int[] {1, 7, 8, 9, 16, 17, 32, 33, 63, 64}) { // decoding: few rows of x
      int n = 31 + m % 3 + 32 * (m % 2);
      for (int k : new int[] {8, 264, 600}) {
        out.add(new Case(BF16, BF16, k == 8 ? F32 : BF16, false, true, m, n, k, k == 264));
        out.add(new Case(BF16, BF16, F32, false, true, m, 128 + n, k, k == 600)); // more than two blocks on each multiprocessor of the host driver
        out.add(new Case(F32, BF16, F32, false, true, m, n, k, k == 600));
      }
    }
    for (int r : new int[] {1, 4, 8, 16, 24, 40, 64}) { // adapters: few columns of u, few rows of dA
      out.add(new Case(BF16, F32, BF16, false, true, 97, r, 296, r == 8));
      out.add(new Case(BF16, BF16, F32, false, true, 65, r, 40, r == 16));
      for (int t : new int[] {1, 15, 17, 700}) out.add(new Case(BF16, BF16, F32, true, false, r, 8 * (t % 5 + 3), t, t != 16));
      out.add(new Case(BF16, BF16, r == 8 ? BF16 : F32, true, false, r, 264, 1100, r > 8)); // three blocks of columns, three parts of tokens
      for (int t : new int[] {1, 63, 200}) { // y += u·Bᵀ
        out.add(new Case(BF16, F32, BF16, false, false, t, 264, r, t != 63));
        out.add(new Case(BF16, F32, BF16, false, false, t, 8 * r, r, t == 63));
      }
    }
    return out.stream();
  }

  /// The edges of the strips that wgmma multiplies with few rows, of 16 to 256 rows, and of 64 k a stage; rings that go round; either side small.
  static Stream<Case> few() {
    var out = new ArrayList<Case>();
    for (int m : new int[] {1, 7, 8, 9, 33, 64}) {
      for (int n : new int[] {1, 63, 65, 129, 300, 530}) { // the host driver has two multiprocessors: strips of 16, 32, 40, 72, 152, 136
        int k = new int[] {8, 64, 200, 328}[(m + n) % 4];
        out.add(new Case(BF16, BF16, List.of(F32, BF16, F16).get((m + n) % 3), false, true, m, n, k, n % 2 == 0));
      }
    }
    for (int n : new int[] {8, 70, 140, 400}) out.add(new Case(BF16, BF16, F32, false, true, 20, n, 1400, true));
    for (int r : new int[] {1, 9, 64}) out.add(new Case(BF16, BF16, BF16, false, true, 77 + r, r, 136, r == 9));
    return out.stream();
  }

  private void agrees(Case c, CudaDevice device, long seed) {
    var expected = c.on(new ReferenceDevice());
    host.shuffle(seed);
    var found = c.on(device);
    double largest = 0;
    for (float v : expected) largest = Math.max(largest, Math.abs(v));
    double tolerance = tolerance(c, largest);
    for (int i = 0; i < expected.length; i++) {
      assertThat((double) found[i]).as("element %d of %s", i, c).isCloseTo(expected[i], offset(tolerance));
    }
    host.shuffle(seed + 1); // another order of threads, another arrival of copies
    assertThat(c.on(device)).as("again, %s", c).isEqualTo(found);
    ran.addAll(host.launched());
  }

  @ParameterizedTest
  @MethodSource({"tiles", "skinny"})
  void agreesWithTheReferenceWithoutWgmma(Case c) {
    agrees(c, ampere, c.hashCode() & 0xffff);
  }

  @ParameterizedTest
  @MethodSource({"large", "low", "few"})
  void agreesWithTheReferenceWithWgmma(Case c) {
    agrees(c, hopper, c.hashCode() & 0xffff);
  }

  @AfterAll
  void everyKernelHasRun() {
    if (ran.isEmpty()) return;
    assertThat(ran).containsAll(Manifest.inTheJar().kernels().stream().filter(k -> k.startsWith("llm_matmul_")).toList());
  }

  /// A row decodes to the same bits alone and among others.
  @Test
  void decodingDoesNotDependOnTheNeighbours() {
    for (var device : List.of(ampere, hopper)) {
      for (var x : List.of(BF16, F32)) {
        var together = new Case(x, BF16, F32, false, true, 64, 40, 520, false).on(device);
        for (int m : new int[] {1, 8, 13, 32}) {
          var alone = new Case(x, BF16, F32, false, true, m, 40, 520, false).on(device);
          assertThat(alone).isEqualTo(Arrays.copyOf(together, m * 40));
        }
      }
    }
  }

  /// Strips are as high as there are multiprocessors to share W, so wgmma's n is not always the same: an element is.
  @Test
  void decodingDoesNotDependOnTheRowsOfW() {
    int n = 30 * hopper.multiprocessors();
    var found = new Case(BF16, BF16, F32, false, true, 1, n, 520, false).on(hopper);
    for (int more : new int[] {2, 4, 8, 16}) {
      var among = new Case(BF16, BF16, F32, false, true, 1, more * n, 520, false).on(hopper);
      assertThat(Arrays.copyOf(among, n)).as("among %d", more * n).isEqualTo(found);
    }
  }

  /// f32 by f32, where a is transposed or b is not: the same chain in ascending k.
  @Test
  void f32ProductsAlongAChainHaveTheBitsOfTheCpu() {
    try (var cpu = new CpuDevice(true, 1)) {
      for (var c : List.of(new Case(F32, F32, F32, false, false, 65, 70, 33, true),
          new Case(F32, F32, F32, true, false, 9, 100, 130, true), new Case(F32, F32, F32, true, true, 20, 30, 17, true),
          new Case(F32, F32, F32, true, false, 66, 5, 64, false))) {
        host.shuffle(2);
        assertThat(c.on(ampere)).as(c.toString()).isEqualTo(c.on(cpu));
      }
    }
  }

  /// Where wgmma does not run, or a rank's rows are no multiples of 16 bytes, it is a product and another.
  @Test
  void aLowRankTermThatDoesNotRideIsAProductOfItsOwn() {
    agrees(Case.low(F32, true, 72, 72, 40, 8, true), ampere, 6);
    for (int rank : new int[] {3, 4}) agrees(Case.low(BF16, false, 72, 80, 40, rank, false), hopper, 7);
  }

  /// The planes of an f32 operand carry all 24 bits: a product with ones is the value itself.
  @Test
  void anF32OperandIsNotRounded() {
    host.shuffle(3);
    try (var region = ampere.growing("exact")) {
      var values = new float[16 * 128];
      for (int i = 0; i < values.length; i++) values[i] = (Dropout.uniform(7, i) - 0.5f) * (float) Math.pow(2, i % 61 - 30);
      var w = new float[128 * 128];
      for (int i = 0; i < 128; i++) w[i * 129] = 1;
      var x = region.carve(F32, Shape.of(16, 128)).set(values);
      var one = region.carve(BF16, Shape.of(128, 128)).set(w);
      var y = region.carve(F32, Shape.of(16, 128));
      for (boolean tb : new boolean[] {true, false}) { // matmul_stream, matmul_mixed
        ampere.run(new MatMul.Product(Sink.write(y), x, one, false, tb, 1));
        assertThat(y.toFloats()).isEqualTo(values);
      }
    }
  }
}
