package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.StreamSupport;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;

/// What the verbs say of a GPTQ checkpoint.
class GptqFolderTest {
  @TempDir private Path folder;
  private Path quantized;

  @BeforeEach
  void quantizeAModel() throws IOException {
    quantized = folder.resolve("w4");
    var s = new Session();
    assertThat(s.run("quantize", "--model", Session.model(folder.resolve("model")), "--method", "rtn", "--bits", 4, "--group", 32, "--sym", "--no-baseline",
        "--out", quantized, "--quiet")).as(s.err()).isZero();
  }

  private void mislabel() throws IOException {
    for (var file : new String[] {"config.json", "quantize_config.json"}) {
      var text = Files.readString(quantized.resolve(file));
      assertThat(text).containsPattern("\"checkpoint_format\" ?: ?\"gptq\"");
      Files.writeString(quantized.resolve(file), text.replaceAll("\"checkpoint_format\" ?: ?\"gptq\"", "\"checkpoint_format\": \"gptq_v2\""));
    }
  }

  @Test
  void inspectTellsItsBitsAndWhatCanBeDoneWithIt() throws IOException {
    var s = new Session();
    assertThat(s.run("inspect", "--json", quantized)).as(s.err()).isZero();
    var o = s.object();
    assertThat(o.at("/kind").asText()).contains("GPTQ");
    assertThat(o.at("/facts/bits").asInt()).isEqualTo(4);
    assertThat(o.at("/facts/group size").asInt()).isEqualTo(32);
    assertThat(o.at("/facts/read as").asText()).isEqualTo("gptq");
    assertThat(o.at("/notes")).isEmpty();
    var uses = StreamSupport.stream(o.at("/memory/uses").spliterator(), false).toList();
    assertThat(uses).isNotEmpty().noneMatch(u -> u.at("/use").asText().contains("full") || u.at("/precision").asText().contains("nf4"));
  }

  @Test
  void inspectTellsWhatDoesNotFit() throws IOException {
    Files.writeString(quantized.resolve("config.json"), Files.readString(quantized.resolve("config.json")).replaceAll("\"intermediate_size\" ?: ?\\d+", "\"intermediate_size\": 96"));
    var s = new Session();
    assertThat(s.run("inspect", "--json", quantized)).as(s.err()).isZero();
    assertThat(s.object().at("/notes").toString()).contains("gate_proj.qweight");
  }

  @Test
  void everyVerbThatOpensAMislabelledOneSaysHowItIsRead() throws IOException {
    mislabel();
    var text = Files.writeString(folder.resolve("text.txt"), "two and two are four, the sky is blue");
    Object[][] commands = {
      {"logits", "--model", quantized, "--ids", "1,5,9", "--out", folder.resolve("logits.safetensors"), "--quiet"},
      {"eval", "perplexity", "--model", quantized, "--file", text, "--json"}, {"generate", "--model", quantized, "-n", 2, "two", "--quiet"}
    };
    for (var c : commands) {
      var s = new Session();
      assertThat(s.run(c)).as(s.err()).isZero();
      assertThat(s.err()).as(c[0].toString()).contains("says format gptq_v2", "read as gptq");
    }
    var s = new Session();
    assertThat(s.run("inspect", "--json", quantized)).as(s.err()).isZero();
    assertThat(s.object().at("/notes").toString()).contains("read as gptq");
  }
}
