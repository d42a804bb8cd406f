package org.llmcore.checkpoint;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

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
public record LoraConfig(
    int r, double alpha, double dropout, List<String> targetModules, boolean targetRegex, boolean rslora,
    Map<String, Integer> rankPattern, Map<String, Double> alphaPattern, String baseModel, List<String> warnings) {
  private static final ObjectMapper JSON =
      JsonMapper.builder().enable(SerializationFeature.ORDER_MAP_ENTRIES_BY_KEYS).enable(SerializationFeature.INDENT_OUTPUT).build();
  private static final List<String> DEFAULT_TARGETS = List.of("q_proj", "v_proj");

  /// Keys a 2026 PEFT writes, with the values that mean "not used"; any other value is a feature we do not have.
  private static final Map<String, Object> NEUTRAL =
      Map.ofEntries(
          Map.entry("use_dora", false), Map.entry("fan_in_fan_out", false), Map.entry("lora_bias", false), Map.entry("bias", "none"),
          Map.entry("use_qalora", false), Map.entry("ensure_weight_tying", false));
  private static final List<String> NULLS =
      List.of(
          "alora_invocation_tokens", "arrow_config", "auto_mapping", "corda_config", "eva_config", "exclude_modules", "kasa_config",
          "layer_replication", "layers_pattern", "layers_to_transform", "lora_ga_config", "megatron_config", "modules_to_save",
          "monteclora_config", "target_parameters", "trainable_token_indices", "use_bdlora", "velora_config");
  private static final List<String> IGNORED =
      List.of(
          "peft_type", "peft_version", "base_model_name_or_path", "revision", "inference_mode", "r", "target_modules", "lora_alpha",
          "lora_dropout", "use_rslora", "init_lora_weights", "rank_pattern", "alpha_pattern", "megatron_core", "loftq_config",
          "qalora_group_size", "task_type");

  public LoraConfig {
    if (r < 1 || r > 1 << 16) throw new InvalidInput("LoRA r is " + r, "expected 1 or more, for example 8");
    if (!(alpha > 0)) throw new InvalidInput("LoRA alpha is " + alpha, "expected a positive number, for example 16");
    if (!(dropout >= 0 && dropout < 1)) throw new InvalidInput("LoRA dropout is " + dropout, "expected 0 up to, not including, 1");
    targetModules = List.copyOf(targetModules);
    rankPattern = Map.copyOf(rankPattern);
    alphaPattern = Map.copyOf(alphaPattern);
    warnings = List.copyOf(warnings);
    if (targetRegex) pattern(targetModules.getFirst());
  }

  /// A configuration with PEFT's defaults for everything else.
  public static LoraConfig of(int r, double alpha, double dropout, boolean rslora, List<String> targets) {
    return new LoraConfig(r, alpha, dropout, targets, false, rslora, Map.of(), Map.of(), "", List.of());
  }

  private static Pattern pattern(String regex) {
    try {
      return Pattern.compile(regex);
    } catch (PatternSyntaxException e) {
      throw new InvalidInput("'" + regex + "' is not a regular expression: " + e.getDescription(), "give a list of suffixes or a valid expression", e);
    }
  }

  /// Whether the module of that full name gets an adapter.
  public boolean targets(String module) {
    if (targetRegex) return pattern(targetModules.getFirst()).matcher(module).matches();
    if (targetModules.equals(List.of("all-linear"))) return true;
    return targetModules.stream().anyMatch(t -> module.equals(t) || module.endsWith("." + t));
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

  /// PEFT's rule: the key is a suffix that starts at a dot, or a regular expression for one.
  private static <T> T matching(Map<String, T> patterns, String module, T otherwise) {
    for (var e : new TreeMap<>(patterns).entrySet()) {
      if (pattern("(.*\\.)?(" + e.getKey() + ")$").matcher(module).matches()) return e.getValue();
    }
    return otherwise;
  }

  /// Reads `adapter_config.json`. Only `peft_type` is required; unknown keys become warnings; features that would change
  /// results and are not supported are refused by name.
  public static LoraConfig read(Path file) {
    JsonNode c;
    try {
      if (!Files.isRegularFile(file)) throw new InvalidInput("there is no " + file, "give an adapter folder as PEFT writes it");
      c = JSON.readTree(Files.readString(file));
    } catch (IOException e) {
      throw new InvalidInput("cannot read " + file + ": " + e.getMessage(), "expected a JSON object", e);
    }
    var type = c == null ? "" : c.path("peft_type").asText("");
    if (!type.equals("LORA")) throw new InvalidInput(file + ": peft_type is '" + type + "'", "supported is LORA");
    var warnings = new ArrayList<String>();
    for (var e : c.properties()) {
      var key = e.getKey();
      var v = e.getValue();
      if (NEUTRAL.containsKey(key)) {
        if (!v.isNull() && !v.asText().equals(NEUTRAL.get(key).toString())) throw unsupported(file, key, v);
      } else if (NULLS.contains(key)) {
        if (!v.isNull() && !v.isEmpty()) throw unsupported(file, key, v);
        if (v.isBoolean() && v.booleanValue()) throw unsupported(file, key, v);
      } else if (!IGNORED.contains(key)) {
        warnings.add("unknown key " + key);
      }
    }
    var targets = c.path("target_modules");
    boolean regex = targets.isTextual() && !targets.asText().equals("all-linear");
    var names = new ArrayList<String>();
    if (targets.isTextual()) names.add(targets.asText());
    else if (targets.isArray()) targets.forEach(t -> names.add(t.asText()));
    var ranks = new TreeMap<String, Integer>();
    c.path("rank_pattern").properties().forEach(e -> ranks.put(e.getKey(), e.getValue().asInt()));
    var alphas = new TreeMap<String, Double>();
    c.path("alpha_pattern").properties().forEach(e -> alphas.put(e.getKey(), e.getValue().asDouble()));
    return new LoraConfig(
        c.path("r").asInt(8), c.path("lora_alpha").asDouble(8), c.path("lora_dropout").asDouble(0),
        names.isEmpty() ? DEFAULT_TARGETS : names, regex, c.path("use_rslora").asBoolean(false), ranks, alphas,
        c.path("base_model_name_or_path").asText(""), warnings);
  }

  private static InvalidInput unsupported(Path file, String key, JsonNode value) {
    return new InvalidInput(file + ": " + key + " is " + value, "this feature is not supported and cannot be ignored");
  }

  /// `adapter_config.json` as PEFT 0.21 writes it: every key, sorted.
  public String toJson() {
    var nodes = JsonNodeFactory.instance;
    var c = new TreeMap<String, JsonNode>();
    for (var key : NULLS) c.put(key, nodes.nullNode());
    NEUTRAL.forEach((k, v) -> c.put(k, JSON.valueToTree(v)));
    c.put("alpha_pattern", JSON.valueToTree(new TreeMap<>(alphaPattern)));
    c.put("base_model_name_or_path", nodes.textNode(baseModel));
    c.put("inference_mode", nodes.booleanNode(true));
    c.put("init_lora_weights", nodes.booleanNode(true));
    c.put("loftq_config", nodes.objectNode());
    c.put("lora_alpha", alpha == Math.rint(alpha) ? nodes.numberNode((long) alpha) : nodes.numberNode(alpha));
    c.put("lora_dropout", nodes.numberNode(dropout));
    c.put("megatron_core", nodes.textNode("megatron.core"));
    c.put("peft_type", nodes.textNode("LORA"));
    c.put("peft_version", nodes.textNode("0.21.0"));
    c.put("qalora_group_size", nodes.numberNode(16));
    c.put("r", nodes.numberNode(r));
    c.put("rank_pattern", JSON.valueToTree(new TreeMap<>(rankPattern)));
    c.put("revision", nodes.nullNode());
    boolean text = targetRegex || targetModules.equals(List.of("all-linear"));
    c.put("target_modules", text ? nodes.textNode(targetModules.getFirst()) : JSON.valueToTree(targetModules));
    c.put("task_type", nodes.textNode("CAUSAL_LM"));
    c.put("use_rslora", nodes.booleanNode(rslora));
    try {
      return JSON.writeValueAsString(c) + "\n";
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  /// The same configuration naming another base model.
  public LoraConfig onBase(String name) {
    return new LoraConfig(r, alpha, dropout, targetModules, targetRegex, rslora, rankPattern, alphaPattern, name, warnings);
  }
}
