package org.llmcore.convert;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Random;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.cpu.CpuDevice;
import org.llmcore.gguf.Gguf;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Precision;
import org.llmcore.op.Device;
import org.llmcore.quant.BlockCodes;
import org.llmcore.tensor.BlockType;
import org.llmcore.text.BpeTrainer;
import org.llmcore.text.Tokenizer;
import org.llmcore.text.Tokenizers;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// What we write, the real libraries read: gguf and transformers, where `-Dllm.peers=` names a Python that has them.
class PythonConvertTest {
  private static final Path DATA = Path.of(System.getProperty("llm.data", "../shared/data"));
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String READ = """
      import json, sys, warnings; warnings.filterwarnings("ignore")
      import gguf, numpy as np, torch, transformers
      from gguf.quants import dequantize
      from safetensors.numpy import save_file
      transformers.utils.logging.set_verbosity_error(); transformers.utils.logging.disable_progress_bar()
      out = {}
      for name in %s:
        r = gguf.GGUFReader(name)
        save_file({t.name: dequantize(t.data, t.tensor_type).astype(np.float32).reshape(tuple(int(d) for d in reversed(t.shape))) for t in r.tensors}, name + ".safetensors")
        m = transformers.AutoModelForCausalLM.from_pretrained(".", gguf_file=name, dtype=torch.float32).eval()
        ids = [i * 7919 %% m.config.vocab_size for i in range(16)]
        with torch.no_grad(): save_file({"logits": m(torch.tensor([ids])).logits[0].numpy()}, name + ".logits")
        t = transformers.AutoTokenizer.from_pretrained(".", gguf_file=name)
        out[name] = [t(s, add_special_tokens=False)["input_ids"] for s in %s]
      print(json.dumps(out))
      """;

  @TempDir private Path folder;
  private final Device device = new CpuDevice(true, 1);

  @BeforeEach
  void peers() {
    assumeTrue(System.getProperty("llm.peers") != null, "no Python of peers is named by -Dllm.peers");
  }

  @AfterEach
  void close() {
    device.close();
  }

