package org.llmcore.train;

import java.util.Optional;

import org.llmcore.checkpoint.AdapterConfig;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.checkpoint.PromptConfig;
import org.llmcore.model.Decoder;
import org.llmcore.model.Parameters;
import org.llmcore.peft.Adapter;
import org.llmcore.peft.Lora;
import org.llmcore.peft.SoftPrompt;
import org.llmcore.tensor.Region;

/// What is trained: all parameters of a model, or an adapter on a frozen one.
///
/// @param decoder the model to run, decorated if there is an adapter
/// @param trained the parameters that training changes and checkpoints keep
public record Tuning(Decoder decoder, Parameters trained, Optional<Adapter> adapter) {
  /// Everything is trained; the decoder must have been carved as trainable.
  public static Tuning full(Decoder decoder) {
    return new Tuning(decoder, decoder.parameters(), Optional.empty());
  }

  /// A LoRA adapter, carved in `region`, on a frozen base.
  public static Tuning lora(Decoder base, LoraConfig config, Region region) {
    return of(Lora.attach(base, config, region));
  }

  /// An adapter of any method, carved in `region`, on a frozen base.
  public static Tuning adapter(Decoder base, AdapterConfig config, Region region) {
    return of(
        switch (config) {
          case LoraConfig c -> Lora.attach(base, c, region).checked();
          case PromptConfig c -> SoftPrompt.attach(base, c, region);
        });
  }

  private static Tuning of(Adapter adapter) {
    return new Tuning(adapter.decoder(), adapter.parameters(), Optional.of(adapter));
  }

  /// The adapter, if it is a LoRA.
  public Optional<Lora> lora() {
    return adapter.flatMap(a -> a instanceof Lora l ? Optional.of(l) : Optional.empty());
  }

  void at(long seed, long step, long row) {
    adapter.ifPresent(a -> a.at(seed, step, row));
  }
}
