package org.llmcore.quant;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;

import org.junit.jupiter.api.Test;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.cpu.Tier;
import org.llmcore.op.QuantMatMul;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Nf4;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

import static org.assertj.core.api.Assertions.assertThat;

/// Bit for bit what bitsandbytes gives: its level tables, codes, absmaxima, double quantization and decoded weights, recorded by
/// `nf4-golden.py` with the library's own code.
class Nf4GoldenTest {
  private static final int OUTPUTS = 2;
  private static final int INPUTS = 8224;
  private static final Map<String, byte[]> GOLDEN = golden();

  private static Map<String, byte[]> golden() {
    try (var in = Nf4GoldenTest.class.getResourceAsStream("nf4-golden.txt")) {
      var all = new HashMap<String, byte[]>();
      for (var line : new String(in.readAllBytes(), StandardCharsets.US_ASCII).lines().toList()) {
        var words = line.split(" ");
        all.put(words[0], HexFormat.of().parseHex(words[1]));
      }
      return all;
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private static float[] floats(String name) {
    var out = new float[GOLDEN.get(name).length / 4];
    ByteBuffer.wrap(GOLDEN.get(name)).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(out);
    return out;
  }

  private static float[] weights() {
    var w = Arrays.copyOf(floats("first"), OUTPUTS * INPUTS);
    for (int i = 64; i < w.length; i++) w[i] = ((7919L * i + 13) % 20011 - 10005) / 4096f * (1 + i / 64 % 17);
    return w;
  }

  @Test
  void theDynamicMapIsTheLibrarys() {
    assertThat(Nf4.map()).isEqualTo(floats("map"));
  }

  @Test
  void codesAndAbsmaximaAreTheLibrarysIncludingTies() {
    var encoded = Nf4Codes.encode(weights());
    assertThat(encoded.codes()).isEqualTo(GOLDEN.get("codes"));
    assertThat(encoded.absmax()).isEqualTo(floats("absmax"));
  }

  @Test
  void doubleQuantizationIsTheLibrarys() {
    var nested = Nf4Codes.Nested.of(floats("absmax"));
    assertThat(nested.offset()).isEqualTo(floats("offset")[0]);
    assertThat(nested.codes()).isEqualTo(GOLDEN.get("nested_codes"));
    assertThat(nested.scale()).isEqualTo(floats("nested_scale"));
  }

  @Test
  void decodedWeightsAreTheLibrarys() {
    for (var tier : Tier.here()) {
      try (var region = Region.growing("test"); var device = new CpuDevice(tier, 2)) {
        var y = region.carve(DType.F32, Shape.of(OUTPUTS, INPUTS));
        device.run(new QuantMatMul.Dequantize(y, Nf4Codes.encode(weights()).upload(device, region, OUTPUTS, INPUTS, false)));
        assertThat(Arrays.copyOf(y.toFloats(), 1024)).isEqualTo(floats("dequantized"));
        device.run(new QuantMatMul.Dequantize(y, Nf4Codes.encode(weights()).upload(device, region, OUTPUTS, INPUTS, true)));
        assertThat(Arrays.copyOfRange(y.toFloats(), OUTPUTS * INPUTS - 1024, OUTPUTS * INPUTS)).isEqualTo(floats("dequantized_nested"));
      }
    }
  }

  @Test
  void aBlockOfZerosStaysZero() {
    try (var region = Region.growing("test"); var device = new CpuDevice(true, 1)) {
      var w = Arrays.copyOf(weights(), 192);
      Arrays.fill(w, 64, 128, 0);
      for (boolean nested : new boolean[] {true, false}) {
        var matrix = Nf4Codes.encode(w).upload(device, region, 3, 64, nested);
        for (float v : matrix.row(1)) assertThat(v).isZero();
      }
    }
  }
}
