package org.llmcore.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.Collectors;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParentCommand;

import org.llmcore.InvalidInput;
import org.llmcore.gguf.Gguf;
import org.llmcore.gguf.LlamaGguf;
import org.llmcore.text.Tokenizer;
import org.llmcore.text.Tokenizers;

/// `tokenize`: text becomes token ids.
@Command(
    name = "tokenize",
    description = {
      "Shows the token ids of a text, or of every line of a JSONL file with {\"text\": …}.",
      "Text stays text: </s> or [INST] in it is spelled out and never becomes a control token.",
      "With --json one object a line: {\"ids\":[…],\"pieces\":[…]}."
    },
    footer = {
      "Examples:",
      "  tokenize --tokenizer models/llama --text \"Once upon a time\"",
      "  tokenize --tokenizer tokenizer.model --input lines.jsonl --bos --json"
    })
final class Tokenize implements Runnable {
  private static final ObjectMapper JSON = new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  @ParentCommand private Main main;

  @Option(names = {"-t", "--tokenizer"}, required = true, paramLabel = "PATH", description = "tokenizer.model, tokenizer.json, a llama2.c tokenizer.bin, a folder with one, or a GGUF file")
  private Path tokenizer;

  @Option(names = "--text", paramLabel = "TEXT", description = "the text")
  private Optional<String> text = Optional.empty();

  @Option(names = {"-i", "--input"}, paramLabel = "FILE", description = "a JSONL file with {\"text\": …} in every line")
  private Optional<Path> input = Optional.empty();

  @Option(names = "--bos", description = "puts the beginning-of-sequence token in front")
  private boolean bos;

  @Override
  public void run() {
    if (text.isPresent() == input.isPresent()) throw new InvalidInput("give either --text or --input", "tokenize --help shows both");
    var tokens = opened(tokenizer);
    if (bos && tokens.bos().isEmpty()) throw new InvalidInput(tokenizer + " defines no beginning-of-sequence token", "leave --bos out");
    if (text.isPresent()) show(tokens, text.get());
    else input.ifPresent(file -> lines(tokens, file));
  }

  /// A tokenizer file or folder, or the tokenizer in a GGUF file.
  static Tokenizer opened(Path path) {
    if (!Gguf.is(path)) return Tokenizers.open(path, OptionalInt.empty());
    try (var file = LlamaGguf.of(Gguf.open(path))) {
      return file.tokenizer();
    }
  }

  private void lines(Tokenizer tokens, Path file) {
    try (var reader = Files.newBufferedReader(file)) {
      int number = 0;
      for (String line = reader.readLine(); line != null; line = reader.readLine()) {
        number++;
        if (!line.isBlank()) show(tokens, text(line, file + " line " + number));
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String text(String line, String where) {
    JsonNode node;
    try {
      node = JSON.readTree(line);
    } catch (JsonProcessingException e) {
      throw new InvalidInput(where + " is not JSON: " + e.getOriginalMessage(), "every line is an object {\"text\": …}", e);
    }
    if (!node.path("text").isTextual()) throw new InvalidInput(where + " has no text", "every line is an object {\"text\": …}");
    return node.path("text").asText();
  }

  private void show(Tokenizer tokens, String words) {
    int[] ids = tokens.encode(words);
    if (bos) {
      int[] longer = new int[ids.length + 1];
      longer[0] = tokens.bos().orElseThrow();
      System.arraycopy(ids, 0, longer, 1, ids.length);
      ids = longer;
    }
    var console = main.console();
    if (!console.json()) {
      console.print(Arrays.stream(ids).mapToObj(Integer::toString).collect(Collectors.joining(",")) + System.lineSeparator());
      return;
    }
    List<String> pieces = new ArrayList<>();
    for (int id : ids) pieces.add(tokens.piece(id));
    var object = new LinkedHashMap<String, Object>();
    object.put("ids", ids);
    object.put("pieces", pieces);
    console.object(object);
  }
}
