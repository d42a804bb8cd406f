package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Stream;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;

/// What users do wrong: exit code 2, a sentence and a hint, no stack trace, and nothing half-written left behind.
class BadInputTest {
  private static final String PAIRS = "{\"prompt\":\"two and two are\",\"completion\":\" four\"}\n";

  @TempDir static Path shared;
  private static Path model;

  @TempDir Path folder;
  private final Session session = new Session();
  private Path data;
  private Path recipe;

  @BeforeAll
  static void aModelIsThere() {
    model = Session.model(shared.resolve("model"));
  }

  @BeforeEach
  void aRecipeIsThere() throws IOException {
    data = Files.writeString(folder.resolve("data.jsonl"), PAIRS.repeat(20));
    recipe = Files.writeString(folder.resolve("recipe.yaml"), """
        model: {path: "%s"}
        data: {path: "%s", validation: 0.1}
        training: {maxSteps: 1, batch: 2}
        output: {folder: "%s"}
        """.formatted(model, data, folder.resolve("runs")).replace('\\', '/'));
  }

  @AfterEach
  void nothingHalfWrittenIsLeft() throws IOException {
    if (!Files.exists(folder.resolve("runs"))) return;
    try (Stream<Path> runs = Files.list(folder.resolve("runs"))) {
      assertThat(runs).as("runs that never began").isEmpty();
    }
  }

  private void refused(String[] said, Object... arguments) {
    long from = System.nanoTime();
    assertThat(session.run(arguments)).as("%s: %s", Arrays.toString(arguments), session.err()).isEqualTo(2);
    assertThat(session.err()).contains(said).contains("error: ").doesNotContain("Exception", "\tat ", "internal error");
    assertThat(session.err().lines().count()).as(session.err()).isLessThanOrEqualTo(5);
    assertThat(session.err()).hasSizeLessThan(900);
    assertThat(session.out()).doesNotContain("{");
    assertThat((System.nanoTime() - from) / 1e9).as("seconds until %s", session.err()).isLessThan(5);
  }

  private static String[] says(String... words) {
    return words;
  }

  private Path file(String name, byte[] bytes) throws IOException {
    return Files.write(folder.resolve(name), bytes);
  }

  private Path file(String name, String text) throws IOException {
    return Files.writeString(folder.resolve(name), text);
  }

  @Test
  void wrongVerbsAndOptionsGetTheNearestOne() {
    refused(says("no verb or argument trian", "did you mean train?"), "trian");
    refused(says("no verb or argument perplexiti", "perplexity"), "eval", "perplexiti");
    refused(says("no option --max-step", "--max-steps"), "train", "--max-step", "3");
    refused(says("no option --tensor", "--tensors"), "inspect", model, "--tensor");
    refused(says("--max-steps", "abc"), "train", "--max-steps", "abc");
    refused(says("--out"), "logits", "--model", model, "--ids", "1,2");
    refused(says("eval needs a metric", "perplexity"), "eval");
  }

  @Test
  void missingFilesAndFoldersInTheirPlaceAreNamed() throws IOException {
    refused(says("nowhere.yaml"), "train", folder.resolve("nowhere.yaml"));
    refused(says("is not a file"), "train", folder);
    refused(says("nowhere"), "generate", "--model", folder.resolve("nowhere"), "x");
    refused(says("config.json"), "generate", "--model", folder, "x");
    refused(says("nowhere.txt"), "eval", "perplexity", "--model", model, "--file", folder.resolve("nowhere.txt"));
    refused(says("no file"), "eval", "perplexity", "--model", model, "--file", folder);
    refused(says("nowhere.jsonl"), "eval", "exact", "--model", model, "--data", folder.resolve("nowhere.jsonl"));
    refused(says("no file"), "eval", "exact", "--model", model, "--data", folder);
    refused(says("is a folder"), "eval", "exact", "--model", model, "--data", data, "--out", folder);
    refused(says("no folder"), "eval", "exact", "--model", model, "--data", data, "--out", folder.resolve("a/b.jsonl"));
    refused(says("nothing at"), "inspect", folder.resolve("nowhere"));
    refused(says("holds nothing known"), "inspect", Files.createDirectory(folder.resolve("empty")));
    refused(says("no training run"), "generate", "--run", folder.resolve("empty"), "x");
    refused(says("no run"), "train", "--resume", folder.resolve("empty"));
    refused(says("adapter_config.json"), "generate", "--model", model, "--adapter", folder.resolve("empty"), "x");
    refused(says("no model is embedded as 'nope'"), "generate", "--model", "embedded:nope", "x");
    refused(says("no database file"), "eval", "sql", "--model", model, "--data",
        file("q.jsonl", "{\"question\":\"a\",\"sql\":\"select 1\",\"db\":\"no.db\"}"));
  }

