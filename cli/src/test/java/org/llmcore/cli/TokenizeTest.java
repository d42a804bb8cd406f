package org.llmcore.cli;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

class TokenizeTest {
  @TempDir Path folder;
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();
  private String tokenizer;

  @BeforeEach
  void aTokenizerIsThere() {
    var file = Path.of(System.getProperty("llm.data", "../shared/data"), "stories260k", "tok512.bin");
    assumeTrue(Files.exists(file), "the tokenizer of stories260K is not on this machine");
    tokenizer = file.toString();
  }

  private int run(String... arguments) {
    out.reset();
    err.reset();
    return Main.run(
        new Surroundings(new PrintStream(out, false, StandardCharsets.UTF_8), false, new PrintStream(err, true, StandardCharsets.UTF_8), false, 100, false), List.of(arguments));
  }

  private String out() {
    return out.toString(StandardCharsets.UTF_8).strip();
  }

  private String err() {
    return err.toString(StandardCharsets.UTF_8);
  }

  @Test
  void textComesBackFromItsIds() {
    assertThat(run("tokenize", "--tokenizer", tokenizer, "--text", "Once upon a time, é")).isZero();
    String ids = out();
    assertThat(ids).matches("\\d+(,\\d+)+");
    assertThat(run("detokenize", "--tokenizer", tokenizer, "--ids", ids, "--json")).isZero();
    assertThat(out()).isEqualTo("{\"text\":\"Once upon a time, é\"}");
  }

  @Test
  void jsonIsOneObjectALineWithIdsAndPieces() throws IOException {
    var lines = Files.writeString(folder.resolve("lines.jsonl"), "{\"text\":\"Once upon\"}\n\n{\"text\":\"</s>\"}\n");
    assertThat(run("tokenize", "--tokenizer", tokenizer, "--input", lines.toString(), "--bos", "--json")).isZero();
    var answers = out().lines().toList();
    assertThat(answers).hasSize(2).allMatch(a -> a.startsWith("{\"ids\":[1,") && a.contains("\"pieces\":["));
    assertThat(answers.getLast()).as("text never becomes a control token").doesNotContain(",2]");
  }

  @Test
  void whatCannotBeUsedIsCode2WithOneMessage() throws IOException {
    assertThat(run("tokenize", "--tokenizer", tokenizer)).isEqualTo(2);
    assertThat(err()).contains("either --text or --input");
    assertThat(run("tokenize", "--tokenizer", folder.resolve("none.model").toString(), "--text", "x")).isEqualTo(2);
    assertThat(run("detokenize", "--tokenizer", tokenizer, "--ids", "1,512")).isEqualTo(2);
    assertThat(err()).contains("there is no token 512", "0 … 511");
    assertThat(run("detokenize", "--tokenizer", tokenizer, "--ids", "one")).isEqualTo(2);
    var bad = Files.writeString(folder.resolve("bad.jsonl"), "{\"text\":\"a\"}\n{\"txt\":1}\n");
    assertThat(run("tokenize", "--tokenizer", tokenizer, "--input", bad.toString())).isEqualTo(2);
    assertThat(err()).contains("line 2 has no text").doesNotContain("\tat ");
    assertThat(run("tokenize", "--tokenizer", tokenizer, "--input", folder.resolve("none").toString())).isEqualTo(2);
    assertThat(err()).contains("there is no file");
  }

  @Test
  void aMisspelledVerbGetsTheNearestOne() {
    assertThat(run("tokenise", "--text", "x")).isEqualTo(2);
    assertThat(err()).contains("did you mean tokenize?");
  }
}
