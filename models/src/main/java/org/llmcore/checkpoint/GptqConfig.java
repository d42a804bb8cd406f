package org.llmcore.checkpoint;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;

import org.llmcore.InvalidInput;

/// What a GPTQ checkpoint says about itself: `quantization_config` in `config.json` (transformers), `quantize_config.json`
/// beside it (AutoGPTQ, GPTQModel), or both.
///
/// @param group input columns per group, −1 for whole rows
/// @param actOrder `desc_act`: columns were quantized by descending input
/// @param version how zeros are said to be stored
/// @param dynamic bits of layers whose names match a pattern, where they differ (`dynamic`, GPTQModel and vLLM); what the files
///     hold is told by their shapes
/// @param damp damping, told to whoever reads the file
/// @param groups sizes that patterns name for their layers, in place of `group`
/// @param agreed whether all files that name a version name this one
public record GptqConfig(int bits, int group, boolean symmetric, boolean actOrder, boolean staticGroups, Version version,
    Map<String, Integer> dynamic, double damp, Set<Integer> groups, boolean agreed) {
  /// How `qzeros` stores a zero z.
  public enum Version {
    /// As z − 1: what AutoGPTQ wrote from the start; z = 0 has no form.
    V1("gptq"),
    /// As z.
    V2("gptq_v2");

    private final String label;

    Version(String label) {
      this.label = label;
    }

    /// `checkpoint_format` of the config.
    public String label() {
      return label;
    }

    /// What is added to a stored value.
    public int offset() {
      return this == V1 ? 1 : 0;
    }
  }

  /// The name under which AutoGPTQ looks for settings.
  public static final String FILE = "quantize_config.json";

  private static final Set<Integer> WIDTHS = Set.of(2, 3, 4, 8);

  /// @throws InvalidInput naming what cannot be
  public GptqConfig {
    if (!WIDTHS.contains(bits)) throw new InvalidInput("bits is " + bits, "GPTQ weights of 2, 3, 4 and 8 bits are supported");
    dynamic = Collections.unmodifiableMap(new LinkedHashMap<>(dynamic));
    checkGroup(group);
    groups = Collections.unmodifiableSet(new LinkedHashSet<>(groups));
    groups.forEach(GptqConfig::checkGroup);
  }

  /// Settings whose layers may differ in bits only.
  public GptqConfig(int bits, int group, boolean symmetric, boolean actOrder, boolean staticGroups, Version version, Map<String, Integer> dynamic,
      double damp) {
    this(bits, group, symmetric, actOrder, staticGroups, version, dynamic, damp, Set.of(), true);
  }

  private static void checkGroup(int group) {
    if (group != -1 && (group < 1 || group > 1 << 20))
        throw new InvalidInput("group_size is " + group, "expected a positive number, or -1 for whole rows");
  }

  /// The settings of a model folder; none if it is not a GPTQ checkpoint.
  /// @throws InvalidInput if they cannot be used, or the two files contradict each other
  public static Optional<GptqConfig> find(Path folder) {
    var own = folder.resolve(FILE);
    var beside = Files.exists(own)
        ? Optional.of(JsonFile.read(own, "download it again", GptqConfig::of)) : Optional.<GptqConfig>empty();
    var inside = JsonFile.read(
        folder.resolve("config.json"), "give a Hugging Face model folder",
        c -> c.has("quantization_config") ? Optional.of(of(c.in("quantization_config"))) : Optional.<GptqConfig>empty());
    if (inside.isPresent() && beside.isPresent()
        && (inside.get().bits != beside.get().bits || inside.get().group != beside.get().group)) {
      throw new InvalidInput(
          "config.json says %d bits in groups of %d, %s says %d in groups of %d"
              .formatted(inside.get().bits, inside.get().group, FILE, beside.get().bits, beside.get().group),
          "the two must belong to the same weights; delete the wrong one");
    }
    return inside.map(c -> beside.isPresent() && beside.get().version != c.version ? c.disputed() : c).or(() -> beside);
  }

  private GptqConfig disputed() {
    return new GptqConfig(bits, group, symmetric, actOrder, staticGroups, version, dynamic, damp, groups, false);
  }

  /// Whether a `quantization_config` is one of GPTQ: early ones do not name the method.
  static boolean means(JsonFile c) {
    return c.text("quant_method", c.has("bits") || c.has("w_bit") ? "gptq" : "").equalsIgnoreCase("gptq");
  }

  private static GptqConfig of(JsonFile c) {
    var method = c.text("quant_method", "gptq");
    if (!method.equalsIgnoreCase("gptq")) {
      throw new InvalidInput("quant_method is '" + JsonFile.brief(method) + "'",
          "give the model as it was before quantization, or a GPTQ checkpoint");
    }
    if (c.flag("lm_head", false))
        throw new InvalidInput("lm_head is true: the vocabulary projection is quantized", "only the blocks' layers may be");
    if (c.flag("is_marlin_format", false))
        throw new InvalidInput("is_marlin_format is true", "save the checkpoint in the format gptq");
    if (!c.text("pack_dtype", "int32").equals("int32"))
        throw new InvalidInput("pack_dtype is '" + JsonFile.brief(c.text("pack_dtype", "")) + "'", "save the checkpoint with int32");
    return new GptqConfig(
        bits(c),
        c.has("q_group_size") && !c.has("group_size") ? c.integer("q_group_size") : c.integer("group_size", -1),
        c.flag("sym", true), c.flag("desc_act", false), c.flag("static_groups", false), version(c),
        dynamic(c), c.object().path("damp_percent").asDouble(0.01), groups(c), true);
  }

  private static int bits(JsonFile c) {
    return c.integer(c.has("bits") ? "bits" : "w_bit");
  }

  private static Map<String, Integer> dynamic(JsonFile c) {
    var out = new LinkedHashMap<String, Integer>();
    for (var e : c.object().path("dynamic").properties()) out.put(e.getKey(), e.getValue().path("bits").asInt(bits(c)));
    return out;
  }

  private static Set<Integer> groups(JsonFile c) {
    var out = new LinkedHashSet<Integer>();
    for (var rule : c.object().path("dynamic")) if (rule.path("group_size").isInt()) out.add(rule.path("group_size").asInt());
    return out;
  }

  /// Whether layers may differ in bits.
  public boolean mixed() {
    return !dynamic.isEmpty();
  }

  private static Version version(JsonFile c) {
    var key = c.has("checkpoint_format") ? "checkpoint_format" : "format";
    var label = c.text(key, "gptq");
    for (var v : Version.values()) if (v.label.equalsIgnoreCase(label)) return v;
    throw new InvalidInput(key + " is '" + JsonFile.brief(label) + "'", "supported are gptq and gptq_v2");
  }

  /// As AutoGPTQ, GPTQModel and transformers read it.
  /// @param quantizer what wrote the weights, for example `llm-core`
  public ObjectNode toJson(String quantizer) {
    var c = JsonNodeFactory.instance.objectNode();
    c.put("quant_method", "gptq");
    c.put("bits", bits);
    c.put("group_size", group);
    c.put("desc_act", actOrder);
    c.put("sym", symmetric);
    c.put("damp_percent", damp);
    c.put("true_sequential", true);
    c.put("static_groups", staticGroups);
    c.put("lm_head", false);
    c.put("checkpoint_format", version.label);
    if (mixed()) {
      var patterns = c.putObject("dynamic");
      dynamic.forEach((pattern, b) -> patterns.putObject(pattern).put("bits", b));
    }
    c.putNull("model_name_or_path");
    c.put("model_file_base_name", "model");
    c.putObject("meta").putArray("quantizer").add(quantizer);
    return c;
  }
}
