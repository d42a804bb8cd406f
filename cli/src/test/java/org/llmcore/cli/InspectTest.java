package org.llmcore.cli;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.StreamSupport;

import com.fasterxml.jackson.databind.JsonNode;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.flags.Flags;
import org.llmcore.gguf.GgufType;
import org.llmcore.gguf.GgufWriter;
import org.llmcore.gguf.LlamaKeys;
import org.llmcore.model.Precision;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

class InspectTest {
  @TempDir static Path shared;
  private static Path model;
  private static Path run;

  @TempDir Path folder;
  private final Session session = new Session();

  @BeforeAll
  static void aModelAndARunAreThere() throws IOException {
    model = Session.model(shared.resolve("model"));
    var data = Files.writeString(shared.resolve("data.jsonl"),
        "{\"prompt\":\"two and two are\",\"completion\":\" four\"}\n".repeat(20));
    var recipe = Files.writeString(shared.resolve("recipe.yaml"), """
        model: {path: "%s"}
        data: {path: "%s", validation: 0.1}
        method: {type: lora, r: 4, targets: [q_proj]}
        training: {maxSteps: 2, batch: 4}
        evaluation: {task: exact}
        output: {folder: "%s"}
        """.formatted(model, data, shared).replace('\\', '/'));
    assertThat(new Session().run("train", recipe, "--name", "run", "--quiet")).isZero();
    run = shared.resolve("run");
  }

  private JsonNode inspect(Object... arguments) throws IOException {
    var all = new java.util.ArrayList<Object>(java.util.List.of("inspect", "--json"));
    all.addAll(java.util.List.of(arguments));
    assertThat(session.run(all.toArray())).as(session.err()).isZero();
    return session.object();
  }

  @Test
  void aGgufFileIsListedAlsoWhereItsTypesAndTokenizerAreNotKnown() throws IOException {
    var file = folder.resolve("x.gguf");
    var config = LlamaConfig.read(model.resolve("config.json"));
    var keys = LlamaKeys.of(config, "x", GgufType.F32);
    keys.put("tokenizer.ggml.model", "bert");
    keys.put("notes", "n".repeat(70_000));
    var shape = new int[] {config.vocabulary(), config.hidden()};
    GgufWriter.write(file, keys, List.of(new GgufWriter.Promise("token_embd.weight", GgufType.F32, shape)), (t, out) -> out.bytes(new byte[(int) t.bytes()]));
    var o = inspect(file);
    assertThat(o.at("/notes").toString()).contains("kind 'bert'", "give token ids").doesNotContain("--->");
    assertThat(o.at("/tokenizer").isMissingNode()).isTrue();
    assertThat(o.at("/facts/notes").asText()).isEqualTo("70000 bytes of text");
    assertThat(o.at("/architecture/vocabulary").asInt()).isEqualTo(config.vocabulary());
    var bytes = Files.readAllBytes(file);
    var name = "token_embd.weight".getBytes(StandardCharsets.UTF_8);
    int at = new String(bytes, StandardCharsets.ISO_8859_1).indexOf("token_embd.weight") + name.length + 4 + 2 * 8;
    bytes[at] = 26; // I32 takes as many bytes as F32
    Files.write(file, bytes);
    o = inspect(file);
    assertThat(o.at("/tensors/0/dtype").asText()).isEqualTo("I32");
    assertThat(o.at("/notes").toString()).contains("token_embd.weight is stored as I32");
  }

