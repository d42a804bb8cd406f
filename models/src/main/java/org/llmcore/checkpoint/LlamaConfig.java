package org.llmcore.checkpoint;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;

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
    double rmsEps, double ropeTheta, double ropeScale, boolean tiedHead, OptionalInt bos, List<Integer> eos, OptionalInt pad,
    String dtype) {
  public LlamaConfig {
    positive("vocabulary", vocabulary, 1 << 24);
    positive("hidden size", hidden, 1 << 20);
    positive("intermediate size", intermediate, 1 << 22);
    positive("layers", layers, 1 << 12);
    positive("heads", heads, 1 << 12);
    positive("key/value heads", kvHeads, 1 << 12);
    positive("head dimension", headDim, 1 << 14);
    positive("context length", contextLength, 1 << 24);
    // The rotary table is memory that no file holds: it may be as large as the weights, which a file must hold, or 64 MB.
    long table = (long) contextLength * headDim;
    if (table > Math.max(1 << 24, parameters(vocabulary, hidden, intermediate, layers, heads, kvHeads, headDim, tiedHead))) {
      throw new InvalidInput("a context of " + contextLength + " positions needs a rotary table of " + 4 * table
          + " bytes, more than the weights",
          "give the context the model was trained with");
    }
    if (heads % kvHeads != 0) {
      throw new InvalidInput(heads + " heads with " + kvHeads + " key/value heads",
          "heads must be a multiple of key/value heads");
    }
    if (headDim % 2 != 0) throw new InvalidInput("head dimension " + headDim + " is odd", "rotary positions need pairs");
    if (!(rmsEps >= 0 && rmsEps < 1)) throw new InvalidInput("rms_norm_eps is " + rmsEps, "expected a small number such as 1e-5");
    if (!(ropeTheta > 0 && ropeTheta < 1e30) || !(ropeScale > 0 && ropeScale < 1e30)) {
      throw new InvalidInput("rope theta " + ropeTheta + " and factor " + ropeScale, "expected positive numbers");
    }
    eos = List.copyOf(eos);
  }

  private static void positive(String what, int value, int limit) {
    if (value < 1 || value > limit) throw new InvalidInput(what + " is " + value, "expected 1 … " + limit);
  }

  /// Reads `config.json`. Where a `generation_config.json` lies beside it, its ids end a sequence too: transformers obeys that
  /// file, and chat models name the end of a turn only there.
  /// @throws InvalidInput naming the key that is missing or the feature that is not supported
  public static LlamaConfig read(Path file) {
    var c = JsonFile.read(file, "give a Hugging Face model folder with a config.json", LlamaConfig::of);
    var generation = file.resolveSibling("generation_config.json");
    if (!Files.exists(generation)) return c;
    var all = new LinkedHashSet<>(c.eos);
    all.addAll(JsonFile.read(generation, "download it again or delete it", g -> ids(g, c.vocabulary)));
    return c.ending(List.copyOf(all));
  }

  private static LlamaConfig of(JsonFile c) {
    refuse("model_type", c.text("model_type", ""), "llama");
    var act = c.text("hidden_act", "silu");
    if (!act.equals("swish")) refuse("hidden_act", act, "silu"); // two names of one function
    for (var key : List.of("attention_bias", "mlp_bias")) {
      if (c.flag(key, false)) throw new InvalidInput(key + " is true", "linear layers with bias are not supported");
    }
    // GPTQ's are read where the weights are (`GptqConfig`).
    if (c.has("quantization_config") && !GptqConfig.means(c.in("quantization_config"))) {
      throw new InvalidInput("the weights are quantized (quantization_config) by a method other than gptq",
          "give the model as it was before quantization");
    }
    int hidden = c.integer("hidden_size");
    int heads = c.integer("num_attention_heads");
    if (!c.has("head_dim") && (heads < 1 || hidden % heads != 0)) {
      throw new InvalidInput("hidden_size " + hidden + " is no multiple of " + heads + " heads", "give head_dim");
    }
    int vocabulary = c.integer("vocab_size");
    return new LlamaConfig(
        vocabulary, hidden, c.integer("intermediate_size"), c.integer("num_hidden_layers"), heads,
        c.integer("num_key_value_heads", heads), c.has("head_dim") ? c.integer("head_dim") : hidden / heads,
        c.integer("max_position_embeddings"), c.number("rms_norm_eps"), theta(c), scale(c),
        c.flag("tie_word_embeddings", false), id(c, "bos_token_id", vocabulary), ids(c, vocabulary), pad(c, vocabulary),
        c.text(c.has("dtype") ? "dtype" : "torch_dtype", "float32"));
  }

  private static void refuse(String key, String found, String supported) {
    if (!found.equals(supported)) {
      throw new InvalidInput(key + " is '" + JsonFile.brief(found) + "'", "only '" + supported + "' is supported");
    }
  }

  /// transformers 5 keeps rotary settings in `rope_parameters`, 4 beside the rest and in `rope_scaling`. A config without
  /// `rope_theta` is older than the key, when 10000 was the only value.
  private static double theta(JsonFile c) {
    var outer = c.number("rope_theta", 10000);
    double theta = rope(c).map(r -> r.number("rope_theta", outer)).orElse(outer);
    double other = c.has("rope_parameters") ? c.in("rope_parameters").number("rope_theta", theta) : theta;
    if (other == theta) return theta;
    throw new InvalidInput("rope_theta is " + other + " in rope_parameters and " + theta + " beside it", "leave one of them out");
  }

  /// Where both are there, transformers obeys `rope_scaling`, unless it is empty.
  private static Optional<JsonFile> rope(JsonFile c) {
    if (c.has("rope_scaling") && !c.in("rope_scaling").object().isEmpty()) return Optional.of(c.in("rope_scaling"));
    return c.has("rope_parameters") ? Optional.of(c.in("rope_parameters")) : Optional.empty();
  }

  private static double scale(JsonFile c) {
    var rope = rope(c);
    if (rope.isEmpty()) return 1;
    var r = rope.get();
    boolean named = r.has("rope_type") || r.has("type");
    if (!named && r.has("factor")) throw new InvalidInput("rope_scaling has a factor and no rope_type", "say which: 'linear', or 'default' for none");
    var type = r.text(r.has("rope_type") ? "rope_type" : "type", "default");
    return switch (type) {
      case "default" -> 1;
      case "linear" -> r.number("factor");
      default -> throw new InvalidInput("rope type is '" + JsonFile.brief(type) + "'", "supported are 'default' and 'linear'");
    };
  }

  /// Old files say −1 for "none".
  private static OptionalInt id(JsonFile c, String key, int vocabulary) {
    int id = c.integer(key, -1);
    return id < 0 ? OptionalInt.empty() : OptionalInt.of(within(key, id, vocabulary));
  }

  /// Padding takes no part in any result, and old files put it behind the vocabulary.
  private static OptionalInt pad(JsonFile c, int vocabulary) {
    int id = c.integer("pad_token_id", -1);
    return id < 0 || id >= vocabulary ? OptionalInt.empty() : OptionalInt.of(id);
  }

  private static List<Integer> ids(JsonFile c, int vocabulary) {
    var key = "eos_token_id";
    if (!c.object().path(key).isArray()) return id(c, key, vocabulary).stream().boxed().toList();
    var out = new ArrayList<Integer>();
    for (var id : c.object().path(key)) out.add(within(key, c.integer(key, id), vocabulary));
    return out;
  }

  /// An id outside the vocabulary is never generated: a model with such an eos would not stop.
  private static int within(String key, int id, int vocabulary) {
    if (id < 0 || id >= vocabulary) {
      throw new InvalidInput(key + " is " + id, "expected an id in the vocabulary of " + vocabulary);
    }
    return id;
  }

  /// `config.json` as transformers 4 and 5 read it.
  public String toJson() {
    var c = JsonNodeFactory.instance.objectNode();
    c.putArray("architectures").add("LlamaForCausalLM");
    c.put("attention_bias", false);
    ends(c);
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
    var c = JsonNodeFactory.instance.objectNode();
    c.put("_from_model_config", true);
    ends(c);
    return c.toPrettyString() + "\n";
  }

  private void ends(ObjectNode c) {
    if (bos.isPresent()) c.put("bos_token_id", bos.getAsInt());
    if (eos.size() == 1) c.put("eos_token_id", eos.getFirst());
    else if (!eos.isEmpty()) eos.forEach(c.putArray("eos_token_id")::add);
  }

  /// Number of parameters: V·C·(1 or 2) + layers·(2·C·H·D + 2·C·G·D + 3·C·F + 2·C) + C.
  public long parameters() {
    return parameters(vocabulary, hidden, intermediate, layers, heads, kvHeads, headDim, tiedHead);
  }

  private static long parameters(int vocabulary, long c, int intermediate, int layers, int heads, int kvHeads, int headDim,
      boolean tied) {
    long block = 2 * c * heads * headDim + 2 * c * kvHeads * headDim + 3 * c * intermediate + 2 * c;
    return (tied ? 1L : 2L) * vocabulary * c + layers * block + c;
  }

  private LlamaConfig ending(List<Integer> ids) {
    return new LlamaConfig(
        vocabulary, hidden, intermediate, layers, heads, kvHeads, headDim, contextLength, rmsEps, ropeTheta, ropeScale, tiedHead,
        bos, ids, pad, dtype);
  }

  /// The same model with an inner width of `intermediate`.
  public LlamaConfig widened(int intermediate) {
    return new LlamaConfig(
        vocabulary, hidden, intermediate, layers, heads, kvHeads, headDim, contextLength, rmsEps, ropeTheta, ropeScale, tiedHead,
        bos, eos, pad, dtype);
  }

  /// The same model as these tensors make it: transformers uses a vocabulary projection of the files that is not the embedding,
  /// also where `tie_word_embeddings` says that they are one.
  public LlamaConfig fitting(Map<String, Safetensors.Entry> tensors) {
    var head = tensors.get("lm_head.weight");
    var embedding = tensors.get("model.embed_tokens.weight");
    if (!tiedHead || head == null || embedding == null || !Arrays.equals(head.shape(), embedding.shape())) return this;
    boolean same = head.dtype().equals(embedding.dtype()) && head.data().mismatch(embedding.data()) == -1;
    return same ? this : untied();
  }

  /// The same model with a vocabulary projection of its own.
  public LlamaConfig untied() {
    return new LlamaConfig(
        vocabulary, hidden, intermediate, layers, heads, kvHeads, headDim, contextLength, rmsEps, ropeTheta, ropeScale, false,
        bos, eos, pad, dtype);
  }

  /// The same model cut to its first `layers` blocks.
  public LlamaConfig shortened(int layers) {
    return new LlamaConfig(
        vocabulary, hidden, intermediate, layers, heads, kvHeads, headDim, contextLength, rmsEps, ropeTheta, ropeScale, tiedHead,
        bos, eos, pad, dtype);
  }

  /// The same model with weights said to be stored as `dtype`.
  public LlamaConfig stored(String dtype) {
    return new LlamaConfig(
        vocabulary, hidden, intermediate, layers, heads, kvHeads, headDim, contextLength, rmsEps, ropeTheta, ropeScale, tiedHead,
        bos, eos, pad, dtype);
  }
}
