package org.llmcore.checkpoint;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.BiFunction;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;

import org.llmcore.InvalidInput;

/// A PEFT LoRA configuration (`adapter_config.json`).
///
/// @param targetModules suffixes of module names; one element `all-linear` means every linear layer but the head; one element
///     with `targetRegex` is a regular expression that must match the whole name
/// @param rslora scale alpha / √r instead of alpha / r (Kalajdzievski 2023, arXiv:2312.03732)
/// @param rankPattern ranks of modules whose name matches the key, instead of r
/// @param alphaPattern likewise for alpha
/// @param warnings keys of the file that were not understood
/// @param dora direction and magnitude trained apart (Liu et al. 2024, arXiv:2402.09353)
/// @param blocks the blocks whose targeted layers are adapted
/// @param modulesToSave ends of names of modules that are trained and saved whole, beside the adapter
/// @param excluded modules that are no targets whatever else says so
/// @param weightTying whether a head that is the embedding stays it where the embedding is saved whole
public record LoraConfig(
    int r, double alpha, double dropout, List<String> targetModules, boolean targetRegex, boolean rslora,
    Map<String, Integer> rankPattern, Map<String, Double> alphaPattern, String baseModel, List<String> warnings,
    boolean dora, Blocks blocks, List<String> modulesToSave, Excluded excluded, boolean weightTying)
    implements AdapterConfig {
  /// Which blocks an adapter reaches: `layers_to_transform` and `layers_pattern`.
  ///
  /// @param indices numbers of blocks; none means all
  /// @param lists names of the list that the numbers count in (`layers`); none means whatever list comes first in a name
  public record Blocks(List<Integer> indices, List<String> lists) {
    /// Every block.
    public static final Blocks ALL = new Blocks(List.of(), List.of());

    private static final String ANY_LIST = ".*?\\.[^.]*\\.(?<index>\\d+)\\..*";

    /// @throws InvalidInput if a number is negative, or lists are named without numbers
    public Blocks {
      indices = List.copyOf(indices);
      lists = List.copyOf(lists);
      for (int i : indices) if (i < 0) throw new InvalidInput("layers_to_transform holds " + i, "blocks count from 0");
      if (indices.isEmpty() && !lists.isEmpty()) {
        throw new InvalidInput("layers_pattern is " + lists + " without layers_to_transform",
            "say which layers, or leave it out");
      }
      lists.forEach(l -> Expression.of(numbered(l)));
    }

    private static String numbered(String list) {
      return "(?:^|.*?\\.)" + list + "\\.(?<index>\\d+)\\..*";
    }

    /// Whether the module of that full name lies in one of the blocks.
    boolean hold(String module) {
      if (indices.isEmpty()) return true;
      for (var e : lists.isEmpty() ? List.of(ANY_LIST) : lists.stream().map(Blocks::numbered).toList()) {
        var found = Expression.of(e).matcher(module);
        if (found.matches()) return indices.stream().anyMatch(i -> found.group("index").equals(i.toString()));
      }
      return false;
    }
  }

  /// Modules that get no adapter: `exclude_modules`.
  ///
  /// @param names suffixes of their names, or one expression that must match the whole name
  public record Excluded(List<String> names, boolean expression) {
    /// No module.
    public static final Excluded NONE = new Excluded(List.of(), false);

    /// @throws InvalidInput if the expression is none
    public Excluded {
      names = List.copyOf(names);
      if (expression) Expression.of(names.getFirst());
    }

    boolean hold(String module) {
      return expression ? Expression.of(names.getFirst()).matches(module) : names.stream().anyMatch(n -> ends(module, n));
    }
  }

  private static final ObjectMapper JSON =
      JsonMapper.builder().enable(SerializationFeature.ORDER_MAP_ENTRIES_BY_KEYS).enable(SerializationFeature.INDENT_OUTPUT)
          .build();
  private static final List<String> DEFAULT_TARGETS = List.of("q_proj", "v_proj");

  /// Keys a 2026 PEFT writes, with the values that mean "not used"; any other value is a feature we do not have.
  private static final Map<String, Object> NEUTRAL =
      Map.ofEntries(
          Map.entry("lora_bias", false), Map.entry("use_qalora", false));
  private static final List<String> NULLS =
      List.of(
          "alora_invocation_tokens", "arrow_config", "corda_config", "kasa_config", "layer_replication", "lora_ga_config",
          "megatron_config", "monteclora_config", "target_parameters",
          "trainable_token_indices", "use_bdlora", "velora_config");
  private static final List<String> IGNORED =
      List.of(
          "peft_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r", "target_modules",
          "lora_alpha", "lora_dropout", "use_dora", "use_rslora", "init_lora_weights", "rank_pattern", "alpha_pattern", "megatron_core",
          "layers_to_transform", "layers_pattern", "modules_to_save", "exclude_modules", "loftq_config", "qalora_group_size",
          "task_type", "ensure_weight_tying", "bias",
          // What transformers class the model was, how A was started, and the layout of layers that a Llama does not have.
          "auto_mapping", "eva_config", "fan_in_fan_out");
  private static final List<String> BIASES = List.of("none", "all", "lora_only");
  private static final List<String> KEEPING_THE_BASE = List.of("true", "false", "gaussian", "orthogonal", "eva");
  private static final List<String> STARTS_FROM_THE_BASE = List.of("pissa", "olora");
  private static final String ALL_LINEAR = "all-linear";
  private static final String EMBEDDING = "model.embed_tokens";
  private static final String HEAD = "lm_head";

  public LoraConfig {
    checkRank("LoRA r", r);
    checkAlpha("LoRA alpha", alpha);
    if (!(dropout >= 0 && dropout < 1)) {
      throw new InvalidInput("LoRA dropout is " + dropout, "expected 0 up to, not including, 1");
    }
    targetModules = List.copyOf(targetModules);
    if (targetModules.isEmpty()) {
      throw new InvalidInput("LoRA has no target modules", "name suffixes such as q_proj, v_proj, or all-linear");
    }
    // Where several patterns match a module the first counts, so their order is kept.
    rankPattern = Collections.unmodifiableMap(new LinkedHashMap<>(rankPattern));
    alphaPattern = Collections.unmodifiableMap(new LinkedHashMap<>(alphaPattern));
    warnings = List.copyOf(warnings);
    if (targetRegex) Expression.of(targetModules.getFirst());
    rankPattern.forEach((key, rank) -> checkRank("LoRA r of " + suffix(key).python(), rank));
    alphaPattern.forEach((key, a) -> checkAlpha("LoRA alpha of " + suffix(key).python(), a));
    if (!blocks.indices.isEmpty() && (targetRegex || targetModules.equals(List.of(ALL_LINEAR)))) {
      throw new InvalidInput("layers_to_transform is set, but the targets are one expression",
          "list suffixes such as q_proj, v_proj, or put the layers into the expression");
    }
    modulesToSave = List.copyOf(modulesToSave);
    for (var m : modulesToSave) {
      if (m.isBlank()) throw new InvalidInput("modules_to_save holds an empty name",
          "name modules such as embed_tokens, lm_head");
    }
  }

  /// A configuration without DoRA, for all blocks.
  public LoraConfig(
      int r, double alpha, double dropout, List<String> targetModules, boolean targetRegex, boolean rslora,
      Map<String, Integer> rankPattern, Map<String, Double> alphaPattern, String baseModel, List<String> warnings) {
    this(r, alpha, dropout, targetModules, targetRegex, rslora, rankPattern, alphaPattern, baseModel, warnings, false, Blocks.ALL,
        List.of(), Excluded.NONE, false);
  }

  /// The same configuration with DoRA, or without.
  public LoraConfig withDora(boolean dora) {
    return new LoraConfig(r, alpha, dropout, targetModules, targetRegex, rslora, rankPattern, alphaPattern, baseModel, warnings,
        dora, blocks, modulesToSave, excluded, weightTying);
  }

  /// The same configuration with other ranks and alphas for some modules.
  public LoraConfig withPatterns(Map<String, Integer> ranks, Map<String, Double> alphas) {
    return new LoraConfig(r, alpha, dropout, targetModules, targetRegex, rslora, ranks, alphas, baseModel, warnings, dora, blocks,
        modulesToSave, excluded, weightTying);
  }

  /// The same configuration for some blocks only.
  public LoraConfig in(Blocks blocks) {
    return new LoraConfig(r, alpha, dropout, targetModules, targetRegex, rslora, rankPattern, alphaPattern, baseModel, warnings,
        dora, blocks, modulesToSave, excluded, weightTying);
  }

  /// The same configuration with modules that are trained whole.
  public LoraConfig saving(List<String> modules) {
    return new LoraConfig(r, alpha, dropout, targetModules, targetRegex, rslora, rankPattern, alphaPattern, baseModel, warnings,
        dora, blocks, modules, excluded, weightTying);
  }

  private static void checkRank(String what, int r) {
    if (r < 1 || r > 1 << 16) throw new InvalidInput(what + " is " + r, "expected 1 … 65536, for example 8");
  }

  private static void checkAlpha(String what, double alpha) {
    if (!(alpha >= 0 && alpha < 1e30)) throw new InvalidInput(what + " is " + alpha, "expected 0 or more, for example 16");
  }

  /// A configuration with PEFT's defaults for everything else.
  public static LoraConfig of(int r, double alpha, double dropout, boolean rslora, List<String> targets) {
    return new LoraConfig(r, alpha, dropout, targets, false, rslora, Map.of(), Map.of(), "", List.of());
  }

  private static Expression suffix(String key) {
    return Expression.of("(.*\\.)?(" + key + ")$");
  }

  private static boolean ends(String module, String name) {
    return module.equals(name) || module.endsWith("." + name);
  }

  /// Whether the module of that full name gets an adapter.
  public boolean targets(String module) {
    if (excluded.hold(module)) return false;
    if (modulesToSave.stream().anyMatch(m -> ("." + module + ".").contains("." + m + "."))) return false;
    if (targetRegex) return Expression.of(targetModules.getFirst()).matches(module);
    if (targetModules.equals(List.of(ALL_LINEAR))) return !module.equals(EMBEDDING) && !module.equals(HEAD);
    return targetModules.contains(module) || targetModules.stream().anyMatch(t -> ends(module, t)) && blocks.hold(module);
  }

  /// The listed targets that are the end of no module's name.
  /// @param modules full names
  public List<String> unmet(List<String> modules) {
    if (targetRegex || targetModules.equals(List.of(ALL_LINEAR))) return List.of();
    return targetModules.stream().filter(t -> modules.stream().noneMatch(m -> ends(m, t))).toList();
  }

  /// The element of `modulesToSave` by which the module of that full name is trained and saved whole, if any. PEFT's rule: its
  /// name, or that of a module around it, ends so; `norm` therefore means every norm.
  public Optional<String> saves(String module) {
    for (int end = module.length(); end > 0; end = module.lastIndexOf('.', end - 1)) {
      var name = module.substring(0, end);
      var found = modulesToSave.stream().filter(name::endsWith).findFirst();
      if (found.isPresent()) return found;
    }
    return Optional.empty();
  }

  /// Whether embedding or head is trained alone: where a model has one tensor for both they become two.
  public boolean parts() {
    return targets(HEAD) || !weightTying && (saves(EMBEDDING).isPresent() || saves(HEAD).isPresent());
  }

  /// Rank of the module's adapter.
  public int rank(String module) {
    return matching(rankPattern, module, r);
  }

  /// Scale of the module's update.
  public double scale(String module) {
    double a = matching(alphaPattern, module, alpha);
    int rank = rank(module);
    return rslora ? a / Math.sqrt(rank) : a / rank;
  }

  /// PEFT's rule: the key is a suffix that starts at a dot, or a regular expression for one; the first that matches counts.
  private static <T> T matching(Map<String, T> patterns, String module, T otherwise) {
    for (var e : patterns.entrySet()) {
      if (suffix(e.getKey()).matches(module)) return e.getValue();
    }
    return otherwise;
  }

  /// Reads `adapter_config.json`. Only `peft_type` is required; unknown keys become warnings; features that would change
  /// results and are not supported are refused by name.
  public static LoraConfig read(Path file) {
    return JsonFile.read(file, "give an adapter folder as PEFT writes it", LoraConfig::of);
  }

  private static LoraConfig of(JsonFile c) {
    var type = c.text("peft_type", "");
    if (type.equals("PROMPT_TUNING")) {
      throw new InvalidInput("peft_type is 'PROMPT_TUNING'", "a LoRA is needed here; a soft prompt is part of no weight, use it with --adapter");
    }
    if (!type.equals("LORA")) throw new InvalidInput("peft_type is '" + JsonFile.brief(type) + "'", "supported is LORA");
    var warnings = new ArrayList<String>();
    for (var e : c.object().properties()) {
      var key = e.getKey();
      var v = e.getValue();
      if (NEUTRAL.containsKey(key)) {
        if (!v.isNull() && !v.asText().equals(NEUTRAL.get(key).toString())) throw unsupported(c, key);
      } else if (NULLS.contains(key)) {
        boolean unused = v.isNull() || v.isContainerNode() && v.isEmpty() || v.isBoolean() && !v.booleanValue();
        if (!unused) throw unsupported(c, key);
      } else if (!IGNORED.contains(key)) {
        warnings.add("unknown key " + JsonFile.brief(key));
      }
    }
    // A Llama has no biases to train: where one is in the weights it is refused there.
    if (!BIASES.contains(c.text("bias", "none"))) throw c.wrong("bias", "one of " + BIASES);
    // Other starts (PiSSA, OLoRA, CorDA, LoftQ …) change the base weights: such an adapter is wrong on the base it names.
    var start = c.object().path("init_lora_weights").asText();
    if (c.has("init_lora_weights") && !KEEPING_THE_BASE.contains(start)) {
      if (STARTS_FROM_THE_BASE.stream().noneMatch(start::startsWith)) throw unsupported(c, "init_lora_weights");
      throw new InvalidInput("init_lora_weights is " + JsonFile.brief(c.object().path("init_lora_weights"))
          + ", which belongs to a base that was changed",
          "in PEFT: save_pretrained(folder, path_initial_model_for_weight_conversion=<the adapter as saved before training>)");
    }
    boolean list = c.object().path("target_modules").isArray();
    var targets = DEFAULT_TARGETS;
    if (list) targets = strings(c, "target_modules");
    else if (c.has("target_modules")) targets = List.of(c.text("target_modules", ""));
    if (!list && targets.getFirst().equalsIgnoreCase(ALL_LINEAR)) targets = List.of(ALL_LINEAR);
    boolean regex = !list && c.has("target_modules") && !targets.equals(List.of(ALL_LINEAR));
    return new LoraConfig(
        c.integer("r", 8), c.number("lora_alpha", 8), c.number("lora_dropout", 0), targets, regex, c.flag("use_rslora", false),
        pattern(c, "rank_pattern", JsonFile::integer), pattern(c, "alpha_pattern", JsonFile::number),
        c.text("base_model_name_or_path", ""), warnings, c.flag("use_dora", false),
        new Blocks(numbers(c, "layers_to_transform"), words(c, "layers_pattern")), words(c, "modules_to_save"),
        new Excluded(words(c, "exclude_modules"), c.object().path("exclude_modules").isTextual()
            && !c.text("exclude_modules", "").isEmpty()),
        c.flag("ensure_weight_tying", false));
  }

  /// A list of numbers, or one number.
  private static List<Integer> numbers(JsonFile c, String key) {
    if (!c.has(key)) return List.of();
    var value = c.object().path(key);
    var out = new ArrayList<Integer>();
    if (value.isArray()) for (var v : value) out.add(c.integer(key, v));
    else out.add(c.integer(key));
    return out;
  }

  /// A list of strings, or one string.
  private static List<String> words(JsonFile c, String key) {
    if (!c.has(key)) return List.of();
    if (c.object().path(key).isTextual()) return c.text(key, "").isEmpty() ? List.of() : List.of(c.text(key, ""));
    if (!c.object().path(key).isArray()) throw c.wrong(key, "a list of strings");
    return strings(c, key);
  }

  private static List<String> strings(JsonFile c, String key) {
    var out = new ArrayList<String>();
    for (var v : c.object().path(key)) {
      if (!v.isTextual()) throw c.wrong(key, "a list of strings");
      out.add(v.textValue());
    }
    return out;
  }

  private static <T> Map<String, T> pattern(JsonFile c, String key, BiFunction<JsonFile, String, T> value) {
    var out = new LinkedHashMap<String, T>();
    if (c.has(key)) for (var e : c.in(key).object().properties()) out.put(e.getKey(), value.apply(c.in(key), e.getKey()));
    return out;
  }

  private static InvalidInput unsupported(JsonFile c, String key) {
    return new InvalidInput(key + " is " + JsonFile.brief(c.object().path(key)),
        "this feature is not supported and cannot be ignored");
  }

  @Override
  public String toJson() {
    var nodes = JsonNodeFactory.instance;
    var c = new TreeMap<String, JsonNode>();
    for (var key : NULLS) c.put(key, nodes.nullNode());
    NEUTRAL.forEach((k, v) -> c.put(k, JSON.valueToTree(v)));
    var alphas = nodes.objectNode();
    alphaPattern.forEach((key, a) -> alphas.set(key, number(a)));
    c.put("alpha_pattern", alphas);
    c.put("auto_mapping", nodes.nullNode());
    c.put("bias", nodes.textNode("none"));
    c.put("ensure_weight_tying", nodes.booleanNode(weightTying));
    c.put("eva_config", nodes.nullNode());
    c.put("exclude_modules", excluded.names.isEmpty() ? nodes.nullNode() : excluded.expression
        ? nodes.textNode(excluded.names.getFirst()) : JSON.valueToTree(excluded.names));
    c.put("fan_in_fan_out", nodes.booleanNode(false));
    c.put("base_model_name_or_path", baseModel.isEmpty() ? nodes.nullNode() : nodes.textNode(baseModel));
    c.put("inference_mode", nodes.booleanNode(true));
    c.put("init_lora_weights", nodes.booleanNode(true));
    c.put("layers_pattern", blocks.lists.isEmpty() ? nodes.nullNode() : JSON.valueToTree(blocks.lists));
    c.put("layers_to_transform", blocks.indices.isEmpty() ? nodes.nullNode() : JSON.valueToTree(blocks.indices));
    c.put("loftq_config", nodes.objectNode());
    c.put("lora_alpha", number(alpha));
    c.put("lora_dropout", nodes.numberNode(dropout));
    c.put("megatron_core", nodes.textNode("megatron.core"));
    c.put("modules_to_save", modulesToSave.isEmpty() ? nodes.nullNode() : JSON.valueToTree(modulesToSave));
    c.put("peft_type", nodes.textNode("LORA"));
    c.put("peft_version", nodes.textNode("0.21.0"));
    c.put("qalora_group_size", nodes.numberNode(16));
    c.put("r", nodes.numberNode(r));
    var ranks = nodes.objectNode();
    rankPattern.forEach(ranks::put);
    c.put("rank_pattern", ranks);
    c.put("revision", nodes.nullNode());
    boolean text = targetRegex || targetModules.equals(List.of(ALL_LINEAR));
    c.put("target_modules", text ? nodes.textNode(targetModules.getFirst()) : JSON.valueToTree(targetModules));
    c.put("task_type", nodes.textNode("CAUSAL_LM"));
    c.put("use_dora", nodes.booleanNode(dora));
    c.put("use_rslora", nodes.booleanNode(rslora));
    try {
      return JSON.writeValueAsString(c) + "\n";
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  /// PEFT writes whole numbers without a point.
  private static JsonNode number(double value) {
    boolean whole = value == Math.rint(value) && value < 1e15;
    return whole ? JsonNodeFactory.instance.numberNode((long) value) : JsonNodeFactory.instance.numberNode(value);
  }

  @Override
  public LoraConfig onBase(String name) {
    return new LoraConfig(r, alpha, dropout, targetModules, targetRegex, rslora, rankPattern, alphaPattern, name, warnings, dora,
        blocks, modulesToSave, excluded, weightTying);
  }
}
