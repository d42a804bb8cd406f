package org.llmcore.train;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.BiFunction;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import com.fasterxml.jackson.dataformat.yaml.YAMLGenerator;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;

import org.llmcore.InvalidInput;
import org.llmcore.data.Format;
import org.llmcore.data.TooLong;
import org.llmcore.model.Precision;

/// Recipes as YAML. Reading fills the gaps with the values below, refuses what it does not know, and takes `--set` in between;
/// writing says everything, so that a run can be repeated from the file in its folder.
///
/// | key                      | if absent                                       | after                                        |
/// |--------------------------|-------------------------------------------------|----------------------------------------------|
/// | method.type              | lora, full if the model starts from scratch     |                                              |
/// | method.r, alpha, targets | 8, 2r, all-linear                               | torchtune's Llama-2-7B LoRA                  |
/// | training.learningRate    | 2e-4 for lora, 2e-5 for full, 5e-4 from scratch | QLoRA and LitGPT; TRL                        |
/// | training.schedule        | cosine after a warm-up of 3 % of the steps      | torchtune; QLoRA                             |
/// | training.weightDecay     | 0.01, betas 0.9 and 0.999, eps 1e-8             | torch.optim.AdamW                            |
/// | training.clip            | 1.0                                             | Hugging Face's Trainer                       |
/// | training.epochs, seed    | 3, 42                                           | Hugging Face's Trainer                       |
/// | training.batch           | 8, microBatch the same                          | Hugging Face's Trainer                       |
/// | data.tooLong             | refuse                                          | nothing is cut behind the user's back        |
public final class RecipeFile {
  private static final int BYTES = 1 << 20;
  private static final int DEPTH = 16;
  private static final YAMLMapper YAML =
      YAMLMapper.builder(
              YAMLFactory.builder()
                  .streamReadConstraints(StreamReadConstraints.builder().maxNestingDepth(DEPTH).maxDocumentLength(BYTES).build())
                  .disable(YAMLGenerator.Feature.WRITE_DOC_START_MARKER)
                  .disable(YAMLGenerator.Feature.SPLIT_LINES)
                  .enable(YAMLGenerator.Feature.MINIMIZE_QUOTES)
                  .enable(YAMLGenerator.Feature.ALWAYS_QUOTE_NUMBERS_AS_STRINGS)
                  .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
                  .build())
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .build();

  private RecipeFile() {}

  /// Reads a file.
  /// @param overrides `key=value` with keys such as `training.learningRate`, taken in order
  public static Recipe read(Path file, List<String> overrides) throws IOException {
    if (!Files.exists(file)) throw new NoSuchFileException(file.toString());
    if (!Files.isRegularFile(file)) throw new InvalidInput(file + " is not a file", "a recipe is one YAML file");
    if (Files.size(file) > BYTES) throw new InvalidInput(file + " has " + Files.size(file) + " bytes", "a recipe has at most " + BYTES);
    return parse(Files.readString(file, StandardCharsets.UTF_8), file.toString(), overrides);
  }

  /// Reads a text.
  public static Recipe parse(String yaml) {
    return parse(yaml, "the recipe", List.of());
  }

  /// Reads a text.
  /// @param origin what to call it in messages
  public static Recipe parse(String yaml, String origin, List<String> overrides) {
    var root = tree(yaml, origin);
    for (String override : overrides) set(root, override);
    try {
      return recipe(root);
    } catch (InvalidInput e) {
      throw overrides.isEmpty() ? new InvalidInput(origin + ": " + e.getMessage()) : e;
    }
  }

  /// The recipe with every value spelled out; `parse` gives the same recipe again.
  public static String toYaml(Recipe recipe) {
    try {
      return YAML.writeValueAsString(RecipeTree.of(recipe));
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("a recipe that cannot be written: " + recipe, e);
    }
  }

  private static ObjectNode tree(String yaml, String origin) {
    if (yaml.length() > BYTES) throw new InvalidInput(origin + " has " + yaml.length() + " characters", "a recipe has at most " + BYTES);
    try (var parser = YAML.getFactory().createParser(yaml)) {
      while (parser.nextToken() != null) {
        // Aliases multiply: nine lines can stand for a billion values. No recipe needs one.
        if (parser.isCurrentAlias() || parser.getObjectId() != null) {
          throw new InvalidInput(origin + " line " + parser.currentLocation().getLineNr() + ": anchors and aliases (& and *) are not understood", "repeat the value");
        }
      }
      var node = YAML.readTree(yaml);
      if (node == null || node.isMissingNode() || node.isNull()) return YAML.createObjectNode();
      if (node instanceof ObjectNode object) return object;
      throw new InvalidInput(origin + " holds no recipe", "expected keys such as model, data, training");
    } catch (JsonProcessingException e) {
      var at = e.getLocation();
      String line = at == null ? "" : " line " + at.getLineNr();
      throw new InvalidInput(origin + line + " is not YAML: " + e.getOriginalMessage().lines().findFirst().orElse(""), "check indentation and colons there", e);
    } catch (IOException e) {
      throw new IllegalArgumentException("reading from memory failed", e);
    }
  }

