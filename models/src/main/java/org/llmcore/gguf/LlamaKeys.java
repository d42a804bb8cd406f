package org.llmcore.gguf;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import org.llmcore.checkpoint.LlamaConfig;

/// The keys of a GGUF file that say what shape a Llama has.
public final class LlamaKeys {
  private static final int QUANTIZATION_VERSION = 2;
  private static final String EOS = "tokenizer.ggml.eos_token_id";

  private LlamaKeys() {}

  /// @param name what the model is called
  /// @param most how most matrices are stored
  public static Map<String, Object> of(LlamaConfig c, String name, GgufType most) {
    var keys = new LinkedHashMap<String, Object>();
    keys.put("general.architecture", "llama");
    keys.put("general.name", name);
    keys.put("general.file_type", fileType(most));
    if (most.blocks().isPresent()) keys.put("general.quantization_version", QUANTIZATION_VERSION);
    keys.put("llama.vocab_size", c.vocabulary());
    keys.put("llama.context_length", c.contextLength());
    keys.put("llama.embedding_length", c.hidden());
    keys.put("llama.block_count", c.layers());
    keys.put("llama.feed_forward_length", c.intermediate());
    keys.put("llama.attention.head_count", c.heads());
    keys.put("llama.attention.head_count_kv", c.kvHeads());
    keys.put("llama.attention.layer_norm_rms_epsilon", (float) c.rmsEps());
    keys.put("llama.rope.dimension_count", c.headDim());
    keys.put("llama.rope.freq_base", (float) c.ropeTheta());
    if (c.headDim() * c.heads() != c.hidden()) {
      keys.put("llama.attention.key_length", c.headDim());
      keys.put("llama.attention.value_length", c.headDim());
    }
    if (c.ropeScale() != 1) {
      keys.put("llama.rope.scaling.type", "linear");
      keys.put("llama.rope.scaling.factor", (float) c.ropeScale());
    }
    return keys;
  }

  /// Adds what ends a text for the model to what its tokenizer says: the end of a turn, where that is another id.
  public static void ends(Map<String, Object> keys, LlamaConfig c) {
    if (c.eos().isEmpty()) return;
    if (!(keys.get(EOS) instanceof Integer id && c.eos().contains(id))) keys.put(EOS, c.eos().getFirst());
    c.eos().stream().filter(id -> !id.equals(keys.get(EOS))).findFirst()
        .ifPresent(id -> keys.put("tokenizer.ggml.eot_token_id", id));
  }

  /// What keys in f32, or of one number where there may be several, cannot hold of a configuration.
  public static List<String> lost(LlamaConfig c) {
    var lost = new ArrayList<String>();
    for (double d : new double[] {c.rmsEps(), c.ropeTheta(), c.ropeScale()}) {
      if (Double.parseDouble(Float.toString((float) d)) != d) lost.add("GGUF holds numbers in f32: " + d + " becomes "
          + (float) d);
    }
    if (c.eos().size() > 2) lost.add("GGUF has a place for two ids that end a text, the model has " + c.eos());
    return lost;
  }

  /// llama.cpp's name for a mixture: of the type of most matrices.
  private static int fileType(GgufType type) {
    return switch (type) {
      case F32 -> 0;
      case F16 -> 1;
      case BF16 -> 32;
      case Q8_0 -> 7;
      case Q4_0 -> 2;
      case Q4_1 -> 3;
      case Q5_0 -> 8;
      case Q5_1 -> 9;
      case Q4_K -> 14;
      case Q5_K -> 16;
      case Q6_K -> 18;
    };
  }
}
