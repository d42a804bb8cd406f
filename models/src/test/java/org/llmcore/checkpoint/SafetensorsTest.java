package org.llmcore.checkpoint;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

class SafetensorsTest {
  private static final Path SAMPLES = Path.of(System.getProperty("llm.data", "../shared/data"), "safetensors");
  private static final List<String> BYTE_WISE =
      List.of(
          "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I16", "U16", "F16", "BF16", "I32",
              "U32", "F32",
          "C64", "F64", "I64", "U64");

  @TempDir private Path folder;

  static MemorySegment bytes(int... values) {
    var out = new byte[values.length];
    for (int i = 0; i < out.length; i++) out[i] = (byte) values[i];
    return MemorySegment.ofArray(out);
  }

  private static MemorySegment random(Random random, int n) {
    var out = new byte[n];
    random.nextBytes(out);
    return MemorySegment.ofArray(out);
  }

  private static int width(String dtype) {
    var bits = dtype.startsWith("F8_") || dtype.equals("BOOL") ? "8" : dtype.replaceAll("\\D", "");
    return Integer.parseInt(bits) / 8;
  }

  @Test
  void publishedSamplesAreTakenOrRefusedAsTheirNamesSay() throws IOException {
    assumeTrue(Files.exists(SAMPLES), "skipped: " + SAMPLES + " is not here");
    int taken = 0;
    int refused = 0;
    try (var files = Files.list(SAMPLES)) {
      for (var file : files.toList()) {
        if (file.getFileName().toString().startsWith("ok_")) {
          Safetensors.open(file).close();
          taken++;
        } else {
          assertThatThrownBy(() -> Safetensors.open(file)).isInstanceOf(InvalidInput.class).hasMessageContaining(file.toString());
          refused++;
        }
      }
    }
    assertThat(taken).isEqualTo(3);
    assertThat(refused).isEqualTo(5);
  }

  @Test
  void publishedSamplesHoldWhatTheirHeadersSay() {
    assumeTrue(Files.exists(SAMPLES), "skipped: " + SAMPLES + " is not here");
    try (var bf16 = Safetensors.open(SAMPLES.resolve("ok_dtype_BF16.safetensors"));
        var metadata = Safetensors.open(SAMPLES.resolve("ok_metadata.safetensors"));
        var two = Safetensors.open(SAMPLES.resolve("ok_two_tensors.safetensors"))) {
      assertThat(bf16.get("t").describe()).isEqualTo("BF16(2, 2)");
      assertThat(bf16.get("t").toFloats()).hasSize(4).containsOnly(Float.intBitsToFloat(0x0100_0000));
      assertThat(metadata.metadata()).isEqualTo(Map.of("format", "pt", "x", "é"));
      assertThat(two.entries().keySet()).containsExactly("a", "b");
    }
  }

  @Test
  void everyDtypeSurvivesTheRoundTripBitForBit() {
    var random = new Random(1);
    var items = new ArrayList<Safetensors.Item>();
    for (var dtype : BYTE_WISE) {
      for (var shape : List.of(new int[] {}, new int[] {3}, new int[] {2, 1, 5}, new int[] {0}, new int[] {4, 0, 7})) {
        int n = 1;
        for (int d : shape) n *= d;
        items.add(new Safetensors.Item(dtype + "/" + shape.length + "/" + n, dtype, shape, random(random, n * width(dtype))));
      }
    }
    items.add(new Safetensors.Item("F4", "F4", new int[] {3, 2}, random(random, 3)));
    items.add(new Safetensors.Item("F6_E2M3", "F6_E2M3", new int[] {4}, random(random, 3)));
    items.add(new Safetensors.Item("F6_E3M2", "F6_E3M2", new int[] {8}, random(random, 6)));
    items.add(new Safetensors.Item("a \"quoted\" név\n😀", "F32", new int[] {1}, random(random, 4)));
    var file = folder.resolve("all.safetensors");
    Safetensors.write(file, Map.of("format", "pt", "π", "\"\\"), items);
    try (var read = Safetensors.open(file)) {
      assertThat(read.metadata()).isEqualTo(Map.of("format", "pt", "π", "\"\\"));
      assertThat(read.entries()).hasSize(items.size());
      for (var i : items) {
        var e = read.get(i.name());
        assertThat(e.dtype()).isEqualTo(i.dtype());
        assertThat(e.shape()).isEqualTo(i.shape());
        assertThat(e.data().mismatch(Items.whole(i))).as(i.name()).isEqualTo(-1);
      }
    }
  }