  private static void set(ObjectNode root, String override) {
    int equals = override.indexOf('=');
    if (equals < 1) throw new InvalidInput("--set " + override, "expected key=value, for example training.learningRate=1e-4");
    String[] keys = override.substring(0, equals).strip().split("\\.", -1);
    var at = root;
    for (int i = 0; i < keys.length - 1; i++) {
      var next = at.get(keys[i]);
      // `method: lora` is short for a mapping; so is what is not there yet.
      at = next instanceof ObjectNode object ? object : next != null && next.isTextual() ? at.putObject(keys[i]).put("type", next.asText()) : at.putObject(keys[i]);
    }
    at.set(keys[keys.length - 1], tree("value: " + override.substring(equals + 1), "--set " + override).get("value"));
  }

  private static Recipe recipe(ObjectNode root) {
    try (var all = Section.of("", root)) {
      var model = model(all);
      var tokenizer = all.text("tokenizer").map(Recipe.Source::new);
      var method = method(all, model instanceof Recipe.Scratch);
      frozen(model, method);
      double rate = model instanceof Recipe.Scratch ? 5e-4 : method instanceof Recipe.Full ? 2e-5 : method instanceof Recipe.SoftPrompt ? 3e-2 : 2e-4;
      return new Recipe(model, tokenizer, method, data(all), training(all, rate), evaluation(all), checkpoints(all), output(all));
    }
  }

  private static void frozen(Recipe.Model model, Recipe.Method method) {
    if (!model.precision().quantized()) return;
    if (model instanceof Recipe.Scratch) throw new InvalidInput("model.precision is " + Section.word(model.precision()) + " for a model from scratch", "weights in few bits cannot be trained: use f32, bf16-weights or bf16");
    if (method instanceof Recipe.Full) throw new InvalidInput("model.precision is " + Section.word(model.precision()) + " with method.type full", "weights in few bits cannot be trained: use method.type lora or prompt, or precision f32, bf16-weights or bf16");
  }

  private static Recipe.Model model(Section all) {
    if (!all.has("model")) throw new InvalidInput("the recipe has no model", "add 'model: {path: <folder, file or embedded:name>}'");
    try (var model = all.section("model")) {
      var precision = model.choice("precision", Precision.F32);
      String init = model.text("init").orElse("pretrained");
      switch (init) {
        case "pretrained" -> {
          if (model.has("config")) throw new InvalidInput("model.config is for a model that starts from scratch", "add 'init: scratch', or leave the config out");
          var path = model.text("path").orElseThrow(() -> new InvalidInput("model.path is missing", "name a folder, a file or embedded:<name>; or 'init: scratch' with a config"));
          return new Recipe.Pretrained(new Recipe.Source(path), precision);
        }
        case "scratch" -> {
          if (model.has("path")) throw new InvalidInput("model.path and 'init: scratch' exclude each other", "leave one of them out");
          return new Recipe.Scratch(architecture(model), precision);
        }
        default -> throw new InvalidInput("model.init is " + init, "expected pretrained or scratch");
      }
    }
  }

  private static Recipe.Architecture architecture(Section model) {
    if (!model.has("config")) throw new InvalidInput("model.config is missing", "a model from scratch needs hidden, layers, heads and contextLength");
    try (var config = model.section("config")) {
      int hidden = needed(config, "hidden");
      int layers = needed(config, "layers");
      int heads = needed(config, "heads");
      if (!config.has("headDim") && (heads < 1 || hidden % heads != 0)) {
        throw new InvalidInput("model.config.hidden is " + hidden + ", not a multiple of heads " + heads, "change one of them, or give headDim");
      }
      int inner = (int) Math.min(Integer.MAX_VALUE, 256L * Math.ceilDiv(8L * hidden / 3, 256));
      return new Recipe.Architecture(
          hidden, layers, heads, config.integer("kvHeads", heads), config.has("headDim") ? config.integer("headDim", 0) : hidden / heads,
          config.integer("intermediate", inner), config.integer("vocabulary"), needed(config, "contextLength"),
          config.number("normEps", 1e-5), config.number("ropeTheta", 10_000), config.flag("tiedHead", false));
    }
  }

  private static int needed(Section section, String key) {
    return section.integer(key).orElseThrow(() -> new InvalidInput(section.at(key) + " is missing", "expected a whole number"));
  }

