package org.llmcore.cli;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.Stream;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AdapterConfig;
import org.llmcore.checkpoint.GptqConfig;
import org.llmcore.checkpoint.GptqFiles;
import org.llmcore.checkpoint.Llama2c;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.checkpoint.ModelFiles;
import org.llmcore.checkpoint.PromptConfig;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.gguf.Gguf;
import org.llmcore.gguf.LlamaGguf;
import org.llmcore.model.Decoder;
import org.llmcore.model.Form;
import org.llmcore.model.Precision;
import org.llmcore.peft.PeftAdapter;
import org.llmcore.tensor.Region;
import org.llmcore.text.Tokenizer;
import org.llmcore.text.Tokenizers;
import org.llmcore.text.Wordless;
import org.llmcore.train.Checkpoint;
import org.llmcore.train.Recipe;
import org.llmcore.train.RecipeFile;

/// What lies at a path, found without loading a weight.
///
/// | kind                    | known by                                              |
/// |-------------------------|-------------------------------------------------------|
/// | training run            | a folder with recipe.yaml                             |
/// | training checkpoint     | a folder with state.json and parameters.safetensors   |
/// | PEFT adapter            | a folder with adapter_config.json                     |
/// | Hugging Face folder     | a folder with config.json                             |
/// | safetensors             | a header's length, then `{`                           |
/// | llama2.c checkpoint     | a header that agrees with the file's length           |
/// | tokenizer               | what `Tokenizers` opens                               |
///
/// @param facts what else the files say, in words
/// @param notes what does not belong together
/// @param forms how the model can be held, if its own few bits leave less choice than dense weights do
record Inspection(
    String kind, long bytes, Map<String, Object> facts, Optional<LlamaConfig> config, List<Stored> tensors,
        Optional<Tokenizer> tokenizer, List<String> notes, Map<Precision, Form> forms) {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int NOTES = 5;
  private static final String KNOWN =
      "expected a Hugging Face folder, .safetensors, a GGUF file, a llama2.c .bin, a PEFT adapter, a run or its checkpoint, or a tokenizer";

  private Inspection(
      String kind, long bytes, Map<String, Object> facts, Optional<LlamaConfig> config, List<Stored> tensors, Optional<Tokenizer> tokenizer,
      List<String> notes) {
    this(kind, bytes, facts, config, tensors, tokenizer, notes, Map.of());
  }

  /// One tensor of a file.
  record Stored(String name, String dtype, List<Integer> shape, long bytes) {
    private static Stored of(Safetensors.Entry e) {
      return new Stored(e.name(), e.dtype(), Arrays.stream(e.shape()).boxed().toList(), e.data().byteSize());
    }

    long elements() {
      return shape.stream().mapToLong(Integer::longValue).reduce(1, (a, b) -> a * b);
    }
  }

  /// Looks at a path.
  /// @param tokenizer where the tokenizer lies, if not there
  /// @throws InvalidInput if there is nothing, or nothing known
  static Inspection of(Path path, Optional<Path> tokenizer) {
    if (!Files.exists(path)) {
      throw new InvalidInput("there is nothing at " + path, "check the path; it is read from the current folder");
    }
    return Files.isDirectory(path) ? folder(path, tokenizer) : file(path, tokenizer);
  }

  /// Elements of all tensors.
  long parameters() {
    return tensors.stream().mapToLong(Stored::elements).sum();
  }

  private static Inspection folder(Path folder, Optional<Path> tokenizer) {
    if (Files.exists(folder.resolve("recipe.yaml"))) return run(folder, tokenizer);
    if (Files.exists(folder.resolve("state.json"))) return checkpoint(folder);
    if (PeftAdapter.in(folder)) return adapter(folder);
    if (Files.exists(folder.resolve("config.json"))) return huggingFace(folder, tokenizer);
    if (Files.exists(folder.resolve("model.safetensors")) || Files.exists(folder.resolve("model.safetensors.index.json"))) {
      try (var files = ModelFiles.open(folder)) {
        return new Inspection("safetensors", size(folder), Map.of(), Optional.empty(), stored(files.entries().values()),
            Optional.empty(),
            List.of("there is no config.json, so the model's shape is not known"));
      }
    }
    try (Stream<Path> list = Files.list(folder)) {
      var names = list.map(p -> p.getFileName().toString()).sorted().toList();
      names.forEach(name -> ModelFiles.refusePickle(folder.resolve(name)));
      if (names.stream().anyMatch(n -> n.startsWith("tok"))) return tokenizer(folder);
      throw new InvalidInput(folder + " holds nothing known: "
          + (names.isEmpty() ? "it is empty" : String.join(", ", names.subList(0, Math.min(6, names.size())))), KNOWN);
    } catch (IOException e) {
      throw new InvalidInput("cannot list " + folder + ": " + e.getMessage(), "check its permissions", e);
    }
  }

  private static Inspection file(Path file, Optional<Path> tokenizer) {
    ModelFiles.refusePickle(file);
    var head = head(file);
    if (head.length == 0) throw new InvalidInput(file + " is empty", KNOWN);
    if ((head[0] & 0xff) == 0x80 || (head[0] == 'P' && head.length > 1 && head[1] == 'K')) {
      throw new InvalidInput(file + " is a Python pickle or a zip of pickles, which can run code when it is opened, and is not read",
          "use safetensors");
    }
    var name = file.getFileName().toString();
    if (name.endsWith(".safetensors") || (head.length > 8 && head[8] == '{' && head[7] == 0 && head[6] == 0 && head[5] == 0)) {
      return safetensors(file);
    }
    if (Gguf.is(file)) return gguf(file, tokenizer);
    if (Llama2c.plausible(file)) return llama2c(file, tokenizer);
    if (name.equals("config.json")) {
      return new Inspection("Hugging Face configuration", size(file), Map.of(), Optional.of(LlamaConfig.read(file)), List.of(),
          Optional.empty(), List.of());
    }
    if (name.endsWith(".model") || name.endsWith(".json")) return tokenizer(file);
    if (name.endsWith(".bin")) {
      try {
        return tokenizer(file);
      } catch (InvalidInput e) {
        throw new InvalidInput(file + " of " + size(file) + " bytes is neither a whole llama2.c checkpoint nor a tokenizer",
            "it is truncated or of another kind; download it again", e);
      }
    }
    throw new InvalidInput(file + " is of no known kind", KNOWN);
  }

  private static byte[] head(Path file) {
    try (InputStream in = Files.newInputStream(file)) {
      return in.readNBytes(16);
    } catch (IOException e) {
      throw new InvalidInput("cannot read " + file + ": " + e.getMessage(), "check its permissions", e);
    }
  }

  private static Inspection safetensors(Path file) {
    try (var f = Safetensors.open(file)) {
      var facts = new LinkedHashMap<String, Object>(f.metadata());
      return new Inspection("safetensors", size(file), facts, Optional.empty(), stored(f.entries().values()), Optional.empty(),
          List.of());
    }
  }

  /// Keys but the long lists; where the file is no Llama of ours, the reason is a note.
  private static Inspection gguf(Path file, Optional<Path> tokenizer) {
    try (var f = Gguf.open(file)) {
      var facts = new LinkedHashMap<String, Object>();
      facts.put("GGUF version", f.version());
      f.keys().forEach((key, v) -> facts.put(key, switch (v) {
        case Gguf.Values list -> list.count() + " values";
        case Gguf.Text text -> text.utf8().byteSize() + " bytes of text";
        default -> v;
      }));
      var tensors = Stream.concat(
          f.entries().values().stream().map(e -> new Stored(e.name(), e.type().name(), Arrays.stream(e.shape()).boxed().toList(), e.data().byteSize())),
          f.foreign().stream().map(e -> new Stored(e.name(), e.type(), Arrays.stream(e.shape()).boxed().toList(), e.bytes()))).toList();
      var notes = new ArrayList<String>();
      Optional<LlamaConfig> config = Optional.empty();
      Optional<Tokenizer> words = Optional.empty();
      try {
        var llama = LlamaGguf.of(f);
        notes.addAll(llama.notes());
        config = Optional.of(llama.config());
        var found = tokenizer.map(t -> Tokenizers.open(t, OptionalInt.empty())).orElseGet(llama::tokenizer);
        if (found instanceof Wordless w) notes.add(w.missing() + "; " + w.hint());
        else words = Optional.of(found);
      } catch (InvalidInput e) {
        notes.add(e.getMessage().replace("\n  ---> ", "; "));
      }
      return new Inspection("GGUF", size(file), facts, config, tensors, words, notes);
    }
  }

  private static Inspection llama2c(Path file, Optional<Path> tokenizer) {
    var config = Llama2c.configuration(file);
    var notes = new ArrayList<String>();
    var tensors = new ArrayList<Stored>();
    shapes(config, Precision.F32.form()).forEach((name, shape) -> tensors.add(new Stored(name, "F32", shape,
        4 * shape.stream().mapToLong(Integer::longValue).reduce(1, (a, b) -> a * b))));
    var beside = tokenizer.or(() -> Tokenizers.beside(file, config.vocabulary()));
    var words = beside.flatMap(t -> words(t, config, notes));
    if (beside.isEmpty()) notes.add("the file carries no tokenizer: name one with --tokenizer");
    return new Inspection("llama2.c checkpoint", size(file), Map.of("names", "as Hugging Face has them"), Optional.of(config),
        tensors, words, notes);
  }

  private static Inspection huggingFace(Path folder, Optional<Path> tokenizer) {
    var stated = LlamaConfig.read(folder.resolve("config.json"));
    var notes = new ArrayList<String>();
    try (var files = ModelFiles.open(folder)) {
      var config = stated.fitting(files.entries());
      var tensors = stored(files.entries().values());
      var facts = new LinkedHashMap<String, Object>();
      var forms = new LinkedHashMap<Precision, Form>();
      var gptq = GptqConfig.find(folder);
      if (gptq.isPresent()) gptq(GptqFiles.of(files.entries(), gptq.get()), config, facts, forms, notes);
      compare(config, forms.values().stream().findFirst().orElse(Precision.F32.form()), tensors, notes);
      return new Inspection(gptq.isPresent() ? "Hugging Face folder, quantized by GPTQ" : "Hugging Face folder", size(folder), facts, Optional.of(config),
          tensors, words(tokenizer.or(() -> beside(folder, config)).orElse(folder), config, notes), notes, forms);
    }
  }

  /// What a GPTQ checkpoint is read as; the reason is a note if it cannot be.
  private static void gptq(GptqFiles files, LlamaConfig config, Map<String, Object> facts, Map<Precision, Form> forms, List<String> notes) {
    var c = files.config();
    facts.put("bits", c.mixed() ? c.bits() + ", others by name" : c.bits());
    facts.put("group size", c.group() < 0 ? "whole rows" : c.group());
    facts.put("symmetric", c.symmetric());
    facts.put("act order", c.actOrder());
    facts.put("read as", files.version().label());
    notes.addAll(files.notes());
    try {
      for (var p : List.of(Precision.F32, Precision.BF16)) {
        var form = Form.gptq(files, p);
        Decoder.bytes(config, form); // finds each layer's groups while the files are open
        forms.put(p, form);
      }
    } catch (InvalidInput e) {
      notes.add(e.getMessage().replace("\n  ---> ", "; "));
    }
  }

  /// What the configuration asks for and the files do not have.
  private static void compare(LlamaConfig config, Form form, List<Stored> tensors, List<String> notes) {
    var found = new LinkedHashMap<String, List<Integer>>();
    for (var t : tensors) found.put(t.name, t.shape);
    int wrong = 0;
    for (var e : shapes(config, form).entrySet()) {
      var shape = found.get(e.getKey());
      if (e.getValue().equals(shape)) continue;
      if (++wrong <= NOTES) {
        notes.add(shape == null ? "the files lack " + e.getKey() : e.getKey() + " has shape " + shape + ", config.json asks for "
            + e.getValue());
      }
    }
    if (wrong > NOTES) notes.add("and " + (wrong - NOTES) + " more such tensors; this model cannot be run as it is");
  }

  /// The names and shapes a model of this configuration has.
  private static Map<String, List<Integer>> shapes(LlamaConfig config, Form form) {
    var out = new LinkedHashMap<String, List<Integer>>();
    Decoder.carve(config, Region.measuring("weights"), form, false)
        .parameters()
        .map()
        .forEach((name, t) -> out.put(name, Arrays.stream(t.shape().dims()).boxed().toList()));
    return out;
  }

  private static Inspection adapter(Path folder) {
    var config = AdapterConfig.read(folder.resolve("adapter_config.json"));
    var weights = folder.resolve("adapter_model.safetensors");
    if (!Files.exists(weights)) {
      if (Files.exists(folder.resolve("adapter_model.bin"))) ModelFiles.refusePickle(folder.resolve("adapter_model.bin"));
      throw new InvalidInput(folder + " has no adapter_model.safetensors", "give an adapter folder as PEFT writes it");
    }
    var facts = new LinkedHashMap<String, Object>();
    facts.put("base model", config.baseModel());
    switch (config) {
      case LoraConfig l -> {
        facts.put("r", l.r());
        facts.put("alpha", l.alpha());
        facts.put("dropout", l.dropout());
        facts.put("rslora", l.rslora());
        facts.put("targets", l.targetModules());
      }
      case PromptConfig s -> {
        facts.put("virtual tokens", s.virtualTokens());
        facts.put("width", s.width());
        s.text().ifPresent(t -> facts.put("started as", t));
      }
    }
    try (var f = Safetensors.open(weights)) {
      return new Inspection(config instanceof PromptConfig ? "PEFT soft prompt" : "PEFT LoRA adapter", size(folder), facts, Optional.empty(), stored(f.entries().values()),
          Optional.empty(), config.warnings());
    }
  }

  private static Inspection checkpoint(Path folder) {
    var facts = state(Checkpoint.open(folder).state());
    try (var parameters = Safetensors.open(folder.resolve("parameters.safetensors"));
        var optimizer = Safetensors.open(folder.resolve("optimizer.safetensors"))) {
      facts.put("optimizer", optimizer.entries().size() + " tensors");
      return new Inspection("training checkpoint", size(folder), facts, Optional.empty(), stored(parameters.entries().values()),
          Optional.empty(), List.of());
    }
  }

  private static Map<String, Object> state(Checkpoint.State s) {
    var facts = new LinkedHashMap<String, Object>();
    facts.put("step", s.step());
    facts.put("seed", s.seed());
    facts.put("first loss", s.firstLoss());
    if (Double.isFinite(s.bestLoss())) facts.put("best evaluation loss", s.bestLoss() + " after step " + s.bestStep());
    return facts;
  }

  private static Inspection run(Path folder, Optional<Path> tokenizer) {
    var recipe = recipe(folder.resolve("recipe.yaml"));
    var facts = new LinkedHashMap<String, Object>();
    facts.put("model", recipe.model() instanceof Recipe.Pretrained p ? p.source().text() : "from scratch");
    facts.put("method", recipe.method() instanceof Recipe.LowRank l ? "lora r " + l.r() : recipe.method() instanceof Recipe.SoftPrompt s ? "soft prompt of " + s.virtualTokens() : "full");
    facts.put("data", recipe.data().source().text());
    var summary = Files.exists(folder.resolve("summary.json")) ? Optional.of(json(folder.resolve("summary.json")))
        : Optional.<JsonNode>empty();
    summary.ifPresent(s -> s.properties().forEach(e -> {
      if (e.getValue().isNumber() || e.getValue().isBoolean()) facts.put(e.getKey(), e.getValue());
    }));
    var checkpoint = Checkpoint.newest(folder.resolve("checkpoints"));
    checkpoint.ifPresent(c -> facts.put("newest checkpoint", c.folder().getFileName() + ""));
    var result = Stream.of(folder.resolve("model"), folder.resolve("adapter")).filter(Files::isDirectory).findFirst()
        .or(() -> checkpoint.map(Checkpoint::folder));
    if (result.isEmpty()) {
      return new Inspection("training run", size(folder), facts, Optional.empty(), List.of(), Optional.empty(),
          List.of("it has neither a result nor a checkpoint"));
    }
    var inner = of(result.get(), tokenizer);
    facts.put("result", inner.kind + " " + result.get());
    inner.facts.forEach(facts::putIfAbsent);
    return new Inspection("training run", size(folder), facts, inner.config, inner.tensors, inner.tokenizer, inner.notes);
  }

  private static Recipe recipe(Path file) {
    try {
      return RecipeFile.read(file, List.of());
    } catch (IOException e) {
      throw new InvalidInput("cannot read " + file + ": " + e.getMessage(), "check its permissions", e);
    }
  }

  private static JsonNode json(Path file) {
    try {
      return JSON.readTree(file.toFile());
    } catch (IOException e) {
      throw new InvalidInput("cannot read " + file + ": " + e.getMessage(), "delete it; the run is unharmed", e);
    }
  }

  private static Inspection tokenizer(Path path) {
    var t = Tokenizers.open(path, OptionalInt.empty());
    return new Inspection("tokenizer", size(path), Map.of(), Optional.empty(), List.of(), Optional.of(t), List.of());
  }

  private static Optional<Tokenizer> words(Path path, LlamaConfig config, List<String> notes) {
    try {
      return Optional.of(Tokenizers.open(path, OptionalInt.of(config.vocabulary())));
    } catch (InvalidInput e) {
      notes.add(e.getMessage().replace("\n  ---> ", "; "));
      return Optional.empty();
    }
  }

  private static Optional<Path> beside(Path folder, LlamaConfig config) {
    return Tokenizers.in(folder) ? Optional.empty() : Tokenizers.beside(folder, config.vocabulary());
  }

  private static List<Stored> stored(Collection<Safetensors.Entry> entries) {
    return entries.stream().map(Stored::of).toList();
  }

  private static long size(Path path) {
    try (Stream<Path> all = Files.walk(path)) {
      long bytes = 0;
      for (var p : all.filter(Files::isRegularFile).toList()) bytes += Files.size(p);
      return bytes;
    } catch (IOException e) {
      throw new InvalidInput("cannot list " + path + ": " + e.getMessage(), "check its permissions", e);
    }
  }
}