  @Test
  void aModelFolderIsDescribedToTheLastParameter() throws IOException {
    var o = inspect(model);
    long parameters = LlamaConfig.read(model.resolve("config.json")).parameters();
    assertThat(o.at("/kind").asText()).isEqualTo("Hugging Face folder");
    assertThat(o.at("/parameters").asLong()).isEqualTo(parameters);
    assertThat(o.at("/tensor_bytes").asLong()).isEqualTo(4 * parameters);
    assertThat(o.at("/context_length").asInt()).isEqualTo(64);
    assertThat(o.at("/architecture/kv_heads").asInt()).isEqualTo(2);
    assertThat(o.at("/tensors")).hasSize(2 + 2 * 9);
    assertThat(o.at("/tokenizer/size").asInt()).isEqualTo(o.at("/architecture/vocabulary").asInt());
    assertThat(o.at("/tokenizer/special/<s>").asInt()).isEqualTo(o.at("/tokenizer/bos").asInt());
    assertThat(o.at("/notes")).isEmpty();
    long disk = 0;
    try (var files = Files.list(model)) {
      for (var f : files.toList()) disk += Files.size(f);
    }
    assertThat(o.at("/disk_bytes").asLong()).isEqualTo(disk);
  }

  @Test
  void memoryIsThatOfThePlanAndComparedWithTheMachine() throws IOException {
    var uses = inspect(model).at("/memory/uses");
    assertThat(uses).hasSize(11).allMatch(u -> u.path("verdict").asText().equals("fits"));
    long f32 = uses.get(0).path("bytes").asLong();
    assertThat(f32).as("weights and a cache").isGreaterThan(4 * LlamaConfig.read(model.resolve("config.json")).parameters());
    assertThat(uses.get(4).path("bytes").asLong()).as("bf16 needs less").isLessThan(f32);
    assertThat(uses.get(9).path("precision").asText()).isEqualTo("nf4-double");
    assertThat(uses.get(9).path("bytes").asLong()).as("QLoRA needs less than LoRA in f32").isLessThan(uses.get(1).path("bytes").asLong());
    assertThat(uses.get(1).path("bytes").asLong()).as("checkpointing needs less").isLessThan(uses.get(2).path("bytes").asLong());
    var machine = new Machine("a cpu", java.util.List.of(), "cpu", 2, 1000, 500, 100, "Java", "an OS");
    assertThat(new Fit("x", Precision.F32, 500).verdict(machine)).isEqualTo("fits");
    assertThat(new Fit("x", Precision.F32, 501).verdict(machine)).isEqualTo("fits if other programs give way");
    assertThat(new Fit("x", Precision.F32, 1001).verdict(machine)).isEqualTo("does not fit");
  }

  @Test
  void layersThatAreAlikeAreShownOnceUnlessAllAreAskedFor() {
    assertThat(session.run("inspect", model)).isZero();
    assertThat(session.out()).contains("model.layers.0 … 1, alike", ".self_attn.q_proj.weight", "(32, 32)", "special: <unk> 0")
        .doesNotContain("layers.1.");
    assertThat(session.run("inspect", model, "--tensors")).isZero();
    assertThat(session.out()).contains("model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.weight");
  }

  @Test
  void runsAdaptersAndCheckpointsAreKnown() throws IOException {
    var whole = inspect(run);
    assertThat(whole.at("/kind").asText()).isEqualTo("training run");
    assertThat(whole.at("/facts/method").asText()).isEqualTo("lora r 4");
    assertThat(whole.at("/facts/steps").asInt()).isEqualTo(2);
    assertThat(whole.at("/facts/accuracy_after").asDouble(-1)).as("evaluation.task exact was measured").isBetween(0.0, 1.0);
    var adapter = inspect(run.resolve("adapter"));
    assertThat(adapter.at("/kind").asText()).isEqualTo("PEFT LoRA adapter");
    assertThat(adapter.at("/facts/r").asInt()).isEqualTo(4);
    assertThat(adapter.at("/parameters").asLong()).isEqualTo(2 * 2 * 4 * 32); // layers · (A and B) · r · width
    assertThat(whole.at("/tensors")).isEqualTo(adapter.at("/tensors"));
    var checkpoint = inspect(run.resolve("checkpoints/step-00000002"));
    assertThat(checkpoint.at("/kind").asText()).isEqualTo("training checkpoint");
    assertThat(checkpoint.at("/facts/step").asInt()).isEqualTo(2);
    assertThat(checkpoint.at("/parameters").asLong()).isEqualTo(2 * 2 * 4 * 32);
  }

