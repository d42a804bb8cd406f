package org.llmcore.gguf;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.IntStream;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.generate.Generator;
import org.llmcore.generate.Sampling;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.QuantLinear;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.tuple;
import static org.assertj.core.data.Offset.offset;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// GGUF files against published logits, Python's gguf package and damage.
class GgufTest {
  private static final Path DATA = Path.of(System.getProperty("llm.data", "../shared/data"));

  @TempDir private Path folder;

  private static Path data(String name) {
    var path = DATA.resolve(name);
    assumeTrue(Files.exists(path), "no " + name + ": set llm.data to the folder of public data");
    return path;
  }

  /// Bytes of a small file: parts are Integer (u32), Long (u64), String (length and bytes), byte[].
  private static byte[] bytes(Object... parts) {
    var out = ByteBuffer.allocate(1 << 16).order(ByteOrder.LITTLE_ENDIAN);
    for (var part : parts) {
      switch (part) {
        case Integer i -> out.putInt(i);
        case Long l -> out.putLong(l);
        case String s -> out.putLong(s.length()).put(s.getBytes(StandardCharsets.UTF_8));
        case byte[] b -> out.put(b);
        default -> throw new IllegalArgumentException(part.toString());
      }
    }
    return Arrays.copyOf(out.array(), out.position());
  }

  private static final byte[] MAGIC = {'G', 'G', 'U', 'F'};

  private void refused(byte[] content, String... words) throws IOException {
    var file = Files.write(folder.resolve("hostile.gguf"), content);
    assertThatThrownBy(() -> {
      try (var open = Gguf.open(file)) {
        LlamaGguf.of(open).tokenizer();
      }
    }).isInstanceOf(InvalidInput.class).hasMessageContainingAll(words);
  }

