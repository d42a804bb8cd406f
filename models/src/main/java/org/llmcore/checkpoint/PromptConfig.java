package org.llmcore.checkpoint;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;

import org.llmcore.InvalidInput;

/// Prompt tuning as PEFT configures it (Lester et al. 2021, arXiv:2104.08691): `n` trained embeddings before every sequence.
///
/// @param virtualTokens rows of the prompt
/// @param width hidden width C of the model
/// @param heads attention heads of the model, `layers` its blocks: PEFT keeps them in the file
/// @param text the prompt starts as the embeddings of this text (TEXT); without one, as those of random pieces of the vocabulary
///     (SAMPLE_VOCAB) or,
/// @param normal as numbers of the standard normal distribution (RANDOM, PEFT's default, far larger than embeddings are)
public record PromptConfig(
    int virtualTokens, int width, int heads, int layers, Optional<String> text, String baseModel, List<String> warnings,
        boolean normal)
    implements AdapterConfig {
  private static final Set<String> KNOWN =
      Set.of(
          "auto_mapping", "base_model_name_or_path", "inference_mode", "modules_to_save", "num_attention_heads", "num_layers",
          "num_transformer_submodules", "num_virtual_tokens", "peft_type", "peft_version", "prompt_tuning_init",
          "prompt_tuning_init_text", "revision", "task_type", "token_dim", "tokenizer_kwargs", "tokenizer_name_or_path");

  public PromptConfig {
    if (virtualTokens < 1 || virtualTokens > 1 << 16) throw new InvalidInput("a prompt of " + virtualTokens + " virtual tokens", "expected 1 … 65536, for example 20");
    if (normal && text.isPresent()) throw new InvalidInput("a soft prompt starts as a text and as random numbers", "choose one");
    if (width < 1) throw new InvalidInput("token_dim is " + width, "expected the hidden width of the model");
    warnings = List.copyOf(warnings);
  }

  /// A prompt that starts as words.
  public PromptConfig(int virtualTokens, int width, int heads, int layers, Optional<String> text, String baseModel,
      List<String> warnings) {
    this(virtualTokens, width, heads, layers, text, baseModel, warnings, false);
  }

  /// The same prompt, starting as numbers instead of words, or not.
  public PromptConfig startingAsNumbers(boolean normal) {
    return new PromptConfig(virtualTokens, width, heads, layers, text, baseModel, warnings, normal);
  }

  /// A prompt for a model.
  public static PromptConfig of(LlamaConfig model, int virtualTokens, Optional<String> text) {
    return new PromptConfig(virtualTokens, model.hidden(), model.heads(), model.layers(), text, "", List.of());
  }

  /// Reads `adapter_config.json`; features that would change results and are not supported are refused by name.
  public static PromptConfig read(Path file) {
    return JsonFile.read(file, "give an adapter folder as PEFT writes it", PromptConfig::of);
  }

  private static PromptConfig of(JsonFile c) {
    if (c.has("modules_to_save") && !c.object().path("modules_to_save").isEmpty()) throw new InvalidInput("modules_to_save is set beside a soft prompt", "this is not supported");
    int submodules = c.integer("num_transformer_submodules", 1);
    if (submodules != 1) throw new InvalidInput("num_transformer_submodules is " + submodules, "a decoder has 1");
    var warnings = new ArrayList<String>();
    for (var e : c.object().properties()) if (!KNOWN.contains(e.getKey())) warnings.add("unknown key " + JsonFile.brief(e.getKey()));
    var text = c.has("prompt_tuning_init_text") ? Optional.of(c.text("prompt_tuning_init_text", "")) : Optional.<String>empty();
    return new PromptConfig(
        c.integer("num_virtual_tokens", 0), c.integer("token_dim", 0), c.integer("num_attention_heads", 1), c.integer("num_layers", 1), text,
        c.text("base_model_name_or_path", ""), warnings, text.isEmpty() && c.text("prompt_tuning_init",
            "RANDOM").equals("RANDOM"));
  }

  @Override
  public String toJson() {
    var c = JsonNodeFactory.instance.objectNode();
    c.putNull("auto_mapping");
    c.put("base_model_name_or_path", baseModel.isEmpty() ? null : baseModel);
    c.put("inference_mode", true);
    c.putNull("modules_to_save");
    c.put("num_attention_heads", heads);
    c.put("num_layers", layers);
    c.put("num_transformer_submodules", 1);
    c.put("num_virtual_tokens", virtualTokens);
    c.put("peft_type", "PROMPT_TUNING");
    c.put("peft_version", "0.21.0");
    c.put("prompt_tuning_init", text.isPresent() ? "TEXT" : normal ? "RANDOM" : "SAMPLE_VOCAB");
    c.put("prompt_tuning_init_text", text.orElse(null));
    c.putNull("revision");
    c.put("task_type", "CAUSAL_LM");
    c.put("token_dim", width);
    c.putNull("tokenizer_kwargs");
    // PEFT wants a name here for TEXT, though it reads no tokenizer when it loads an adapter for inference.
    c.put("tokenizer_name_or_path", text.isPresent() ? baseModel.isEmpty() ? "unknown" : baseModel : null);
    return c.toPrettyString() + "\n";
  }

  @Override
  public PromptConfig onBase(String name) {
    return new PromptConfig(virtualTokens, width, heads, layers, text, name, warnings, normal);
  }
}
