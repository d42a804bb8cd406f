package org.llmcore.cuda;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.op.Move;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Sink;
import org.llmcore.reference.ReferenceDevice;
import org.llmcore.tensor.BlockType;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.QuantMatrices;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

/// Weights in few bits where the contract's small cases do not reach: rows of several chunks, more rows of x than a tile.
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class CudaQuantTest {
  private static final int OUTPUTS = 19; // a block and a part of one
  private static final int INPUTS = 2 * 1024 + 65; // two chunks, two units of 32 and one column

  private HostCuda host;
  private CudaDevice cuda;
  private long runs;

  @BeforeAll
  void open() {
    host = HostCuda.open();
    cuda = host.device();
  }

  @AfterAll
  void close() {
    if (cuda != null) cuda.close();
  }

  /// The forms of the contract, with rows of 32 for NF4, which streams only whole units.
  static Stream<QuantMatrices.Form> forms() {
    return QuantMatrices.forms().stream()
        .map(f -> f.name().startsWith("nf4") ? new QuantMatrices.Form(f.name(), 32, f.maker()) : f);
  }

  private static float[] product(Device device, QuantMatrices.Form form, int rows, int outputs, int inputs, boolean add) {
    try (var region = device.growing("product")) {
      var w = form.make(region, outputs, inputs, 5);
      var values = new float[rows * inputs];
      for (int i = 0; i < values.length; i++) values[i] = Dropout.uniform(3, i) - 0.5f;
      var x = region.carve(DType.F32, Shape.of(rows, inputs)).set(values);
      var y = region.carve(DType.F32, Shape.of(rows, outputs));
      var before = new float[rows * outputs];
      Arrays.fill(before, 2);
      y.set(before);
      device.run(new QuantMatMul.Product(add ? Sink.add(y) : Sink.write(y), x, w, true));
      return y.toFloats();
    }
  }

  @ParameterizedTest
  @MethodSource("forms")
  void longRowsAgreeWithTheReferenceAndNoRowDependsOnItsNeighbours(QuantMatrices.Form form) {
    int inputs = form.fit(INPUTS);
    var expected = product(new ReferenceDevice(), form, 5, OUTPUTS, inputs, true);
    host.shuffle(++runs);
    var found = product(cuda, form, 5, OUTPUTS, inputs, true);
    double largest = 0;
    for (float e : expected) largest = Math.max(largest, Math.abs(e));
    for (int i = 0; i < expected.length; i++) {
      assertThat((double) found[i]).as("element " + i).isCloseTo(expected[i], within(8 * 0x1p-24 * Math.sqrt(inputs) * largest));
    }
    host.shuffle(++runs);
    assertThat(product(cuda, form, 1, OUTPUTS, inputs, true)).isEqualTo(Arrays.copyOf(found, OUTPUTS));
  }

  /// Rows of bf16 and a matrix that takes tensor cores.
  interface OnTensorCores {
    int rows();

    int outputs();

    int inputs();

    QuantMatrix matrix(Device device, Region region);

    /// The product of the first `some` rows.
    default float[] product(Device device, int some) {
      try (var region = device.growing("product")) {
        var values = new float[some * inputs()];
        for (int i = 0; i < values.length; i++) values[i] = Dropout.uniform(3, i) - 0.5f;
        var x = region.carve(DType.BF16, Shape.of(some, inputs())).set(values);
        var y = region.carve(DType.F32, Shape.of(some, outputs()));
        device.run(new Move.Fill(y, 2));
        device.run(new QuantMatMul.Product(Sink.add(y), x, matrix(device, region), true));
        return y.toFloats();
      }
    }
  }

  /// On a uniform grid.
  record Grid(int bits, int group, DType scales, int rows, int outputs, int inputs) implements OnTensorCores {
    @Override
    public QuantMatrix matrix(Device device, Region region) {
      var w = Grouped.carve(region, outputs, inputs, bits, group, scales, false);
      var codes = new byte[outputs * inputs];
      for (int i = 0; i < codes.length; i++) codes[i] = (byte) (Dropout.uniform(8, i) * (1 << bits));
      var scale = new float[outputs * w.groups()];
      var zero = new float[scale.length];
      for (int i = 0; i < scale.length; i++) {
        scale[i] = Dropout.uniform(9, i) / (1 << bits);
        zero[i] = (int) (Dropout.uniform(10, i) * ((1 << bits) + 2)) - 1;
      }
      device.upload(MemorySegment.ofArray(Grouped.pack(bits, inputs, codes)), w.codes());
      w.scales().set(scale);
      w.zeros().set(zero);
      return w;
    }
  }

  /// In NF4, or in one of GGML's types.
  record Named(String name, int rows, int outputs, int inputs) implements OnTensorCores {
    @Override
    public QuantMatrix matrix(Device device, Region region) {
      return QuantMatrices.forms().stream().filter(f -> f.name().equals(name)).findFirst().orElseThrow().make(region, outputs, inputs, 5);
    }
  }

  static List<OnTensorCores> tensorCores() {
    var out = new ArrayList<OnTensorCores>();
    for (int bits : new int[] {2, 3, 4, 8}) {
      out.add(new Grid(bits, 128, DType.F16, 1, 33, 9 * 128 + 40));
      out.add(new Grid(bits, 256, DType.F32, 9, 40, 17 * 128));
      out.add(new Grid(bits, 24, DType.F16, 17, 5, 24));
      out.add(new Grid(bits, 128, DType.F16, 45, 70, 512));
    }
    for (var name : List.of("nf4", "nf4 double")) {
      out.add(new Named(name, 1, 33, 9 * 128));
      out.add(new Named(name, 9, 40, 17 * 128));
      out.add(new Named(name, 17, 5, 128));
      out.add(new Named(name, 45, 70, 512));
    }
    for (var type : BlockType.values()) {
      int odd = type.weights() == 32 ? 32 : 0; // a slab that is not full
      out.add(new Named(type.name(), 1, 33, 9 * 256 + 3 * odd));
      out.add(new Named(type.name(), 9, 5, 256 - odd));
      out.add(new Named(type.name(), 45, 70, 17 * 256));
    }
    return out;
  }

  @ParameterizedTest
  @MethodSource("tensorCores")
  void fewRowsOnTensorCoresAgreeWithTheReferenceAndNoRowDependsOnItsNeighbours(OnTensorCores c) {
    var expected = c.product(new ReferenceDevice(), c.rows());
    host.launched();
    host.shuffle(++runs);
    var found = c.product(cuda, c.rows());
    var ran = host.launched();
    if (!ran.isEmpty()) assertThat(ran).anyMatch(k -> k.matches("llm_quant_(grouped|nf4|blocks)_mma_.*")); // a GPU does not tell
    double largest = 0;
    for (float e : expected) largest = Math.max(largest, Math.abs(e));
    for (int i = 0; i < expected.length; i++) {
      assertThat((double) found[i]).as("element " + i).isCloseTo(expected[i], within(8 * 0x1p-24 * Math.sqrt(c.inputs()) * largest));
    }
    host.shuffle(++runs);
    assertThat(c.product(cuda, 1)).isEqualTo(Arrays.copyOf(found, c.outputs()));
  }

  @ParameterizedTest
  @MethodSource("decoded")
  void decodedWeightsAreTheBitsOfTheirMeaning(QuantMatrices.Form form) {
    host.shuffle(++runs);
    assertThat(dequantize(cuda, form)).isEqualTo(dequantize(new ReferenceDevice(), form));
  }

  static List<QuantMatrices.Form> decoded() {
    return QuantMatrices.forms();
  }

  private static float[] dequantize(Device device, QuantMatrices.Form form) {
    try (var region = device.growing("decoded")) {
      int inputs = form.fit(259);
      var y = region.carve(DType.F32, Shape.of(7, inputs));
      device.run(new QuantMatMul.Dequantize(y, form.make(region, 7, inputs, 11)));
      return y.toFloats();
    }
  }
}
