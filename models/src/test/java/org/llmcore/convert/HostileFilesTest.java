package org.llmcore.convert;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.Llama2c;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.gguf.Gguf;
import org.llmcore.gguf.LlamaGguf;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.text.SentencePieceBpe;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Hostile and damaged files in a Java with 64 MB of heap: each is refused with a sentence, within a second, and without memory
/// that a number in it asks for. One process reads them all (`main`).
class HostileFilesTest {
  private static final Path DATA = Path.of(System.getProperty("llm.data", "../shared/data"));
  private static final double SECONDS = 1;

  @TempDir private Path folder;

  private interface Reading {
    void read(Path path) throws IOException;
  }

  @Test
  void everyHostileFileIsRefusedInASmallHeap() throws IOException, InterruptedException {
    assumeTrue(Files.exists(DATA.resolve("gguf-malformed")), "no public data: set llm.data");
    makeLarge(folder.resolve("large"));
    var java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    var out = folder.resolve("out");
    var process = new ProcessBuilder(
        java, "-Xmx64m", "-XX:MaxDirectMemorySize=32m", "-XX:TieredStopAtLevel=1", "--add-modules", "jdk.incubator.vector",
            "--enable-native-access=ALL-UNNAMED", "-cp",
        System.getProperty("java.class.path"), HostileFilesTest.class.getName(), DATA.toAbsolutePath().toString(),
            folder.toString())
        .redirectOutput(out.toFile()).redirectErrorStream(true).start();
    assertThat(process.waitFor()).as(Files.readString(out)).isZero();
    assertThat(Files.readString(out)).contains("GGUF", "safetensors", "llama2.c", "tokenizer.model", "GPTQ", "published",
        "numbers", "large").doesNotContain("NOT REFUSED");
  }

  public static void main(String[] arguments) throws IOException {
    var data = Path.of(arguments[0]);
    var work = Path.of(arguments[1]);
    var main = new HostileFilesTest();
    main.cut("GGUF", data.resolve("gguf/stories260K-ff192-q8_0.gguf"), work, HostileFilesTest::gguf);
    main.cut("safetensors", data.resolve("stories260k/hf/model.safetensors"), work, f -> Safetensors.open(f).close());
    main.cut("llama2.c", data.resolve("stories260k/stories260K.bin"), work, f -> Llama2c.read(f));
    main.cut("tokenizer.model", data.resolve("llama2-tokenizer/tokenizer.model"), work, f -> SentencePieceBpe.read(f));
    var gptq = Files.createDirectory(work.resolve("gptq"));
    for (var name : List.of("config.json", "quantize_config.json")) Files.copy(data.resolve("gptq/w4_g32_asym").resolve(name),
        gptq.resolve(name));
    try (var device = new CpuDevice(true, 1)) {
      var words = Optional.of(data.resolve("stories260k/tok512.model"));
      main.cut("GPTQ", data.resolve("gptq/w4_g32_asym/model.safetensors"), gptq, "model.safetensors", _ ->
          LanguageModel.open(device, gptq, words, Precision.F32, false).close());
    }
    main.all("published", published(data));
    main.all("numbers", numbers(data, work));
    main.all("large", large(work.resolve("large")));
    System.exit(0);
  }

  private static void gguf(Path file) {
    try (var open = LlamaGguf.of(Gguf.open(file))) {
      open.tokenizer();
      for (var p : Part.of(open.config())) open.tensor(p.name(), p.shape());
    }
  }

  private void cut(String what, Path good, Path work, Reading reading) throws IOException {
    cut(what, good, work, "cut", reading);
  }

  /// Every whole number of kilobytes that is less than the file.
  private void cut(String what, Path good, Path work, String name, Reading reading) throws IOException {
    var file = work.resolve(name);
    Files.copy(good, file);
    reading.read(file); // the whole file is good, and the code is warm
    int files = 0;
    double slowest = 0;
    try (var bytes = new RandomAccessFile(file.toFile(), "rw")) {
      for (long n = (bytes.length() - 1) / 1024 * 1024; n >= 0; n -= 1024) {
        bytes.setLength(n);
        slowest = Math.max(slowest, refused(what + " of " + n + " bytes", file, reading));
        files++;
      }
    }
    Files.delete(file);
    System.out.printf("%s: %d files refused, the slowest in %.3f s%n", what, files, slowest);
  }

  private void all(String what, Map<Path, Reading> files) {
    double slowest = 0;
    for (var e : files.entrySet()) slowest = Math.max(slowest, refused(e.getKey().toString(), e.getKey(), e.getValue()));
    System.out.printf("%s: %d files refused, the slowest in %.3f s%n", what, files.size(), slowest);
  }

  private static double refused(String what, Path file, Reading reading) {
    long from = System.nanoTime();
    String said;
    try {
      reading.read(file);
      said = "NOT REFUSED";
    } catch (InvalidInput e) {
      said = e.getMessage().length() < 1000 && e.getMessage().contains(" ") ? "" : "a message of " + e.getMessage().length();
    } catch (Throwable t) {
      said = t.toString();
    }
    double seconds = (System.nanoTime() - from) / 1e9;
    if (said.isEmpty() && seconds < SECONDS) return seconds;
    System.out.println(what + ": " + (said.isEmpty() ? seconds + " s" : said));
    System.exit(1);
    return seconds;
  }

