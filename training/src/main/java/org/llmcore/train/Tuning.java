package org.llmcore.train;

import java.util.Optional;

import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.model.Decoder;
import org.llmcore.model.Parameters;
import org.llmcore.peft.Lora;
import org.llmcore.tensor.Region;

/// What is trained: all parameters of a model, or an adapter on a frozen one.
///
/// @param decoder the model to run, decorated if there is an adapter
/// @param trained the parameters that training changes and checkpoints keep
public record Tuning(Decoder decoder, Parameters trained, Optional<Lora> lora) {
  /// Everything is trained; the decoder must have been carved as trainable.
  public static Tuning full(Decoder decoder) {
    return new Tuning(decoder, decoder.parameters(), Optional.empty());
  }

  /// A LoRA adapter, carved in `region`, on a frozen base.
  public static Tuning lora(Decoder base, LoraConfig config, Region region) {
    var lora = Lora.attach(base, config, region);
    return new Tuning(lora.decoder(), lora.parameters(), Optional.of(lora));
  }

  void at(long seed, long step, long row) {
    lora.ifPresent(l -> l.masks().at(seed, step, row));
  }
}
