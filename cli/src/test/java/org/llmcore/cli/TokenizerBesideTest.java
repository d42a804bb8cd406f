package org.llmcore.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

import com.fasterxml.jackson.databind.JsonNode;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;

/// Models that carry no tokenizer, as published reference checkpoints often do: ids work, and a tokenizer beside them is found.
class TokenizerBesideTest {
  @TempDir Path folder;
  private final Session session = new Session();
  private Path whole;
  private Path bare;

  @BeforeEach
  void aModelWithoutATokenizer() throws IOException {
    whole = Session.model(folder.resolve("whole/model"));
    bare = Files.createDirectories(folder.resolve("place/model"));
    for (var name : new String[] {"config.json", "generation_config.json", "model.safetensors"}) Files.copy(whole.resolve(name), bare.resolve(name));
  }

  private JsonNode json(Object... arguments) throws IOException {
    assertThat(session.run(arguments)).as(session.err()).isZero();
    return session.object();
  }

  @Test
  void idsNeedNoTokenizer() throws IOException {
    var with = json("generate", "--json", "--model", whole, "--ids", "1,40,41", "--max-new-tokens", 6);
    var without = json("generate", "--json", "--model", bare, "--ids", "1,40,41", "--max-new-tokens", 6);
    assertThat(without.path("generated_ids")).isEqualTo(with.path("generated_ids"));
    assertThat(without.path("text").asText()).isEmpty();
    assertThat(session.run("generate", "--model", bare, "--ids", "1,40,41", "--max-new-tokens", 6)).isZero();
    assertThat(session.out()).startsWith(with.path("generated_ids").toString().replace(",", ", "));
    assertThat(json("logits", "--json", "--model", bare, "--ids", "1,40,41", "--out", folder.resolve("l.safetensors")).path("tokens").asInt()).isEqualTo(3);
  }

  @Test
  void textWithoutATokenizerIsRefusedWithWhatToDo() {
    assertThat(session.run("generate", "--model", bare, "two and")).isEqualTo(2);
    assertThat(session.err()).contains("there is no tokenizer in the folder", "--tokenizer", "token ids");
    assertThat(session.run("generate", "--model", bare)).isEqualTo(2);
    assertThat(session.run("logits", "--model", bare, "--text", "two", "--out", folder.resolve("l.safetensors"))).isEqualTo(2);
  }

  @Test
  void oneBesideTheModelIsUsedIfItHasTheModelsIds() throws IOException {
    var other = folder.resolve("other.model");
    Files.copy(whole.resolve("tokenizer.model"), folder.resolve("place/tokenizer.model"));
    var with = json("generate", "--json", "--model", whole, "two and", "--max-new-tokens", 6);
    assertThat(json("generate", "--json", "--model", bare, "two and", "--max-new-tokens", 6).path("text")).isEqualTo(with.path("text"));
    assertThat(json("inspect", "--json", bare).at("/tokenizer/kind").asText()).contains("SentencePiece");

    Files.move(folder.resolve("place/tokenizer.model"), other);
    var config = bare.resolve("config.json");
    Files.copy(Session.model(folder.resolve("again/model")).resolve("tokenizer.model"), folder.resolve("place/tok9.model"));
    assertThat(session.run("generate", "--model", bare, "two and")).as("named for another vocabulary: %s", Files.readString(config)).isEqualTo(2);
  }
}