  @Test
  void brokenCheckpointsAreRefusedByWhatIsWrong() throws IOException {
    var whole = Files.readAllBytes(model.resolve("model.safetensors"));
    refused(says("is not a valid safetensors file", "header claims"), "inspect",
        file("cut.safetensors", Arrays.copyOf(whole, 200)));
    refused(says("lies at"), "inspect", file("short.safetensors", Arrays.copyOf(whole, whole.length - 100)));
    refused(says("pickle"), "inspect", file("model.pt", new byte[] {(byte) 0x80, 2, 'c'}));
    refused(says("pickle"), "inspect", file("weights.dat", new byte[] {(byte) 0x80, 2, 'c', 'o', 's'}));
    refused(says("pickle"), "generate", "--model", file("consolidated.00.pth", new byte[] {'P', 'K', 3, 4}), "x");
    refused(says("neither a whole llama2.c checkpoint nor a tokenizer"), "inspect", file("m.bin", new byte[1000]));
    refused(says("is empty"), "inspect", file("nothing.bin", new byte[0]));
    refused(says("no known kind"), "inspect", file("notes.md", "hello"));
    refused(says("too few"), "generate", "--model", file("tiny.bin", new byte[5]), "--tokenizer", model, "x");

    var broken = Files.createDirectory(folder.resolve("broken"));
    for (var name : new String[] {"config.json", "tokenizer.model", "tokenizer_config.json"}) Files.copy(model.resolve(name),
        broken.resolve(name));
    refused(says("model.safetensors"), "generate", "--model", broken, "x");
    Files.write(broken.resolve("model.safetensors"), Arrays.copyOf(whole, 3000));
    refused(says("not a valid safetensors"), "generate", "--model", broken, "x");
    Files.writeString(broken.resolve("config.json"),
        Files.readString(model.resolve("config.json")).replaceAll("(\"hidden_size\" : )\\d+", "$1 1000000000"));
    refused(says("hidden", "1000000000"), "inspect", broken);
    refused(says("hidden", "1000000000"), "generate", "--model", broken, "x");
    Files.writeString(broken.resolve("config.json"), "{");
    refused(says("config.json"), "generate", "--model", broken, "x");
    Files.writeString(broken.resolve("config.json"), "[".repeat(100_000));
    refused(says("config.json"), "inspect", broken);
  }