  private static Map<Path, Reading> published(Path data) throws IOException {
    var files = new LinkedHashMap<Path, Reading>();
    try (var list = Files.list(data.resolve("gguf-malformed"))) {
      list.filter(f -> !f.toString().contains("SUCCESS")).forEach(f -> files.put(f, HostileFilesTest::gguf));
    }
    try (var list = Files.list(data.resolve("safetensors"))) {
      list.filter(f -> !f.getFileName().toString().startsWith("ok_"))
          .forEach(f -> files.put(f, x -> Safetensors.open(x).close()));
    }
    if (files.size() < 6) throw new IllegalStateException("only " + files.size() + " published bad files");
    return files;
  }

  /// Numbers near 2⁶³, products that overflow, endless nesting, absurd shapes.
  private static Map<Path, Reading> numbers(Path data, Path work) throws IOException {
    var files = new LinkedHashMap<Path, Reading>();
    long[] numbers = {Long.MAX_VALUE, Long.MAX_VALUE - 7, Long.MIN_VALUE, -1, 1L << 32, 1L << 31, (1L << 31) - 1, 1L << 62,
        1L << 40};
    for (long n : numbers) {
      files.put(gguf(work, bytes(3, n, 0L)), HostileFilesTest::gguf); // tensors
      files.put(gguf(work, bytes(3, 0L, n)), HostileFilesTest::gguf); // keys
      files.put(gguf(work, bytes(3, 0L, 1L, n)), HostileFilesTest::gguf); // length of a key
      files.put(gguf(work, bytes(3, 0L, 1L, "k", 8, n)), HostileFilesTest::gguf); // length of a text
      for (int type = 0; type < 13; type++) files.put(gguf(work, bytes(3, 0L, 1L, "k", 9, type, n)),
          HostileFilesTest::gguf); // of a list
      files.put(gguf(work, bytes(3, 1L, 0L, "t", 1, n, 0, 0L)), HostileFilesTest::gguf); // a dimension
      files.put(gguf(work, bytes(3, 1L, 0L, "t", 4, 1L << 20, 1L << 20, 1L << 20, n, 0, 0L)),
          HostileFilesTest::gguf); // a product
      files.put(gguf(work, bytes(3, 1L, 0L, "t", 1, 8L, 0, n)), HostileFilesTest::gguf); // an offset
      files.put(gguf(work, bytes(3, 0L, 1L, "general.alignment", 10, n)), HostileFilesTest::gguf);
      for (var key : List.of("embedding_length", "attention.head_count", "attention.head_count_kv", "attention.key_length",
          "block_count", "context_length", "feed_forward_length")) {
        files.put(gguf(work, llama(key, n)), HostileFilesTest::gguf);
      }
      var shape = "{\"a\":{\"dtype\":\"F32\",\"shape\":[" + n + "," + n + "],\"data_offsets\":[0," + n + "]}}";
      files.put(safetensors(work, shape), f -> Safetensors.open(f).close());
    }
    files.put(safetensors(work, "{\"a\":" + "[".repeat(1 << 20)), f -> Safetensors.open(f).close());
    files.put(safetensors(work, "{\"a\":".repeat(1 << 18)), f -> Safetensors.open(f).close());
    for (var change : List.of(
        "hidden_size|1000000000", "num_hidden_layers|1000000000", "vocab_size|-1", "vocab_size|0",
            "intermediate_size|9223372036854775807", "num_attention_heads|0",
        "num_key_value_heads|-4", "head_dim|1073741823", "max_position_embeddings|2147483647", "max_position_embeddings|16777216",
            "rms_norm_eps|-1", "rms_norm_eps|1e400",
        "num_hidden_layers|4096", "hidden_size|1048576", "vocab_size|16777216", "intermediate_size|4194304", "hidden_size|64.5",
            "hidden_size|\"64\"", "bos_token_id|512",
        "hidden_size|" + "9".repeat(100_000), "rope_parameters|" + "[".repeat(100_000), "vocab_size|null")) {
      var folder = Files.createDirectories(work.resolve("hf" + files.size()));
      for (var name : List.of("model.safetensors")) Files.createSymbolicLink(folder.resolve(name), data.resolve("stories260k/hf")
          .resolve(name).toAbsolutePath());
      var key = change.substring(0, change.indexOf('|'));
      var config = Files.readString(data.resolve("stories260k/hf/config.json"))
          .replaceAll("\"" + key + "\": (\\{[^}]*\\}|[^,\\n]*)", "\"" + key + "\": " + change.substring(change.indexOf('|') + 1));
      Files.writeString(folder.resolve("config.json"), config);
      files.put(folder, f -> {
        try (var device = new CpuDevice(true, 1)) {
          LanguageModel.open(device, f, Optional.of(data.resolve("stories260k/tok512.model")), Precision.F32, false).close();
        }
      });
    }
    int[] good = {64, 172, 5, 8, 4, 512, 512};
    for (int i = 0; i < good.length; i++) {
      for (int n : new int[] {Integer.MAX_VALUE, Integer.MIN_VALUE, -1, 0, 1 << 30, 1 << 20}) {
        var head = good.clone();
        head[i] = n;
        var bytes = ByteBuffer.allocate(4096).order(ByteOrder.LITTLE_ENDIAN);
        for (int h : head) bytes.putInt(h);
        files.put(Files.write(work.resolve(files.size() + ".bin"), bytes.array()), f -> Llama2c.read(f));
      }
    }
    return files;
  }