  @ParameterizedTest
  @CsvSource({"stories260K-f32, 1e-3, false", "stories260K-ff192-q8_0, 1e-3, true"})
  void publishedLogitsAndGreedyText(String name, double tolerance, boolean blocks) throws IOException {
    var file = data("gguf").resolve(name + ".gguf");
    var index = new ObjectMapper().readTree(data("gguf").resolve("index.json").toFile());
    try (Device device = new CpuDevice(true, 2);
        var model = LanguageModel.open(device, file, Optional.empty(), Precision.F32, false);
        var golden = Safetensors.open(data("gguf").resolve(name + ".expected.safetensors"));
        var region = device.growing("test")) {
      assertThat(model.notes()).isEmpty();
      assertThat(model.decoder().linears().stream().anyMatch(l -> l instanceof QuantLinear)).isEqualTo(blocks);
      var p = Pass.inference(device, region);
      var tokens = model.decoder().tokens(p, golden.get("input_ids").toInts());
      var found = model.decoder().logits(p, model.decoder().hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>())).toFloats();
      var expected = golden.get("logits").toFloats();
      assertThat(found).hasSameSizeAs(expected);
      for (int i = 0; i < found.length; i++) assertThat((double) found[i]).as("logit " + i).isCloseTo(expected[i], offset(tolerance));

      var entry = index.get(0).get("file").asText().startsWith(name) ? index.get(0) : index.get(1);
      var greedy = new ObjectMapper().convertValue(entry.get("greedy_ids"), int[].class);
      try (var generator = new Generator(device, model.decoder(), model.tokenizer(), 1, 512)) {
        var g = generator.generate(new Generator.Request(new int[] {1}, greedy.length - 1, Sampling.GREEDY, List.of(), Generator.Listener.NONE));
        assertThat(g.ids()).isEqualTo(Arrays.copyOfRange(greedy, 1, greedy.length));
        assertThat(g.text().strip()).isEqualTo(entry.get("greedy_text").asText());
      }
      assertThat(model.tokenizer().encode(entry.get("greedy_text").asText())).isEqualTo(Arrays.copyOfRange(greedy, 1, greedy.length));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"scalar", "here"})
  void activationsInEightBitsMovePublishedLogitsALittle(String tier) throws IOException {
    var file = data("gguf").resolve("stories260K-ff192-q8_0.gguf");
    try (Device device = new CpuDevice(tier.equals("here"), 2);
        var model = LanguageModel.open(device, file, Optional.empty(), Precision.F32, false);
        var golden = Safetensors.open(data("gguf").resolve("stories260K-ff192-q8_0.expected.safetensors"));
        var region = device.growing("test")) {
      var p = Pass.inference(device, region);
      var decoder = model.decoder().withInt8();
      var tokens = decoder.tokens(p, golden.get("input_ids").toInts());
      var hidden = decoder.hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>());
      var found = decoder.logits(p, hidden).toFloats();
      var expected = golden.get("logits").toFloats();
      double squares = 0;
      double norm = 0;
      for (int i = 0; i < found.length; i++) {
        squares += Math.pow(found[i] - expected[i], 2);
        norm += Math.pow(expected[i], 2);
      }
      assertThat(Math.sqrt(squares / norm)).isBetween(1e-5, 1e-2);
      assertThatThrownBy(() -> decoder.linears().getFirst().apply(Pass.training(device, region), region.carve(DType.F32, Shape.of(1, decoder.config().hidden()))))
          .isInstanceOf(IllegalStateException.class).hasMessageContaining("no gradient");
    }
  }

  @Test
  void everyTruncationIsRefusedWithOneSentence() throws IOException {
    var whole = Files.readAllBytes(data("gguf").resolve("stories260K-ff192-q8_0.gguf"));
    var file = folder.resolve("cut.gguf");
    for (int length = 0; length < whole.length; length += 1024) {
      Files.write(file, Arrays.copyOf(whole, length));
      assertThatThrownBy(() -> Gguf.open(file).close()).as(length + " bytes").isInstanceOf(InvalidInput.class);
    }
    Files.write(file, whole);
    Gguf.open(file).close();
  }

  @Test
  void publishedMalformedFilesAreRefused() throws IOException {
    try (var list = Files.list(data("gguf-malformed"))) {
      for (var file : list.toList()) {
        if (file.toString().contains("SUCCESS")) Gguf.open(file).close();
        else assertThatThrownBy(() -> Gguf.open(file).close()).as(file.toString()).isInstanceOf(InvalidInput.class);
      }
    }
  }

  @Test
  void absurdNumbersAreRefusedByName() throws IOException {
    refused(bytes(MAGIC, 3, Long.MAX_VALUE, 0L), "tensors are promised");
    refused(bytes(MAGIC, 3, 0L, -1L), "keys are promised");
    refused(bytes(MAGIC, 1, 0L, 0L), "version 1");
    refused(bytes(MAGIC, 0x03000000, 0L, 0L), "big-endian GGUF file, expected a little-endian one");
    refused(bytes(MAGIC, 3, 0L, 1L, Long.MAX_VALUE, 0L, 0L), "text of");
    refused(bytes(MAGIC, 3, 0L, 1L, "k", 13, 0L, 0L), "type 13");
    refused(bytes(MAGIC, 3, 0L, 1L, "k", 9, 9, 1L), "list of type 9");
    refused(bytes(MAGIC, 3, 0L, 1L, "k", 9, 4, Long.MAX_VALUE / 2), "promised");
    refused(bytes(MAGIC, 3, 0L, 2L, "k", 4, 1, "k", 4, 1), "twice");
    refused(bytes(MAGIC, 3, 0L, 1L, "general.alignment", 4, 3), "alignment");
    refused(bytes(MAGIC, 3, 1L, 0L, "t", 5, 1L, 1L, 1L, 1L, 1L, 0, 0L), "5 dimensions");
    refused(bytes(MAGIC, 3, 1L, 0L, "t", 2, 1L << 31, 1L, 0, 0L), "dimension");
    refused(bytes(MAGIC, 3, 1L, 0L, "t", 1, 4L, 99, 0L), "GGML type 99", "Q4_K");
    refused(bytes(MAGIC, 3, 1L, 0L, "t", 1, 33L, 8, 0L), "multiple of 32");
    refused(bytes(MAGIC, 3, 1L, 0L, "t", 1, 4L, 0, 64L), "offset");
    refused(bytes(MAGIC, 3, 0L, 1L, "general.architecture", 8, "bert"), "bert", "llama");
    refused(bytes(MAGIC, 3, 0L, 1L, "general.architecture", 8, "\u001b[31m\n" + "x".repeat(60_000)), "'\\u{1b}[31m\\u{a}xx", "x…'");
  }

  /// What llama.cpp's test-gguf asks for.
  @Test
  void whatGgmlRefusesIsRefusedAndWhatItTakesIsTaken() throws IOException {
    refused(bytes(MAGIC, 3, 0L, 1L, "", 4, 7), "key 0 is empty");
    refused(bytes(MAGIC, 3, 1L, 0L, "x".repeat(64), 1, 4L, 0, 0L, new byte[64]), "64 bytes, expected at most 63");
    for (int type : new int[] {5, 10, 2, 7}) {
      refused(bytes(MAGIC, 3, 0L, 1L, "general.alignment", type, 32L), "general.alignment", "of type " + type, "expected a power of two as u32");
    }
    refused(bytes(MAGIC, 3, 0L, 1L, "general.alignment", 4, 0), "general.alignment is 0");
    refused(bytes(MAGIC, 3, 0L, 1L, "general.alignment", 8, "32"), "general.alignment is 32 of type 8");
    refused(bytes(MAGIC, 3, 1L, 0L, "a", 1, 4L, 0, 32L, new byte[200]), "bytes 0 to 32 of the data belong to no tensor");
    refused(bytes(MAGIC, 3, 2L, 0L, "a", 1, 4L, 0, 0L, "b", 1, 4L, 0, 64L, new byte[200]), "bytes 32 to 64 of the data belong to no tensor");
    refused(bytes(MAGIC, 3, 2L, 0L, "a", 1, 4L, 0, 0L, "a", 1, 4L, 0, 32L, new byte[200]), "there twice");
    taken(bytes(MAGIC, 3, 1L, 0L, "x".repeat(63), 1, 4L, 0, 0L, new byte[64]));
    taken(bytes(MAGIC, 3, 2L, 0L, "a", 1, 4L, 0, 32L, "b", 1, 4L, 0, 0L, new byte[200]));
    taken(bytes(MAGIC, 3, 2L, 0L, "none", 2, 4L, 0L, 0, 0L, "b", 1, 4L, 0, 0L, new byte[200]));
    var whole = bytes(MAGIC, 3, 1L, 0L, "abcd", 1, 4L, 0, 0L, new byte[4 + 16]); // 24 + 12 + 24 and padding
    taken(whole); // the padding of its last tensor lacks
  }

  private Gguf opened(byte[] content) throws IOException {
    return Gguf.open(Files.write(folder.resolve("made.gguf"), content));
  }

  private void taken(byte[] content) throws IOException {
    opened(content).close();
  }

  @Test
  void tensorsOfOtherTypesAreListedAndNoModel() throws IOException {
    try (var file = opened(bytes(MAGIC, 3, 2L, 1L, "general.architecture", 8, "llama", "a", 2, 256L, 2L, 16, 0L, "b", 1, 3L, 24, 160L,
        new byte[512]))) {
      assertThat(file.entries()).isEmpty();
      assertThat(file.foreign()).extracting(Gguf.Foreign::name, Gguf.Foreign::type, Gguf.Foreign::bytes)
          .containsExactly(tuple("a", "IQ2_XXS", 132L), tuple("b", "I8", 3L));
      assertThatThrownBy(() -> LlamaGguf.of(file)).isInstanceOf(InvalidInput.class)
          .hasMessageContainingAll("tensor a is stored as IQ2_XXS", "Q4_K");
    }
  }

  @Test
  void countsAndTextsHaveLimits() throws IOException {
    var pairs = ByteBuffer.allocate(100_001 * 18).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i <= 100_000; i++) pairs.putLong(4).put("%04x".formatted(i & 0xffff).getBytes(StandardCharsets.UTF_8)).putInt(0).put((byte) 0);
    refused(large(bytes(MAGIC, 3, 0L, 100_001L), pairs.array()), "100001 keys, expected at most 100000");
    refused(large(bytes(MAGIC, 3, 100_001L, 0L), new byte[100_001 * 24]), "100001 tensors, expected at most 100000");
    var texts = ByteBuffer.allocate(200 * (20 + 50_000)).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < 200; i++) {
      texts.putLong(8).put("%08x".formatted(i).getBytes(StandardCharsets.UTF_8)).putInt(8).putLong(49_992).put(new byte[49_992]);
    }
    refused(large(bytes(MAGIC, 3, 0L, 200L), texts.array()), "more than 8000000 bytes of text");
    var text = large(bytes(MAGIC, 3, 0L, 1L, "long", 8, 9_000_000L), new byte[9_000_000]);
    try (var file = opened(text)) { // one that stays in the file
      assertThat(file.text("long").orElseThrow()).hasSize(9_000_000);
    }
  }

  private static byte[] large(byte[] head, byte[] rest) {
    return ByteBuffer.allocate(head.length + rest.length).put(head).put(rest).array();
  }

  /// A file with the keys of a Llama, some of them changed, and more tensors beside its embedding.
  private LlamaGguf llama(Map<String, Object> changes, String... more) {
    var config = new LlamaConfig(16, 8, 8, 2, 2, 1, 4, 16, 1e-5, 1e4, 1, true, OptionalInt.of(1), List.of(2), OptionalInt.empty(), "float32");
    var keys = LlamaKeys.of(config, "made", GgufType.F32);
    changes.forEach((key, v) -> {
      if (v.equals("-")) keys.remove(key);
      else keys.put(key, v);
    });
    var tensors = new ArrayList<GgufWriter.Promise>();
    tensors.add(new GgufWriter.Promise("token_embd.weight", GgufType.F32, new int[] {16, 8}));
    for (var name : more) tensors.add(new GgufWriter.Promise(name, GgufType.F32, new int[] {8}));
    var file = folder.resolve("llama.gguf");
    GgufWriter.write(file, keys, tensors, (t, out) -> out.bytes(new byte[(int) t.bytes()]));
    var open = Gguf.open(file);
    try {
      return LlamaGguf.of(open);
    } catch (InvalidInput e) {
      open.close();
      throw e;
    }
  }

  @ParameterizedTest
  @CsvSource({"linear, 4, , 4", "none, 4, , 1", ", 4, , 4", ", , 4, 4", ", 2, 4, 2", ", 0, , 1", ", 1, , 1", ", , , 1", "linear, 0, 4, 1"})
  void ropeIsScaledAsLlamaCppDoes(String kind, Float factor, Float old, double expected) {
    var keys = new HashMap<String, Object>();
    if (kind != null) keys.put("llama.rope.scaling.type", kind);
    if (factor != null) keys.put("llama.rope.scaling.factor", factor);
    if (old != null) keys.put("llama.rope.scale_linear", old);
    try (var file = llama(keys)) {
      assertThat(file.config().ropeScale()).isEqualTo(expected);
    }
    assertThatThrownBy(() -> llama(Map.of("llama.rope.scaling.type", "yarn"))).isInstanceOf(InvalidInput.class).hasMessageContaining("'yarn'");
  }

  @ParameterizedTest
  @ValueSource(strings = {"blk.0.attn_q.bias", "output.bias", "blk.1.ffn_up_exps.weight", "blk.1.ffn_up_shexp.weight", "blk.0.ffn_gate_inp.weight",
      "blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight", "blk.0.post_attention_norm.weight", "blk.0.rope_freqs.weight", "rope_freqs.weight"})
  void tensorsThatWouldChangeTheResultAreRefusedByName(String tensor) {
    assertThatThrownBy(() -> llama(Map.of(), tensor)).isInstanceOf(InvalidInput.class)
        .hasMessageContaining(tensor.equals("rope_freqs.weight") ? "rope_freqs" : tensor);
  }

  @Test
  void otherTensorsAreNotedButNotWithoutEnd() {
    var names = IntStream.range(0, 9).mapToObj(i -> "blk." + i + ".attn_rot_embd").toArray(String[]::new);
    try (var file = llama(Map.of(), names)) {
      assertThat(file.notes()).hasSize(6).last().asString().contains("4 more");
    }
  }

  @Test
  void aPartOfASplitModelIsNamed() {
    assertThatThrownBy(() -> llama(Map.of("split.count", 3, "split.no", 1))).isInstanceOf(InvalidInput.class)
        .hasMessageContainingAll("part 2 of 3", "gguf-split --merge");
    llama(Map.of("split.count", 1, "split.no", 0)).close();
  }

  @Test
  void aListOfWhatEveryLayerHasIsOneNumber() {
    try (var file = llama(Map.of("llama.attention.head_count_kv", new int[] {1, 1}))) {
      assertThat(file.config().kvHeads()).isEqualTo(1);
    }
    assertThatThrownBy(() -> llama(Map.of("llama.attention.head_count_kv", new int[] {1, 2}))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("head_count_kv differs from layer to layer");
    assertThatThrownBy(() -> llama(Map.of("llama.attention.head_count_kv", new int[0]))).isInstanceOf(InvalidInput.class)
        .hasMessageContaining("empty list");
  }

  @Test
  void tensorsThatShareBytesAreRefused() throws IOException {
    refused(bytes(MAGIC, 3, 2L, 0L, "a", 1, 16L, 0, 0L, "b", 1, 16L, 0, 32L, new byte[200]), "share bytes");
  }

  @Test
  void weightsInFewBitsAreNotTrainedButTheirDenseFormIs() throws IOException {
    var file = data("gguf").resolve("stories260K-ff192-q8_0.gguf");
    try (Device device = new CpuDevice(true, 1);
        var few = LanguageModel.open(device, file, Optional.empty(), Precision.F32, false);
        var dense = LanguageModel.open(device, file, Optional.empty(), Precision.F32, true)) {
      assertThat(few.bytes()).isLessThan(dense.bytes());
      assertThat(dense.decoder().linears()).noneMatch(l -> l instanceof QuantLinear);
    }
  }

  /// Blocks as Python's gguf package makes them, and what it says they mean; where `-Dllm.peers=` names a Python that has it.
  @ParameterizedTest
  @ValueSource(strings = {"F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"})
  void valuesAreThoseOfThePythonPackage(String type) throws IOException, InterruptedException {
    var python = System.getProperty("llm.peers");
    assumeTrue(python != null, "no Python of peers is named by -Dllm.peers");
    var program = """
        import gguf, numpy as np
        from gguf.quants import quantize, dequantize
        t = gguf.GGMLQuantizationType.%s
        rng = np.random.default_rng(1)
        try:
            q = quantize(rng.standard_normal((3, 512)).astype(np.float32), t)
        except NotImplementedError:  # the package reads this type but does not write it: any bytes are blocks
            block, size = gguf.GGML_QUANT_SIZES[t]
            q = rng.integers(0, 64, (3, 512 // block * size), dtype=np.uint8)
        w = gguf.GGUFWriter("made.gguf", "llama")
        w.add_tensor("q", q, raw_dtype=t)
        w.add_tensor("f", dequantize(q, t).astype(np.float32).reshape(3, 512))
        w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
        """.formatted(type);
    var errors = folder.resolve("errors");
    var process = new ProcessBuilder(python, "-c", program).directory(folder.toFile()).redirectError(errors.toFile()).start();
    assertThat(process.waitFor()).as(Files.readString(errors)).isZero();
    try (var file = Gguf.open(folder.resolve("made.gguf"))) {
      assertThat(file.entries().get("q").shape()).containsExactly(3, 512);
      assertThat(file.entries().get("q").toFloats()).containsExactly(file.entries().get("f").toFloats());
    }
  }
}
