package org.llmcore.gguf;

import java.util.Map;
import java.util.Optional;

import org.llmcore.checkpoint.LlamaConfig;

/// What GGUF calls a Llama's tensors, and in which order it has the rows of q and k.
///
/// llama.cpp's rotary embedding pairs neighbours (2i, 2i+1), Hugging Face's pairs halves (i, i + d/2). Rows of the other
/// tensors lie alike.
public final class LlamaNames {
  private static final Map<String, String> OUTER =
      Map.of("token_embd.weight", "model.embed_tokens.weight", "output_norm.weight", "model.norm.weight", "output.weight",
          "lm_head.weight");
  private static final Map<String, String> LAYER =
      Map.of(
          "attn_norm", "input_layernorm", "attn_q", "self_attn.q_proj", "attn_k", "self_attn.k_proj", "attn_v",
              "self_attn.v_proj",
          "attn_output", "self_attn.o_proj", "ffn_norm", "post_attention_layernorm", "ffn_gate", "mlp.gate_proj", "ffn_up",
              "mlp.up_proj",
          "ffn_down", "mlp.down_proj");

  private LlamaNames() {}

  /// The Hugging Face name of one of GGUF's.
  static Optional<String> published(String gguf) {
    if (OUTER.containsKey(gguf)) return Optional.of(OUTER.get(gguf));
    var parts = gguf.split("\\.", -1);
    boolean block = parts.length == 4 && parts[0].equals("blk") && parts[1].matches("[0-9]{1,4}") && parts[3].equals("weight");
    if (!block || !LAYER.containsKey(parts[2])) return Optional.empty();
    return Optional.of("model.layers." + parts[1] + "." + LAYER.get(parts[2]) + ".weight");
  }

  /// GGUF's name of a Hugging Face name.
  /// @throws IllegalArgumentException if a Llama has no such tensor
  public static String gguf(String published) {
    for (var e : OUTER.entrySet()) if (e.getValue().equals(published)) return e.getKey();
    for (var e : LAYER.entrySet()) {
      var name = published.replaceFirst("^model\\.layers\\.([0-9]+)\\." + e.getValue().replace(".", "\\.") + "\\.weight$",
          "blk.$1." + e.getKey() + ".weight");
      if (!name.equals(published)) return name;
    }
    throw new IllegalArgumentException("no tensor of a Llama: " + published);
  }

  /// Heads of a tensor whose rows are ordered by the rotary embedding, by its Hugging Face name; 0 for the others.
  public static int heads(String published, LlamaConfig config) {
    return published.endsWith("q_proj.weight") ? config.heads() : published.endsWith("k_proj.weight") ? config.kvHeads() : 0;
  }

  /// The row of neighbours' order that is row r of halves' order, for heads of width d.
  public static int neighbours(int r, int d) {
    int i = r % d;
    return r - i + (i < d / 2 ? 2 * i : 2 * (i - d / 2) + 1);
  }

  /// The row of halves' order that is row r of neighbours' order, for heads of width d.
  public static int halves(int r, int d) {
    int i = r % d;
    return r - i + i / 2 + i % 2 * (d / 2);
  }
}
