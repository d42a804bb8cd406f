package org.llmcore.gguf;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.InvalidInput;
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
    refused(bytes(MAGIC, 0x03000000, 0L, 0L), "little-endian");
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