  /// Files that are as large as they say, of very many small things or of few large ones; made in a Java that has the room.
  private static void makeLarge(Path work) throws IOException {
    Files.createDirectory(work);
    safetensors(work, "{\"__metadata__\":{\"a\":\"" + "x".repeat(30_000_000) + "\"}}");
    safetensors(work, "{\"a\":{\"later\":[" + "1,".repeat(6_000_000) + "1]}}");
    safetensors(work, "{\"a\":{\"shape\":[" + "1,".repeat(6_000_000) + "1]}}");
    safetensors(work, "{\"__metadata__\":{" + numbered(600_000, "\"%d\":\"\",") + "\"a\":\"\"}}");
    safetensors(work, "{" + numbered(200_000, "\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},") + "\"a\":{}}");
    var many = ByteBuffer.allocate(21_000_024).order(ByteOrder.LITTLE_ENDIAN).put(bytes(3, 0L, 1_000_000L));
    while (many.remaining() >= 17) many.putLong(4).putInt(many.position()).putInt(0).put((byte) 1);
    gguf(work, many.array());
    gguf(work, ByteBuffer.allocate(24_000_024).put(bytes(3, 1_000_000L, 0L)).array());
    Files.writeString(work.resolve("a.json"), "{\"a\":[" + "1000,".repeat(3_000_000) + "1]}");
    Files.writeString(work.resolve("b.json"), "{\"a\":\"" + "x".repeat(30_000_000) + "\"}");
  }

  private static Map<Path, Reading> large(Path work) throws IOException {
    var files = new LinkedHashMap<Path, Reading>();
    try (var list = Files.list(work)) {
      list.sorted().forEach(f -> files.put(f, f.toString().endsWith(".gguf") ? HostileFilesTest::gguf
          : f.toString().endsWith(".json") ? LlamaConfig::read : x -> Safetensors.open(x).close()));
    }
    return files;
  }

  private static String numbered(int n, String form) {
    var out = new StringBuilder();
    for (int i = 0; i < n; i++) out.append(form.formatted(i));
    return out.toString();
  }

  private static Path gguf(Path work, byte[] bytes) throws IOException {
    return Files.write(Files.createTempFile(work, "n", ".gguf"), bytes);
  }

  private static Path safetensors(Path work, String header) throws IOException {
    var text = header.getBytes(StandardCharsets.UTF_8);
    return Files.write(Files.createTempFile(work, "n", ".safetensors"), ByteBuffer.allocate(8 + text.length)
        .order(ByteOrder.LITTLE_ENDIAN).putLong(text.length).put(text).array());
  }

  /// Keys of a tiny Llama of which one is `n`, and its embedding.
  private static byte[] llama(String key, long n) {
    var parts = new ArrayList<Object>();
    var keys = new LinkedHashMap<String, Object>();
    keys.put("embedding_length", 8L);
    keys.put("attention.head_count", 2L);
    keys.put("attention.head_count_kv", 2L);
    keys.put("attention.key_length", 4L);
    keys.put("block_count", 1L);
    keys.put("context_length", 16L);
    keys.put("feed_forward_length", 8L);
    keys.put(key, n);
    parts.addAll(List.of(3, 1L, keys.size() + 2L, "general.architecture", 8, "llama", "llama.attention.layer_norm_rms_epsilon", 6,
        Float.floatToIntBits(1e-5f)));
    keys.forEach((k, v) -> parts.addAll(List.of("llama." + k, 10, v)));
    parts.addAll(List.of("token_embd.weight", 2, 8L, 4L, 0, 0L, new byte[256]));
    return bytes(parts.toArray());
  }

  private static byte[] bytes(Object... parts) {
    var out = ByteBuffer.allocate(1 << 12).order(ByteOrder.LITTLE_ENDIAN).put(new byte[] {'G', 'G', 'U', 'F'});
    for (var part : parts) {
      switch (part) {
        case Integer i -> out.putInt(i);
        case Long l -> out.putLong(l);
        case String s -> out.putLong(s.length()).put(s.getBytes(StandardCharsets.UTF_8));
        case byte[] b -> out.put(b);
        default -> throw new IllegalArgumentException(part.toString());
      }
    }
    return java.util.Arrays.copyOf(out.array(), out.position());
  }
}