  @Test
  void brokenDataIsNamedByLineAndStartsNoRun() throws IOException {
    var garbage = file("garbage.jsonl", PAIRS + PAIRS + "{\"prompt\": oops}\n");
    refused(says("line 3"), "train", recipe, "--set", "data.path=" + garbage);
    refused(says("line 3"), "eval", "exact", "--model", model, "--data", garbage);
    refused(says("line 3"), "eval", "sql", "--model", model, "--db", garbage, "--data",
        file("q.jsonl", "{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n{"));
    var empty = file("empty.jsonl", "");
    refused(says("is empty"), "train", recipe, "--set", "data.path=" + empty);
    refused(says("is empty"), "eval", "exact", "--model", model, "--data", empty);
    refused(says("is empty"), "eval", "sql", "--model", model, "--data", empty);
    refused(says("at least two"), "eval", "perplexity", "--model", model, "--file", empty);
    refused(says("not UTF-8"), "train", recipe, "--set",
        "data.path=" + file("latin1.jsonl", new byte[] {'{', '"', (byte) 0xe9, '"', ':', '1', '}'}));
    refused(says("no row has the keys"), "train", recipe, "--set", "data.path=" + file("other.jsonl", "{\"a\":1}\n"));
    refused(says("running text"), "eval", "exact", "--model", model, "--data", file("text.txt", "hello there"));
    refused(says("longer than the context"), "eval", "exact", "--model", model, "--data",
        file("long.jsonl", PAIRS.replace("two", "two".repeat(200))));
    refused(says("line 2", "not JSON"), "tokenize", "--tokenizer", model, "--input",
        file("lines.jsonl", "{\"text\":\"a\"}\noops"));
  }

  @Test
  void wrongRecipesStartNoRun() throws IOException {
    refused(says("unknown key training.learningrat", "learningRate"), "train", recipe, "--set", "training.learningrat=1");
    refused(says("training.batch", "abc", "number"), "train", recipe, "--set", "training.batch=abc");
    refused(says("training.batch"), "train", recipe, "--set", "training.batch=2.5");
    refused(says("training.batch"), "train", recipe, "--set", "training.batch=[1,2]");
    refused(says("training.batch"), "train", recipe, "--set", "training.batch=99999999999");
    refused(says("training.batch is 0"), "train", recipe, "--set", "training.batch=0");
    refused(says("--set training.batch"), "train", recipe, "--set", "training.batch");
    refused(says("model.path"), "train", recipe, "--set", "model.path=");
    refused(says("evaluation.task", "exact"), "train", recipe, "--set", "evaluation.task=exakt");
    refused(says("data.validation is 0"), "train", recipe, "--set", "evaluation.task=exact", "--set", "data.validation=0");
    refused(says("not YAML"), "train", file("bad.yaml", "model: {path: x\ntraining: ]"));
    refused(says("no model"), "train", file("none.yaml", "data: {path: x}"));
    refused(says("output.name"), "train", recipe, "--name", "../escape");
    refused(says("nothing_proj", "q_proj"), "train", recipe, "--set", "method.targets=[nothing_proj]");
  }

  @Test
  void absurdSizesAreRefusedBeforeAnythingIsReserved() {
    refused(says("batch"), "train", recipe, "--set", "training.batch=100000000");
    refused(says("batch"), "plan", recipe, "--set", "training.batch=100000000", "--set", "training.microBatch=1");
    refused(says("method.r is 1000000000"), "train", recipe, "--set", "method.r=1000000000");
    refused(says("threads"), "train", recipe, "--set", "training.threads=1000000000");
    refused(says("1000000000 worker threads"), "generate", "--model", model, "--threads", "1000000000", "x");
    refused(says("hidden"), "train", recipe, "--set",
        "model={init: scratch, config: {hidden: 1000000000, layers: 2, heads: 2, contextLength: 64}}", "--set", "method=full",
        "--set", "tokenizer=" + model);
    refused(says("memory"), "train", recipe, "--set",
        "model={init: scratch, config: {hidden: 1048576, layers: 4000, heads: 64, contextLength: 64}}", "--set", "method=full",
        "--set", "tokenizer=" + model);
    refused(says("vocabulary"), "train", recipe, "--set",
        "model={init: scratch, config: {hidden: 32, layers: 2, heads: 2, contextLength: 64}}", "--set", "method=full", "--set",
        "tokenizer=bpe:1000000000");
    refused(says("window of 1000000000"), "eval", "perplexity", "--model", model, "--file", data, "--window", "1000000000");
    refused(says("max new tokens"), "generate", "--model", model, "-n", "-5", "x");
  }
}
