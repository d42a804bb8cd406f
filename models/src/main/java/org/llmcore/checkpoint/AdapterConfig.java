package org.llmcore.checkpoint;

import java.nio.file.Path;

import org.llmcore.InvalidInput;

/// What `adapter_config.json` says: the method of an adapter and its settings, as PEFT writes and reads them.
public sealed interface AdapterConfig permits LoraConfig, PromptConfig {
  /// The model the adapter was trained on, empty if the file does not say.
  String baseModel();

  /// Keys of the file that were not understood.
  java.util.List<String> warnings();

  /// The file's text as PEFT 0.21 writes it: every key, sorted.
  String toJson();

  /// The same configuration naming another base model.
  AdapterConfig onBase(String name);

  /// Reads `adapter_config.json` of any method we have.
  /// @throws InvalidInput naming the method or key that is not supported
  static AdapterConfig read(Path file) {
    var type = JsonFile.read(file, "give an adapter folder as PEFT writes it", c -> c.text("peft_type", ""));
    return switch (type) {
      case "PROMPT_TUNING" -> PromptConfig.read(file);
      case "LORA" -> LoraConfig.read(file);
      default -> throw new InvalidInput(file + " is of peft_type '" + JsonFile.brief(type) + "'", "supported are LORA and PROMPT_TUNING");
    };
  }
}
