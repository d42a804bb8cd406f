package org.llmcore.checkpoint;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Random;
import java.util.TreeSet;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Mixing;
import org.llmcore.model.Precision;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Pass;
import org.llmcore.peft.Lora;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.tensor.Region;
import org.llmcore.text.BpeTrainer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.data.Offset.offset;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// Files against the libraries that define them, where `-Dllm.peers=` names a Python that has `torch`, `safetensors`,
/// `transformers` and `peft`.
class PythonFilesTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int[] IDS = {1, 5, 200, 17, 33, 42, 250, 99, 7, 8};

  @TempDir private Path folder;
  private final Device device = new CpuDevice(true, 1);

  @BeforeEach
  void peers() {
    assumeTrue(System.getProperty("llm.peers") != null, "no Python of peers is named by -Dllm.peers");
  }

  /// What a program prints as JSON; the test's folder is its working directory.
  private JsonNode python(String program) throws IOException, InterruptedException {
    var errors = folder.resolve("errors");
    var process = new ProcessBuilder(System.getProperty("llm.peers"), "-c", program).directory(folder.toFile())
        .redirectError(errors.toFile()).start();
    var said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertThat(process.waitFor()).as(Files.readString(errors)).isZero();
    return JSON.readTree(said.isBlank() ? "null" : said);
  }

  private float[] logits(Decoder decoder) {
    try (var region = Region.growing("test")) {
      var p = Pass.inference(device, region);
      var tokens = Tokens.of(p, IDS);
      return decoder.logits(p, decoder.hidden(p, tokens, new Mixing.Within(tokens.starts()), false, new ArrayList<>()))
          .toFloats();
    }
  }

  private static void close(float[] found, float[] expected) {
    assertThat(found).hasSameSizeAs(expected);
    for (int i = 0; i < found.length; i++) assertThat((double) found[i]).as("element " + i).isCloseTo(expected[i], offset(2e-4));
  }

  @Test
  void safetensorsFilesAreByteForByteThoseOfTheReferenceLibrary() throws IOException, InterruptedException {
    python("""
        import torch
        from safetensors.torch import save_file
        g = torch.Generator().manual_seed(3)
        t = {}
        for n in "bool uint8 int8 float8_e5m2 float8_e4m3fn float8_e8m0fnu int16 uint16 float16 bfloat16 int32 uint32 float32 complex64 float64 int64 uint64".split():
          for i, s in enumerate([(), (3,), (2, 5), (0,), (1, 0, 2)]):
            d = getattr(torch, n)
            e = torch.empty(s, dtype=d)
            b = torch.randint(0, 2 if n == "bool" else 256, (e.numel() * e.element_size(),), dtype=torch.uint8, generator=g)
            t[f"{n}.{i}"] = b.view(d).reshape(s) if e.numel() else e
        save_file(t, "theirs.safetensors", metadata={"format": "pt"})
        """);
    var items = new ArrayList<Safetensors.Item>();
    try (var theirs = Safetensors.open(folder.resolve("theirs.safetensors"))) {
      assertThat(theirs.entries().keySet()).hasSize(17 * 5);
      theirs.entries().forEach((name, e) -> items.add(new Safetensors.Item(name, e.dtype(), e.shape(), e.data())));
      Collections.shuffle(items, new Random(1));
      Safetensors.write(folder.resolve("ours.safetensors"), items);
    }
    assertThat(Files.mismatch(folder.resolve("ours.safetensors"), folder.resolve("theirs.safetensors"))).isEqualTo(-1);
  }

  @Test
  void modelsThatWeSaveGiveTheSameLogitsInTransformers() throws IOException, InterruptedException {
    var words = BpeTrainer.train(List.of("select name from users"), 280);
    var configs = List.of(
        new LlamaConfig(300, 16, 24, 2, 4, 2, 8, 32, 1e-5, 500000, 4, true, OptionalInt.of(1), List.of(2, 3), OptionalInt.of(0),
            "float32"),
        new LlamaConfig(300, 16, 24, 2, 4, 4, 4, 32, 1e-6, 10000, 1, false, OptionalInt.empty(), List.of(), OptionalInt.empty(),
            "float32"));
    for (int i = 0; i < 2; i++) {
      try (var model = LanguageModel.scratch(device, configs.get(i), words, Precision.F32, 1)) {
        model.save(folder.resolve("m" + i), i == 0 ? 4000 : 1L << 30);
        var found = python("""
            import json, torch, transformers
            m = transformers.AutoModelForCausalLM.from_pretrained("m%d", dtype=torch.float64)
            g = transformers.GenerationConfig.from_pretrained("m%d")
            with torch.no_grad(): z = m(torch.tensor([%s])).logits[0].flatten().tolist()
            print(json.dumps({"logits": z, "eos": g.eos_token_id, "bos": g.bos_token_id, "head": m.config.head_dim}))
            """.formatted(i, i, Arrays.toString(IDS)));
        close(logits(model.decoder()), JSON.convertValue(found.get("logits"), float[].class));
        assertThat(found.get("eos").toString()).isEqualTo(i == 0 ? "[2,3]" : "null");
        assertThat(found.get("bos").toString()).isEqualTo(i == 0 ? "1" : "null");
        assertThat(found.get("head").intValue()).isEqualTo(configs.get(i).headDim());
      }
    }
  }

  @Test
  void configsThatTransformersWritesMeanTheSame() throws IOException, InterruptedException {
    python("""
        import transformers
        base = dict(vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=32)
        C = transformers.LlamaConfig
        C(**base).save_pretrained("c0")
        C(**base, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True, eos_token_id=[2, 5], pad_token_id=0, dtype="bfloat16").save_pretrained("c1")
        C(**base, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 500000.0}).save_pretrained("c2")
        """);
    assertThat(LlamaConfig.read(folder.resolve("c0/config.json")))
        .isEqualTo(new LlamaConfig(300, 16, 24, 2, 4, 4, 4, 32, 1e-6, 10000, 1, false, OptionalInt.of(1), List.of(2),
            OptionalInt.empty(), "float32"));
    assertThat(LlamaConfig.read(folder.resolve("c1/config.json")))
        .isEqualTo(new LlamaConfig(300, 16, 24, 2, 4, 2, 8, 32, 1e-6, 10000, 1, true, OptionalInt.of(1), List.of(2, 5),
            OptionalInt.of(0), "bfloat16"));
    assertThat(LlamaConfig.read(folder.resolve("c2/config.json")).ropeTheta()).isEqualTo(500000);
    assertThat(LlamaConfig.read(folder.resolve("c2/config.json")).ropeScale()).isEqualTo(4);
  }

  /// Keyword arguments of PEFT's `LoraConfig`. Patterns that overlap stand in the order in which PEFT writes them, sorted.
  private static final List<String> VARIANTS = List.of(
      "r=4, lora_alpha=16, target_modules=['q_proj', 'v_proj'], lora_dropout=0.05",
      "target_modules='all-linear', use_rslora=True, r=3",
      "target_modules=r'.*\\.1\\.(self_attn|mlp)\\.(k|up)_proj', lora_alpha=2.5",
      "r=8",
      "target_modules=['layers.0.self_attn.q_proj', 'down_proj'], rank_pattern={'down_proj': 2, r'layers\\.0\\..*': 5}, alpha_pattern={r'^model.layers.1.mlp.down_proj': 7}",
      "target_modules=['o_proj'], init_lora_weights='gaussian', rank_pattern={'layers.1.self_attn.o_proj': 6, 'self_attn.o_proj': 2}");

  @Test
  void adaptersOfPeftTargetTheSameModulesWithTheSameScaleAndLogits() throws IOException, InterruptedException {
    var words = BpeTrainer.train(List.of("select name from users"), 280);
    var config = new LlamaConfig(300, 16, 24, 2, 4, 2, 8, 32, 1e-5, 10000, 1, true, OptionalInt.of(1), List.of(2),
        OptionalInt.empty(), "float32");
    try (var model = LanguageModel.scratch(device, config, words, Precision.F32, 1);
        var region = Region.growing("adapters")) {
      model.save(folder.resolve("base"), 1L << 30);
      var program = new StringBuilder("""
          import json, torch, transformers, peft
          out = []
          torch.manual_seed(1)
          def adapt(config):
            m = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained("base", dtype=torch.float32), config)
            for n, p in m.named_parameters():
              if "lora_" in n: torch.nn.init.normal_(p, std=0.5)
            return m.eval()
          def report(m):
            scales = {n.removeprefix("base_model.model."): [x.r["default"], x.scaling["default"]] for n, x in m.named_modules() if hasattr(x, "lora_A")}
            with torch.no_grad(): return {"scales": scales, "logits": m(torch.tensor([IDS])).logits[0].flatten().tolist()}
          """.replace("IDS", Arrays.toString(IDS)));
      for (int i = 0; i < VARIANTS.size(); i++) {
        program.append("m = adapt(peft.LoraConfig(task_type='CAUSAL_LM', ").append(VARIANTS.get(i)).append("))\n")
            .append("m.save_pretrained('a").append(i).append("'); out.append(report(m))\n");
      }
      program.append("print(json.dumps(out))\n");
      var theirs = python(program.toString());
      for (int i = 0; i < VARIANTS.size(); i++) {
        var lora = PeftAdapter.load(device, model.decoder(), folder.resolve("a" + i), region);
        assertThat(lora.config().warnings()).isEmpty();
        agrees(lora, theirs.get(i));
        PeftAdapter.save(device, lora, folder.resolve("b" + i));
      }
      // And back: what we save, PEFT loads.
      var back = python("""
          import json, torch, transformers, peft
          out = []
          for i in range(%d):
            m = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained("base", dtype=torch.float32), f"b{i}").eval()
            scales = {n.removeprefix("base_model.model."): [x.r["default"], x.scaling["default"]] for n, x in m.named_modules() if hasattr(x, "lora_A")}
            with torch.no_grad(): out.append({"scales": scales, "logits": m(torch.tensor([%s])).logits[0].flatten().tolist()})
          print(json.dumps(out))
          """.formatted(VARIANTS.size(), Arrays.toString(IDS)));
      for (int i = 0; i < VARIANTS.size(); i++) agrees(PeftAdapter.load(device, model.decoder(), folder.resolve("b" + i),
          region), back.get(i));
    }
  }

  private void agrees(Lora lora, JsonNode theirs) {
    var names = new TreeSet<String>();
    lora.layers().forEach(l -> {
      names.add(l.name());
      var expected = theirs.at("/scales").get(l.name());
      assertThat(l.a().dim(0)).as(l.name()).isEqualTo(expected.get(0).intValue());
      assertThat((double) l.scale()).as(l.name()).isCloseTo(expected.get(1).doubleValue(), offset(1e-6));
    });
    assertThat(names).containsExactlyElementsOf(new TreeSet<>(JSON.convertValue(theirs.get("scales"), Map.class).keySet()));
    close(logits(lora.decoder()), JSON.convertValue(theirs.get("logits"), float[].class));
  }

  @Test
  void everyKeyWeWriteIsOneThatPeftKnowsWithTheValueItWouldWrite() throws IOException, InterruptedException {
    Files.createDirectory(folder.resolve("c"));
    var ours = new LoraConfig(4, 16, 0.1, List.of("q_proj"), false, true, Map.of("q_proj", 2), Map.of("q_proj", 3.0),
        "some/base", List.of()).toJson();
    Files.writeString(folder.resolve("c/adapter_config.json"), ours);
    python("""
        import warnings; warnings.simplefilter("error")
        import peft
        c = peft.LoraConfig.from_pretrained("c")
        c.inference_mode = True
        c.save_pretrained("d")
        """);
    assertThat(JSON.readTree(ours)).isEqualTo(JSON.readTree(Files.readString(folder.resolve("d/adapter_config.json"))));
  }

  @Test
  void anAdapterFolderThatTransformersOpensByItselfIsOpenedHere() throws IOException, InterruptedException {
    python("""
        import transformers, torch
        torch.manual_seed(0)
        c = transformers.LlamaConfig(vocab_size=300, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=32, dtype="bfloat16")
        transformers.LlamaForCausalLM(c).to(torch.bfloat16).save_pretrained("bf16", max_shard_size="10KB")
        """);
    BpeTrainer.train(List.of("select name from users"), 280).save(folder.resolve("bf16/tokenizer.model"));
    assertThat(folder.resolve("bf16/model.safetensors.index.json")).exists();
    try (var model = LanguageModel.open(device, folder.resolve("bf16"), Optional.empty(), Precision.BF16, false)) {
      assertThat(model.notes()).isEmpty();
      assertThat(model.config().dtype()).isEqualTo("bfloat16");
    }
  }
}
