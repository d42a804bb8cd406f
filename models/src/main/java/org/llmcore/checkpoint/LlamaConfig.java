package org.llmcore.checkpoint;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

import org.llmcore.InvalidInput;

/// The shape of a Llama model, as `config.json` of transformers 4 and 5 gives it. Nothing that changes results is filled from
/// a library's defaults: what is missing is named.
///
/// @param headDim width of one head; given, or hidden / heads
/// @param rmsEps added to the mean square in every norm
/// @param ropeScale linear position interpolation, 1 for none
/// @param tiedHead whether the vocabulary projection is the embedding
/// @param eos ids that end a sequence
/// @param dtype how the file says its weights are stored (`float32`, `bfloat16`, …)
public record LlamaConfig(
    int vocabulary, int hidden, int intermediate, int layers, int heads, int kvHeads, int headDim, int contextLength,
    double rmsEps, double ropeTheta, double ropeScale, boolean tiedHead, OptionalInt bos, List<Integer> eos, OptionalInt pad, String dtype) {
  private static final ObjectMapper JSON = new ObjectMapper();

  public LlamaConfig {
    positive("vocabulary", vocabulary, 1 << 24);
    positive("hidden size", hidden, 1 << 20);
    positive("intermediate size", intermediate, 1 << 22);
    positive("layers", layers, 1 << 12);
    positive("heads", heads, 1 << 12);
    positive("key/value heads", kvHeads, 1 << 12);
    positive("head dimension", headDim, 1 << 14);
    positive("context length", contextLength, 1 << 24);
    if (heads % kvHeads != 0) throw new InvalidInput(heads + " heads with " + kvHeads + " key/value heads", "heads must be a multiple of key/value heads");
    if (headDim % 2 != 0) throw new InvalidInput("head dimension " + headDim + " is odd", "rotary positions need pairs");
    if (!(rmsEps >= 0 && rmsEps < 1)) throw new InvalidInput("rms_norm_eps is " + rmsEps, "expected a small number such as 1e-5");
    if (!(ropeTheta > 0) || !(ropeScale > 0)) throw new InvalidInput("rope theta " + ropeTheta + " and factor " + ropeScale, "expected positive numbers");
    eos = List.copyOf(eos);
  }

  private static void positive(String what, int value, int limit) {
    if (value < 1 || value > limit) throw new InvalidInput(what + " is " + value, "expected 1 … " + limit);
  }

  /// Reads `config.json`.
  /// @throws InvalidInput naming the key that is missing or the feature that is not supported
  public static LlamaConfig read(Path file) {
    JsonNode c;
    try {
      if (!Files.isRegularFile(file)) throw new InvalidInput("there is no " + file, "give a Hugging Face model folder with a config.json");
      c = JSON.readTree(Files.readString(file));
    } catch (IOException e) {
      throw new InvalidInput("cannot read " + file + ": " + e.getMessage(), "expected a JSON object", e);
    }
    if (c == null || !c.isObject()) throw new InvalidInput(file + " is not a JSON object", "expected a Hugging Face config.json");
    var type = c.path("model_type").asText("");
    if (!type.equals("llama")) throw new InvalidInput(file + ": model_type is '" + type + "'", "only 'llama' is supported");
    var activation = c.path("hidden_act").asText("silu");
    if (!activation.equals("silu")) throw new InvalidInput(file + ": hidden_act is '" + activation + "'", "only 'silu' is supported");
    for (var key : List.of("attention_bias", "mlp_bias")) {
      if (c.path(key).asBoolean(false)) throw new InvalidInput(file + ": " + key + " is true", "linear layers with bias are not supported");
    }
    int hidden = integer(file, c, "hidden_size");
    int heads = integer(file, c, "num_attention_heads");
    if (!c.hasNonNull("head_dim") && (heads < 1 || hidden % heads != 0)) {
      throw new InvalidInput(file + ": hidden_size " + hidden + " is no multiple of " + heads + " heads", "give head_dim");
    }
    return new LlamaConfig(
        integer(file, c, "vocab_size"), hidden, integer(file, c, "intermediate_size"), integer(file, c, "num_hidden_layers"), heads,
        c.hasNonNull("num_key_value_heads") ? integer(file, c, "num_key_value_heads") : heads,
        c.hasNonNull("head_dim") ? integer(file, c, "head_dim") : hidden / heads,
        integer(file, c, "max_position_embeddings"), number(file, c, "rms_norm_eps"), theta(file, c), scale(file, c),
        c.path("tie_word_embeddings").asBoolean(false), id(c, "bos_token_id"), ids(c.path("eos_token_id")), id(c, "pad_token_id"),
        c.path(c.hasNonNull("dtype") ? "dtype" : "torch_dtype").asText("float32"));
  }

  private static int integer(Path file, JsonNode c, String key) {
    var v = c.path(key);
    if (!v.canConvertToInt() || !v.isIntegralNumber()) throw missing(file, key, v, "an integer");
    return v.intValue();
  }

  private static double number(Path file, JsonNode c, String key) {
    if (!c.path(key).isNumber()) throw missing(file, key, c.path(key), "a number");
    return c.path(key).doubleValue();
  }

  private static InvalidInput missing(Path file, String key, JsonNode found, String expected) {
    return new InvalidInput(file + ": " + key + (found.isMissingNode() ? " is missing" : " is " + found), "expected " + expected + "; nothing is assumed for it");
  }

  /// transformers 5 keeps rotary settings in `rope_parameters`, 4 beside the rest and in `rope_scaling`. A config without
  /// `rope_theta` is older than the key, when 10000 was the only value.
  private static double theta(Path file, JsonNode c) {
    var inner = c.path("rope_parameters");
    if (inner.hasNonNull("rope_theta")) return number(file, inner, "rope_theta");
    return c.hasNonNull("rope_theta") ? number(file, c, "rope_theta") : 10000;
  }

  private static double scale(Path file, JsonNode c) {
    var r = c.hasNonNull("rope_parameters") ? c.path("rope_parameters") : c.path("rope_scaling");
    if (r.isMissingNode() || r.isNull()) return 1;
    var type = r.path(r.hasNonNull("rope_type") ? "rope_type" : "type").asText("default");
    return switch (type) {
      case "default" -> 1;
      case "linear" -> number(file, r, "factor");
      default -> throw new InvalidInput(file + ": rope type is '" + type + "'", "supported are 'default' and 'linear'");
    };
  }

  private static OptionalInt id(JsonNode c, String key) {
    return c.path(key).canConvertToInt() && c.path(key).isNumber() ? OptionalInt.of(c.path(key).intValue()) : OptionalInt.empty();
  }

  private static List<Integer> ids(JsonNode v) {
    var out = new ArrayList<Integer>();
    if (v.isNumber()) out.add(v.intValue());
    else if (v.isArray()) v.forEach(e -> out.add(e.intValue()));
    return out;
  }

  /// `config.json` as transformers 4 and 5 read it.
  public String toJson() {
    var c = JSON.createObjectNode();
    c.putArray("architectures").add("LlamaForCausalLM");
    c.put("attention_bias", false);
    if (bos.isPresent()) c.put("bos_token_id", bos.getAsInt());
    if (eos.size() == 1) c.put("eos_token_id", eos.getFirst());
    else if (!eos.isEmpty()) eos.forEach(c.putArray("eos_token_id")::add);
    c.put("head_dim", headDim);
    c.put("hidden_act", "silu");
    c.put("hidden_size", hidden);
    c.put("intermediate_size", intermediate);
    c.put("max_position_embeddings", contextLength);
    c.put("mlp_bias", false);
    c.put("model_type", "llama");
    c.put("num_attention_heads", heads);
    c.put("num_hidden_layers", layers);
    c.put("num_key_value_heads", kvHeads);
    if (pad.isPresent()) c.put("pad_token_id", pad.getAsInt());
    c.put("rms_norm_eps", rmsEps);
    if (ropeScale == 1) c.putNull("rope_scaling");
    else c.putObject("rope_scaling").put("type", "linear").put("rope_type", "linear").put("factor", ropeScale);
    c.put("rope_theta", ropeTheta);
    c.put("tie_word_embeddings", tiedHead);
    c.put("torch_dtype", dtype);
    c.put("vocab_size", vocabulary);
    return c.toPrettyString() + "\n";
  }

  /// `generation_config.json` with the ids that start and end a sequence.
  public String generationJson() {
    var c = JSON.createObjectNode();
    c.put("_from_model_config", true);
    if (bos.isPresent()) c.put("bos_token_id", bos.getAsInt());
    if (eos.size() == 1) c.put("eos_token_id", eos.getFirst());
    else eos.forEach(c.putArray("eos_token_id")::add);
    return c.toPrettyString() + "\n";
  }

  /// Number of parameters: V·C·(1 or 2) + layers·(2·C·H·D + 2·C·G·D + 3·C·F + 2·C) + C.
  public long parameters() {
    long c = hidden;
    long block = 2 * c * heads * headDim + 2 * c * kvHeads * headDim + 3 * c * intermediate + 2 * c;
    return (tiedHead ? 1L : 2L) * vocabulary * c + layers * block + c;
  }

  /// The same model with weights said to be stored as `dtype`.
  public LlamaConfig stored(String dtype) {
    return new LlamaConfig(
        vocabulary, hidden, intermediate, layers, heads, kvHeads, headDim, contextLength, rmsEps, ropeTheta, ropeScale, tiedHead, bos, eos, pad, dtype);
  }
}