  private JsonNode python(String program) throws IOException, InterruptedException {
    var errors = folder.resolve("errors");
    var builder = new ProcessBuilder(System.getProperty("llm.peers"), "-c", program).directory(folder.toFile())
        .redirectError(errors.toFile());
    builder.environment().put("HF_HUB_OFFLINE", "1");
    var process = builder.start();
    var out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor()).as(Files.readString(errors)).isZero();
    return JSON.readTree(out);
  }

  private void model(Tokenizer words, int rows, int width) {
    var config = new LlamaConfig(rows, width, 2 * width, 2, 4, 2, width / 4, 64, 1e-5, 1e4, 1, false, words.bos(), words.eos()
        .stream().boxed().toList(), OptionalInt.empty(), "float32");
    try (var model = LanguageModel.scratch(device, config, words, Precision.F32, 1)) {
      model.save(folder.resolve("made"), 1 << 30);
    }
  }

  /// Converts to each dtype and compares weights, logits and ids with what Python reads.
  private void agree(List<String> dtypes, List<String> texts) throws IOException, InterruptedException {
    var names = dtypes.stream().map(d -> d + ".gguf").toList();
    for (var dtype : dtypes) {
      var c = Conversion.of(folder.resolve("made"), folder.resolve(dtype + ".gguf"));
      new Conversion(c.from(), c.to(), c.format(), Optional.of(Conversion.dtype(dtype)), Optional.empty(), Optional.empty(),
          c.check()).run(device, Conversion.Listener.NONE);
    }
    var ids = python(READ.formatted(JSON.writeValueAsString(names), JSON.writeValueAsString(texts)));
    for (var name : names) agrees(name, texts, ids.get(name));
  }

  private void agrees(String name, List<String> texts, JsonNode ids) {
    try (var ours = Gguf.open(folder.resolve(name)); var theirs = Safetensors.open(folder.resolve(name + ".safetensors"));
        var logits = Safetensors.open(folder.resolve(name + ".logits"));
        var model = LanguageModel.open(device, folder.resolve(name), Optional.empty(), Precision.F32, false)) {
      assertThat(theirs.entries().keySet()).containsExactlyInAnyOrderElementsOf(ours.entries().keySet());
      for (var e : ours.entries().values()) assertThat(e.toFloats()).as(name + " " + e.name())
          .containsExactly(theirs.get(e.name()).toFloats());
      var expected = logits.get("logits").toFloats();
      var probe = new int[16];
      for (int i = 0; i < 16; i++) probe[i] = (int) (i * 7919L % model.config().vocabulary());
      var found = Agreement.logits(device, model.decoder(), probe);
      assertThat(found).hasSameSizeAs(expected);
      double largest = 0;
      for (float z : expected) largest = Math.max(largest, Math.abs(z));
      // f32 on both sides, sums of at most 2·width terms in other orders, 15 matrices: 8·2⁻²⁴·√(2·width)·√15 of the largest
      double bound = 8 * 0x1p-24 * Math.sqrt(2 * model.config().hidden()) * Math.sqrt(15) * largest;
      for (int i = 0; i < found.length; i++) assertThat((double) Math.abs(found[i] - expected[i])).as("logit " + i)
          .isLessThanOrEqualTo(bound);
      for (int i = 0; i < texts.size(); i++) {
        assertThat(model.tokenizer().encode(texts.get(i))).as(texts.get(i))
            .containsExactly(JSON.convertValue(ids.get(i), int[].class));
      }
    }
  }

  @Test
  void ggufFilesOfEveryDtype() throws IOException, InterruptedException {
    model(BpeTrainer.train(List.of("two and two are four, the sky is blue ".repeat(30)), 300), 304, 256);
    agree(List.of("f32", "f16", "bf16", "q8_0", "q4_0", "q4_k"), List.of("two and two", "the sky"));
  }

  @Test
  void aByteLevelTokenizerToo() throws IOException, InterruptedException {
    var file = DATA.resolve("gpt2-bpe/tokenizer.json");
    assumeTrue(Files.exists(file), "no gpt2-bpe: set llm.data");
    // Its first thousand pieces: gguf's reader takes minutes for all.
    var json = (ObjectNode) JSON.readTree(file.toFile());
    var vocabulary = (ObjectNode) json.path("model").path("vocab");
    var late = new ArrayList<String>();
    vocabulary.properties().forEach(e -> {
      if (e.getValue().asInt() >= 1000) late.add(e.getKey());
    });
    vocabulary.remove(late);
    var merges = (ArrayNode) json.path("model").path("merges");
    while (merges.size() > 1000 - 256) merges.remove(merges.size() - 1);
    var end = (ObjectNode) json.path("added_tokens").get(0);
    json.putArray("added_tokens").add(end.put("id", 1000));
    JSON.writeValue(folder.resolve("tokenizer.json").toFile(), json);
    var words = Tokenizers.open(folder.resolve("tokenizer.json"), OptionalInt.empty());
    model(words, words.size(), 32);
    agree(List.of("f16"), List.of("Hello, world! It's 1234 o'clock", "naïve café 日本 😀", "def f(x): return x"));
  }

  @Test
  void aHuggingFaceFolderFromGguf() throws IOException, InterruptedException {
    model(BpeTrainer.train(List.of("two and two are four, the sky is blue ".repeat(30)), 300), 304, 64);
    Conversion.of(folder.resolve("made"), folder.resolve("a.gguf")).run(device, Conversion.Listener.NONE);
    Conversion.of(folder.resolve("a.gguf"), folder.resolve("back")).run(device, Conversion.Listener.NONE);
    var equal = python("""
        import json, torch, transformers
        a, b = (transformers.AutoModelForCausalLM.from_pretrained(d, dtype=torch.float32) for d in ("made", "back"))
        ids = torch.tensor([[1, 40, 280, 299, 7]])
        t = transformers.AutoTokenizer.from_pretrained("back")
        with torch.no_grad(): print(json.dumps([bool((a(ids).logits == b(ids).logits).all()), t("two and two")["input_ids"]]))
        """);
    assertThat(equal.get(0).asBoolean()).isTrue();
    assertThat(equal.get(1)).isNotEmpty();
  }

  @ParameterizedTest
  @EnumSource(names = {"Q8_0", "Q4_0"})
  void blocksAreByteForByteThoseOfThePackage(BlockType type) throws IOException, InterruptedException {
    var random = new Random(2);
    var x = new float[32 * 4096];
    for (int i = 0; i < x.length; i++) {
      double size = Math.pow(10, i / 32 % 9 - 5); // blocks of 1e-5 … 1e3
      x[i] = (float) (random.nextInt(50) == 0 ? 0 : size * random.nextGaussian() * (random.nextInt(100) == 0 ? 30 : 1));
      if (i / 32 % 7 == 0) x[i] = Math.round(x[i] / size * 4) * (float) size / 4; // ties
    }
    var bytes = ByteBuffer.allocate(4 * x.length).order(ByteOrder.LITTLE_ENDIAN);
    for (float v : x) bytes.putFloat(v);
    Files.write(folder.resolve("x"), bytes.array());
    python("""
        import numpy as np, gguf
        x = np.fromfile("x", dtype="<f4").reshape(-1, 256)
        gguf.quants.quantize(x, gguf.GGMLQuantizationType.%s).tofile("q")
        print(1)
        """.formatted(type));
    assertThat(BlockCodes.encode(type, x, x.length)).containsExactly(Files.readAllBytes(folder.resolve("q")));
  }
}