  @Test
  void filesAloneAreKnown() throws IOException {
    var bare = inspect(model.resolve("model.safetensors"));
    assertThat(bare.at("/kind").asText()).isEqualTo("safetensors");
    assertThat(bare.at("/facts/format").asText()).isEqualTo("pt");
    assertThat(inspect(model.resolve("tokenizer.model")).at("/tokenizer/kind").asText()).contains("SentencePiece");
    assertThat(inspect(model.resolve("config.json")).at("/architecture/layers").asInt()).isEqualTo(2);
    var lost = Files.createDirectory(folder.resolve("lost"));
    Files.copy(model.resolve("model.safetensors"), lost.resolve("model.safetensors"));
    Files.writeString(lost.resolve("config.json"),
        Files.readString(model.resolve("config.json")).replaceAll("(\"num_hidden_layers\" : )2", "$1 3"));
    var notes = StreamSupport.stream(inspect(lost).at("/notes").spliterator(), false).map(JsonNode::asText).toList();
    assertThat(notes).anyMatch(n -> n.contains("lack model.layers.2.input_layernorm.weight"))
        .anyMatch(n -> n.contains("more such tensors")).anyMatch(n -> n.contains("no tokenizer"));
  }

  @Test
  void publishedFilesAreKnown() throws IOException {
    var data = Path.of(System.getProperty("llm.data", "../shared/data"));
    assumeTrue(Files.exists(data), "skipped: " + data + " is not here");
    var stories = data.resolve("stories260k");
    var llama2c = inspect(stories.resolve("stories260K.bin"), "--tokenizer", stories.resolve("tok512.bin"));
    var huggingFace = inspect(stories.resolve("hf"), "--tokenizer", stories.resolve("tok512.model"));
    assertThat(llama2c.at("/kind").asText()).isEqualTo("llama2.c checkpoint");
    assertThat(llama2c.at("/parameters").asLong()).isEqualTo(260_032).isEqualTo(huggingFace.at("/parameters").asLong());
    assertThat(llama2c.at("/memory/uses")).isEqualTo(huggingFace.at("/memory/uses"));
    assertThat(llama2c.at("/tokenizer/size").asInt()).isEqualTo(512);
    assertThat(inspect(data.resolve("gpt2-bpe/tokenizer.json")).at("/tokenizer/special/<|endoftext|>").asInt()).isEqualTo(50256);
    assertThat(inspect(data.resolve("peft/qv_r4/trained")).at("/facts/r").asInt()).isEqualTo(4);
  }

  @Test
  void theMachineIsDescribed() throws IOException {
    var m = inspect("--device").at("/machine");
    assertThat(m.path("device").asText()).contains("cpu", "worker");
    assertThat(m.path("cores").asInt()).isEqualTo(Runtime.getRuntime().availableProcessors());
    assertThat(m.path("memory_bytes").asLong()).isGreaterThanOrEqualTo(m.path("available_bytes").asLong()).isGreaterThan(1 << 28);
    assertThat(m.path("java").asText()).contains(Runtime.version().toString());
    assertThat(m.path("flags").size()).isEqualTo(Flags.ALL.size());
    assertThat(session.run("inspect", "--device")).isZero();
    assertThat(session.out()).contains("cpu ", "LLM_CPU_TIER", "available");
  }

  @Test
  void namesFromFilesDoNotMoveTheCursor() throws IOException {
    var header = "{\"\\u001b[2Jx\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}";
    var bytes = java.nio.ByteBuffer.allocate(8 + header.length()).order(java.nio.ByteOrder.LITTLE_ENDIAN).putLong(header.length())
        .put(header.getBytes(java.nio.charset.StandardCharsets.UTF_8));
    assertThat(session.run("inspect", Files.write(folder.resolve("x.safetensors"), bytes.array()))).isZero();
    assertThat(session.out()).contains("\\u001b[2Jx").doesNotContain("\u001b");
  }
}
