package org.llmcore.peft;

import java.util.List;

import org.llmcore.checkpoint.AdapterConfig;
import org.llmcore.model.Decoder;
import org.llmcore.model.Parameters;

/// A small set of trained values on a frozen model.
public sealed interface Adapter permits Lora, SoftPrompt {
  AdapterConfig config();

  /// The model as the adapter changes it.
  Decoder decoder();

  /// What is trained, f32, under PEFT's names.
  Parameters parameters();

  /// What its configuration names that the model does not have, in sentences.
  default List<String> notes() {
    return List.of();
  }

  /// Coordinates of the next micro-batch's random decisions, where the adapter makes any.
  default void at(long seed, long step, long row) {}
}
