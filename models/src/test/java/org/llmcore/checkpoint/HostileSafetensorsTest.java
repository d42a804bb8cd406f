package org.llmcore.checkpoint;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.ValueLayout;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;

import com.sun.management.ThreadMXBean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Damaged and hostile files: each is refused with `InvalidInput` that names it, or it is a valid file after all.
@Timeout(30)
class HostileSafetensorsTest {
  private static final Path MODEL = Path.of(System.getProperty("llm.data", "../shared/data"), "stories260k/hf/model.safetensors");

  @TempDir private Path folder;

  private static byte[] file(byte[] header, int data) {
    return ByteBuffer.allocate(8 + header.length + data).order(ByteOrder.LITTLE_ENDIAN).putLong(header.length).put(header)
        .array();
  }

  private static byte[] file(String header, int data) {
    return file(header.getBytes(StandardCharsets.UTF_8), data);
  }

  private static byte[] valid() {
    return file(
        "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
            + "\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[16,22]},\"c\":{\"dtype\":\"U8\",\"shape\":[2,0],\"data_offsets\":[22,22]}}", 22);
  }

  /// Whether the file is taken. What is handed out must lie within the file; anything but `InvalidInput` fails the test.
  private boolean taken(Path file) {
    try (var f = Safetensors.open(file)) {
      long bytes = 0;
      for (var e : f.entries().values()) {
        bytes += e.data().byteSize();
        for (long i = 0; i < e.data().byteSize(); i++) e.data().get(ValueLayout.JAVA_BYTE, i);
      }
      assertThat(bytes).isLessThan(Files.size(file));
      return true;
    } catch (InvalidInput e) {
      assertThat(e).hasMessageContaining(file.toString()).hasMessageContaining("---> ");
      return false;
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private Path written(byte[] bytes) throws IOException {
    return Files.write(folder.resolve("x.safetensors"), bytes);
  }

  private static void overwrite(RandomAccessFile file, int at, int value) throws IOException {
    file.seek(at);
    file.write(value);
  }

  private static void overwrite(RandomAccessFile file, int at, byte[] bytes) throws IOException {
    file.seek(at);
    file.write(bytes);
  }

  @Test
  void theUndamagedFileIsTaken() throws IOException {
    assertThat(taken(written(valid()))).isTrue();
  }

  @Test
  void aFileCutAnywhereIsRefused() throws IOException {
    var bytes = valid();
    var file = written(bytes);
    try (var cut = new RandomAccessFile(file.toFile(), "rw")) {
      for (int n = bytes.length - 1; n >= 0; n--) {
        cut.setLength(n);
        assertThat(taken(file)).as("cut to " + n + " bytes").isFalse();
      }
    }
  }

  @Test
  void aRealModelCutAtEveryKilobyteAndHeaderByteIsRefused() throws IOException {
    assumeTrue(Files.exists(MODEL), "skipped: " + MODEL + " is not here");
    var file = written(Files.readAllBytes(MODEL));
    long header = 8 + ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN).getLong();
    try (var cut = new RandomAccessFile(file.toFile(), "rw")) {
      for (long n = (cut.length() - 1) / 1024 * 1024; n > header; n -= 1024) {
        cut.setLength(n);
        assertThat(taken(file)).as("cut to " + n + " bytes").isFalse();
      }
      for (long n = header; n >= 0; n--) {
        cut.setLength(n);
        assertThat(taken(file)).as("cut to " + n + " bytes").isFalse();
      }
    }
  }

  @Test
  void everySingleFlippedBitOfTheHeaderIsRefusedOrHarmless() throws IOException {
    var bytes = valid();
    var file = written(bytes);
    int refused = 0;
    try (var flipped = new RandomAccessFile(file.toFile(), "rw")) {
      for (int bit = 0; bit < 8 * (bytes.length - 22); bit++) {
        overwrite(flipped, bit / 8, bytes[bit / 8] ^ 1 << bit % 8);
        if (!taken(file)) refused++;
        overwrite(flipped, bit / 8, bytes[bit / 8]);
      }
    }
    // Names and metadata may change unseen; structure, types, shapes and places may not.
    assertThat(refused).isGreaterThan(8 * (bytes.length - 22) * 4 / 5);
  }

  @Test
  void randomDamageToTheHeaderNeverEscapes() throws IOException {
    var random = new Random(11);
    var letters = "{}[]\",:0123456789-.eE\\u null true__metadata__ \t\n\u0000".getBytes(StandardCharsets.UTF_8);
    var bytes = valid();
    var file = written(bytes);
    int refused = 0;
    try (var damaged = new RandomAccessFile(file.toFile(), "rw")) {
      for (int round = 0; round < 3000; round++) {
        overwrite(damaged, 0, bytes);
        for (int i = random.nextInt(6); i >= 0; i--) {
          overwrite(damaged, random.nextInt(bytes.length - 22), random.nextInt(4) == 0 ? random.nextInt(256)
              : letters[random.nextInt(letters.length)]);
        }
        if (!taken(file)) refused++;
      }
    }
    assertThat(refused).isGreaterThan(2000);
  }

  @ParameterizedTest
  @ValueSource(strings = {
      "", " ", "{", "}", "[]", "null", "1", "\"a\"", " {}", "{}x", "{}{}", "{\"a\"}", "{\"a\":1}", "{\"a\":null}", "{\"a\":[]}",
      "{\"a\":{}}",
      "{\"__metadata__\":[]}", "{\"__metadata__\":\"pt\"}", "{\"__metadata__\":{\"a\":1}}", "{\"__metadata__\":{\"a\":null}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,4]}}",
      "{\"a\":{\"shape\":[4],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"u8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":8,\"shape\":[4],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":4,\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4.0],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[\"4\"],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[[4]],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[-2,-2],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967300],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[99999999999999999999999999],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[1073741824,1073741824,16,4],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F64\",\"shape\":[2147483647,2147483647,2147483647],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"F4\",\"shape\":[7],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":{\"0\":0,\"1\":4}}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4.0]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[\"0\",\"4\"]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,0]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[-4,0]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[1,5]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[1,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[9223372036854775804,9223372036854775808]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[-9223372036854775808,-9223372036854775804]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"shape\":[4],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[3,4]}}"})
  void headersThatContradictTheFormatAreRefused(String header) throws IOException {
    assertThat(taken(written(file(header, 4)))).isFalse();
  }

  @Test
  void theFormatsLibertiesAreTaken() throws IOException {
    for (var header : List.of(
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}  \n ",
        "{\"__metadata__\":null,\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4],\"later\":{}}}",
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}")) {
      assertThat(taken(written(file(header, 4)))).as(header).isTrue();
    }
  }

  @Test
  void blanksBehindTheHeaderCostNothingAndWhatItHoldsHasLimits() throws IOException {
    var content = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
    var file = written(file(content + " ".repeat(40_000_000), 4));
    var threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long before = threads.getThreadAllocatedBytes(Thread.currentThread().threadId());
    Safetensors.open(file).close();
    assertThat(threads.getThreadAllocatedBytes(Thread.currentThread().threadId()) - before).isLessThan(5_000_000);
    says("{\"a\":{\"dtype\":\"" + "x".repeat(17_000_000) + "\"}}", "bytes of text, the limit is 16000000");
    says("{\"a\":{\"later\":[" + "1,".repeat(2000) + "1]}}", "field 'later' without end");
    says("{\"a\":{\"shape\":[" + "1,".repeat(5000) + "1]}}", "dimension 1 as number 4097, expected at most 4096");
    says("{\"a\u001b[2J\n\":1}".replace("\u001b", "\\u001b").replace("\n", "\\n"), "tensor a\\u{1b}[2J\\u{a} is no object");
  }

  private void says(String header, String words) throws IOException {
    var file = written(file(header, 4));
    assertThatThrownBy(() -> Safetensors.open(file)).isInstanceOf(InvalidInput.class).hasMessageContaining(words);
  }

  @Test
  void aHeaderThatIsNotUtf8IsRefused() throws IOException {
    var header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}".getBytes(StandardCharsets.UTF_8);
    header[2] = (byte) 0xff;
    assertThatThrownBy(() -> Safetensors.open(written(file(header, 4)))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("not UTF-8");
    var wide = "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}".getBytes(StandardCharsets.UTF_16LE);
    assertThat(taken(written(file(wide, 4)))).isFalse();
  }

  @Test
  void aHeaderNestedWithoutEndIsRefused() throws IOException {
    assertThat(taken(written(file("{\"a\":" + "[".repeat(200_000), 4)))).isFalse();
    assertThat(taken(written(file("{\"a\":" + "{\"a\":".repeat(200_000), 4)))).isFalse();
  }

  @Test
  void longNamesAndShapesAreCutInTheMessage() throws IOException {
    var name = "{\"" + "n".repeat(40_000) + "\":{}}";
    var shape = "{\"a\":{\"dtype\":\"U8\",\"shape\":[" + "9,".repeat(100_000) + "9],\"data_offsets\":[0,4]}}";
    for (var header : List.of(name, shape)) {
      assertThatThrownBy(() -> Safetensors.open(written(file(header, 4))))
          .isInstanceOf(InvalidInput.class).satisfies(e -> assertThat(e.getMessage().length()).isLessThan(1000));
    }
  }

  @Test
  void lengthsBeyondTheFileAreRefusedBeforeMemoryIsTaken() throws IOException {
    var threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    var file = folder.resolve("x.safetensors");
    for (long claimed : new long[] {0, 1, 3, 99_999_999, 100_000_000, 100_000_001, Integer.MAX_VALUE, 1L << 32, 1L << 56,
        Long.MAX_VALUE, Long.MIN_VALUE, -1, -8}) {
      Files.write(file, ByteBuffer.allocate(10).order(ByteOrder.LITTLE_ENDIAN).putLong(claimed).put((byte) '{').put((byte) '}')
          .array());
      long before = threads.getThreadAllocatedBytes(Thread.currentThread().threadId());
      assertThat(taken(file)).as("length " + claimed).isFalse();
      assertThat(threads.getThreadAllocatedBytes(Thread.currentThread().threadId()) - before).as("length " + claimed)
          .isLessThan(5_000_000);
    }
    var absurd = file("{\"a\":{\"dtype\":\"F64\",\"shape\":[2147483647,1000],\"data_offsets\":[0,17179869176000]}}", 4);
    long before = threads.getThreadAllocatedBytes(Thread.currentThread().threadId());
    assertThat(taken(written(absurd))).isFalse();
    assertThat(threads.getThreadAllocatedBytes(Thread.currentThread().threadId()) - before).isLessThan(5_000_000);
  }

  @Test
  void whatIsNoFileIsRefused() {
    assertThatThrownBy(() -> Safetensors.open(folder)).isInstanceOf(InvalidInput.class).hasMessageContaining(folder.toString());
    assertThatThrownBy(() -> Safetensors.open(folder.resolve("none"))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("none");
  }
}