  @Test
  void floatingDtypesBecomeTheirF32Values() {
    var doubles = ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN).putDouble(0.1).putDouble(-1e300).array();
    var file = folder.resolve("floats.safetensors");
    Safetensors.write(
        file,
        List.of(
            new Safetensors.Item("bf16", "BF16", new int[] {3}, bytes(0x80, 0x3f, 0x49, 0xc0, 0x80, 0x7f)),
            new Safetensors.Item("f16", "F16", new int[] {4}, bytes(0x00, 0x3c, 0x01, 0x00, 0xff, 0x7b, 0x00, 0xfc)),
            new Safetensors.Item("f32", "F32", new int[] {1}, bytes(0, 0, 0x20, 0xc1)),
            new Safetensors.Item("f64", "F64", new int[] {2}, MemorySegment.ofArray(doubles)),
            new Safetensors.Item("i64", "I64", new int[] {1}, bytes(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)),
            new Safetensors.Item("wide", "I64", new int[] {1}, bytes(0, 0, 0, 0, 1, 0, 0, 0)),
            new Safetensors.Item("i32", "I32", new int[] {1}, bytes(1, 2, 0, 0))));
    try (var f = Safetensors.open(file)) {
      assertThat(f.get("bf16").toFloats()).containsExactly(1f, -3.140625f, Float.POSITIVE_INFINITY);
      assertThat(f.get("f16").toFloats()).containsExactly(1f, 0x1p-24f, 65504f, Float.NEGATIVE_INFINITY);
      assertThat(f.get("f32").toFloats()).containsExactly(-10f);
      assertThat(f.get("f64").toFloats()).containsExactly(0.1f, Float.NEGATIVE_INFINITY);
      assertThat(f.get("i32").toInts()).containsExactly(513);
      assertThat(f.get("i64").toInts()).containsExactly(-1);
      assertThatThrownBy(() -> f.get("i64").toFloats()).isInstanceOf(InvalidInput.class).hasMessageContaining("I64");
      assertThatThrownBy(() -> f.get("f32").toInts()).isInstanceOf(InvalidInput.class).hasMessageContaining("F32");
      assertThatThrownBy(() -> f.get("wide").toInts()).isInstanceOf(InvalidInput.class).hasMessageContaining("4294967296");
      assertThatThrownBy(() -> f.get("f8")).isInstanceOf(InvalidInput.class).hasMessageContaining("no tensor f8");
    }
  }

  /// The bytes that `safetensors` 0.8.0 writes for the same tensors.
  @Test
  void filesAreLaidOutAsTheReferenceLibraryLaysThemOut() throws IOException {
    var file = folder.resolve("laid.safetensors");
    Safetensors.write(
        file,
        List.of(
            new Safetensors.Item("u", "U8", new int[] {3}, bytes(1, 2, 3)),
                new Safetensors.Item("b", "F16", new int[] {1}, bytes(4, 5)),
            new Safetensors.Item("c", "BF16", new int[] {1}, bytes(6, 7)),
                new Safetensors.Item("a", "BF16", new int[] {1}, bytes(8, 9)),
            new Safetensors.Item("i", "I64", new int[] {}, bytes(1, 1, 1, 1, 1, 1, 1, 1)),
                new Safetensors.Item("f", "F64", new int[] {1}, bytes(2, 2, 2, 2, 2, 2, 2, 2))));
    var header =
        "{\"__metadata__\":{\"format\":\"pt\"},\"i\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
            + "\"f\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[8,16]},\"a\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[16,18]},"
            + "\"c\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[18,20]},\"b\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[20,22]},"
            + "\"u\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[22,25]}}";
    var all = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
    int length = Math.toIntExact(all.getLong());
    assertThat(length % 8).isZero();
    var found = new byte[length];
    all.get(found);
    assertThat(new String(found, StandardCharsets.UTF_8).stripTrailing()).isEqualTo(header);
    var data = new byte[all.remaining()];
    all.get(data);
    assertThat(data).isEqualTo(new byte[] {1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 8, 9, 6, 7, 4, 5, 1, 2, 3});
  }

  @Test
  void aFileOfNothingIsAFile() {
    var file = folder.resolve("empty.safetensors");
    Safetensors.write(file, Map.of(), List.of());
    try (var f = Safetensors.open(file)) {
      assertThat(f.entries()).isEmpty();
      assertThat(f.metadata()).isEmpty();
    }
  }

  @Test
  void aTensorThatContradictsItselfIsNotWritten() {
    assertThatThrownBy(() -> new Safetensors.Item("t", "F32", new int[] {2}, bytes(1, 2, 3, 4)))
        .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("F32[2] has 4 bytes");
    assertThatThrownBy(() -> new Safetensors.Item("t", "F31", new int[] {1}, bytes(1, 2, 3, 4)))
        .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("F31");
    assertThatThrownBy(() -> new Safetensors.Item("t", "F32", new int[] {-1, -1}, bytes(1, 2, 3, 4)))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> new Safetensors.Item("__metadata__", "U8", new int[] {1}, bytes(1)))
        .isInstanceOf(IllegalArgumentException.class);
    var twice = List.of(new Safetensors.Item("t", "U8", new int[] {1}, bytes(1)),
        new Safetensors.Item("t", "U8", new int[] {1}, bytes(2)));
    assertThatThrownBy(() -> Safetensors.write(folder.resolve("twice"), twice)).isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("named t");
    assertThat(folder.resolve("twice")).doesNotExist();
  }
}