  private static Recipe.Method method(Section all, boolean scratch) {
    var value = all.value("method");
    if (value.isMissingNode() || value.isNull()) value = YAML.createObjectNode();
    if (value.isTextual()) value = YAML.createObjectNode().put("type", value.asText());
    try (var method = Section.of("method", value)) {
      String type = method.text("type").orElse(scratch ? "full" : "lora");
      return switch (type) {
        case "full" -> new Recipe.Full();
        case "lora" -> {
          if (scratch) throw new InvalidInput("method is lora, but the model starts from scratch", "an adapter needs a trained base: write 'method: full'");
          int r = method.integer("r", 8);
          yield new Recipe.LowRank(
              r, method.number("alpha", 2.0 * r), method.number("dropout", 0), targets(method), method.flag("rslora", false),
                  method.flag("dora", false),
              pattern(method, "rankPattern", (p, key) -> p.integer(key, 0)), pattern(method, "alphaPattern", (p, key) ->
                  p.number(key, 0)),
              method.integers("layersToTransform"), method.texts("layersPattern"), method.texts("modulesToSave"));
        }
        case "prompt" -> {
          if (scratch) throw new InvalidInput("method is prompt, but the model starts from scratch", "a soft prompt needs a trained base: write 'method: full'");
          yield new Recipe.SoftPrompt(method.integer("virtualTokens", 20), method.text("init"), method.choice("start",
              Recipe.SoftPrompt.Start.VOCABULARY));
        }
        default -> throw new InvalidInput("method.type is " + type, "expected lora, prompt or full");
      };
    }
  }

  /// Values by module, in the order of the file.
  private static <T> Map<String, T> pattern(Section method, String key, BiFunction<Section, String, T> value) {
    var out = new LinkedHashMap<String, T>();
    try (var section = method.section(key)) {
      section.node().fieldNames().forEachRemaining(name -> out.put(name, value.apply(section, name)));
    }
    return out;
  }

  private static Recipe.Targets targets(Section method) {
    var value = method.value("targets");
    if (value.isArray()) return new Recipe.Suffixes(method.texts("targets"));
    String text = method.text("targets").orElse("all-linear");
    if (text.equals("all-linear")) return new Recipe.AllLinear();
    // One plain name is a list of one; PEFT would take it for an expression, which matches no layer.
    return text.matches("[A-Za-z0-9_]+(\\.[A-Za-z0-9_]+)*") ? new Recipe.Suffixes(List.of(text)) : new Recipe.Matching(text);
  }

  private static Recipe.Data data(Section all) {
    if (!all.has("data")) throw new InvalidInput("the recipe has no data", "add 'data: {path: <file or embedded:name>}'");
    try (var data = all.section("data")) {
      var path = data.text("path").orElseThrow(() -> new InvalidInput("data.path is missing", "name a file, or embedded:sql"));
      return new Recipe.Data(
          new Recipe.Source(path), format(data), data.number("validation", 0.05), data.integer("maxLength"),
          data.flag("pack", false), data.choice("tooLong", TooLong.REFUSE));
    }
  }

  private static Optional<Format> format(Section data) {
    if (data.text("format").orElse("auto").equals("auto")) return Optional.empty();
    return Optional.of(data.choice("format", Format.OPENAI));
  }

  private static Recipe.Training training(Section all, double rate) {
    try (var t = all.section("training")) {
      int batch = t.integer("batch", 8);
      return new Recipe.Training(
          t.number("epochs", 3), t.integer("maxSteps"), batch, t.integer("microBatch", batch), t.number("learningRate", rate),
          t.choice("schedule", LrSchedule.Kind.COSINE), t.number("warmupSteps", 0.03), t.number("minLearningRate", 0),
          t.number("weightDecay", 0.01), t.number("beta1", 0.9), t.number("beta2", 0.999), t.number("eps", 1e-8), t.number("clip", 1),
          t.whole("seed", 42), t.integer("threads"), t.flag("checkpointing", false));
    }
  }

  private static Recipe.Evaluation evaluation(Section all) {
    try (var e = all.section("evaluation")) {
      return new Recipe.Evaluation(e.integer("every", 0), e.choice("task", Recipe.Task.LOSS), e.integer("items", 200), e.integer("patience"));
    }
  }

  private static Recipe.Checkpoints checkpoints(Section all) {
    try (var c = all.section("checkpoints")) {
      return new Recipe.Checkpoints(c.integer("every", 0), c.integer("keep", 2));
    }
  }

  private static Recipe.Output output(Section all) {
    try (var o = all.section("output")) {
      return new Recipe.Output(o.text("folder").orElse("runs"), o.text("name"));
    }
  }
}
