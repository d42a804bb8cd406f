package org.llmcore.cli;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;

import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.ParentCommand;

import org.llmcore.InvalidInput;
import org.llmcore.data.Sample;
import org.llmcore.generate.Generation;
import org.llmcore.generate.Generator;
import org.llmcore.generate.Sampling;
import org.llmcore.text.Wordless;
import org.llmcore.train.Llama2ChatForm;

/// `generate`: a prompt becomes text.
@Command(
    name = "generate",
    description = "Continues a prompt, word by word as it is made, or holds a conversation.",
    footer = {
      "Examples:",
      "  generate --run runs/sql-lora-1 \"singers(name text, age number) | how many singers are there\"",
      "  generate --model DIR --prompt \"Once upon a time\" --temperature 0.8 --seed 7",
      "  generate --model DIR --chat"
    })
final class Generate implements Callable<Integer> {
  @ParentCommand private Main main;
  @Mixin private Opening opening;

  @Parameters(arity = "0..1", paramLabel = "PROMPT", description = "the text to continue")
  private Optional<String> text = Optional.empty();

  @Option(names = {"-p", "--prompt"}, paramLabel = "TEXT", description = "the same, as an option")
  private Optional<String> prompt = Optional.empty();

  @Option(names = "--ids", paramLabel = "1,2,3", split = ",", description = "the prompt as token ids, BOS included")
  private List<Integer> ids = new ArrayList<>();

  @Option(names = {"-n", "--max-new-tokens"}, paramLabel = "N", defaultValue = "256", description = "most tokens to generate (default: ${DEFAULT-VALUE})")
  private int maxNewTokens;

  @Option(names = "--temperature", paramLabel = "X", defaultValue = "0", description = "0: always the likeliest token (default); 1: as the model says")
  private double temperature;

  @Option(names = "--top-k", paramLabel = "K", defaultValue = "0", description = "only the K likeliest tokens; 0: all")
  private int topK;

  @Option(names = "--top-p", paramLabel = "P", defaultValue = "1", description = "the smallest set of tokens of probability P")
  private double topP;

  @Option(names = "--min-p", paramLabel = "P", defaultValue = "0", description = "only tokens P times as likely as the likeliest")
  private double minP;

  @Option(names = "--repetition-penalty", paramLabel = "X", defaultValue = "1", description = "above 1 disfavours what was said already")
  private double repetitionPenalty;

  @Option(names = "--seed", paramLabel = "N", defaultValue = "0", description = "seed of the draws; the same seed gives the same text")
  private long seed;

  @Option(names = "--stop", paramLabel = "TEXT", description = "ends the text where this appears; may be repeated")
  private List<String> stop = new ArrayList<>();

  @Option(names = "--chat", description = "a conversation in Llama 2's chat form; an empty line or end of input leaves")
  private boolean chat;

  @Option(names = "--system", paramLabel = "TEXT", description = "the system message of a conversation")
  private Optional<String> system = Optional.empty();

  @Override
  public Integer call() throws IOException {
    var sampling = new Sampling(temperature, topK, topP, minP, repetitionPenalty, seed);
    try (var m = opening.open()) {
      m.open().notes().forEach(main.console()::say);
      try (var generator = m.open().generator(1)) {
        if (chat) converse(m, generator, sampling);
        else once(m, generator, sampling);
      }
    }
    return 0;
  }

  private void once(Opening.Opened m, Generator generator, Sampling sampling) {
    var console = main.console();
    var given = prompt(m);
    long from = System.nanoTime();
    var g = generator.generate(new Generator.Request(given, maxNewTokens, sampling, stop, console.json() ? Generator.Listener.NONE : console::print));
    double seconds = (System.nanoTime() - from) / 1e9;
    double rate = g.ids().length / seconds;
    if (m.model().tokenizer() instanceof Wordless) console.print(Arrays.toString(g.ids()));
    console.print("\n");
    console.say(console.dim(String.format(Locale.ROOT, "%d tokens, %,.1f tokens/s", g.ids().length, rate)));
    var out = new LinkedHashMap<String, Object>();
    out.put("prompt_ids", g.prompt());
    out.put("generated_ids", g.ids());
    out.put("text", g.text());
    out.put("finish_reason", g.finish().name().toLowerCase(Locale.ROOT));
    out.put("tokens_per_second", rate);
    console.object(out);
  }

  private int[] prompt(Opening.Opened m) {
    if (text.isPresent() && prompt.isPresent()) throw new InvalidInput("the prompt is given twice", "give it once");
    var words = text.or(() -> prompt);
    if (!ids.isEmpty()) {
      if (words.isPresent()) throw new InvalidInput("both a prompt and --ids are given", "give one of them");
      for (int id : ids) {
        if (id < 0 || id >= m.model().config().vocabulary()) throw new InvalidInput("token id " + id, "the vocabulary is 0 … " + (m.model().config().vocabulary() - 1));
      }
      return ids.stream().mapToInt(i -> i).toArray();
    }
    return m.open().prompt(words.orElse(""));
  }

  private void converse(Opening.Opened m, Generator generator, Sampling sampling) throws IOException {
    var console = main.console();
    var form = new Llama2ChatForm(m.model().tokenizer());
    var turns = new ArrayList<Sample.Turn>();
    system.ifPresent(s -> turns.add(new Sample.Turn("system", s, false)));
    var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    while (true) {
      console.print(console.bold("you: "));
      var line = in.readLine();
      if (line == null || line.isBlank()) return;
      turns.add(new Sample.Turn("user", line, false));
      console.print(console.bold("model: "));
      Generation g = generator.generate(new Generator.Request(form.prompt(turns), maxNewTokens, sampling, stop, console::print));
      console.print("\n");
      turns.add(new Sample.Turn("assistant", g.text().strip(), false));
      console.object(java.util.Map.of("role", "assistant", "content", g.text().strip(), "tokens", Arrays.stream(g.ids()).count()));
    }
  }
}
