package org.llmcore.cli;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;

import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParentCommand;

import org.llmcore.InvalidInput;

/// `detokenize`: token ids become text.
@Command(
    name = "detokenize",
    description = {"Shows the text of token ids; control tokens give nothing.", "With --json: {\"text\":…}."},
    footer = {"Example:", "  detokenize --tokenizer models/llama --ids 1,9038,2501"})
final class Detokenize implements Runnable {
  @ParentCommand private Main main;

  @Option(names = {"-t", "--tokenizer"}, required = true, paramLabel = "PATH", description = "tokenizer.model, tokenizer.json, a llama2.c tokenizer.bin, or a folder with one")
  private Path tokenizer;

  @Option(names = "--ids", required = true, split = ",", paramLabel = "1,2,3", description = "the ids, separated by commas")
  private List<Integer> ids;

  @Override
  public void run() {
    var tokens = Tokenize.opened(tokenizer);
    for (int id : ids) if (id < 0 || id >= tokens.size()) throw new InvalidInput("there is no token " + id, "the ids of " + tokenizer + " are 0 … " + (tokens.size() - 1));
    String text = tokens.decode(ids.stream().mapToInt(Integer::intValue).toArray());
    var console = main.console();
    if (console.json()) console.object(Map.of("text", text));
    else console.print(text + System.lineSeparator());
  }
}
