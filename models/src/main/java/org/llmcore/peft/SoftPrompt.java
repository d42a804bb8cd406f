package org.llmcore.peft;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.PromptConfig;
import org.llmcore.model.Decoder;
import org.llmcore.model.Initialisation;
import org.llmcore.model.Parameters;
import org.llmcore.model.Tokens;
import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.op.Embedding;
import org.llmcore.op.Pass;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.text.Tokenizer;

/// Prompt tuning (Lester et al. 2021, arXiv:2104.08691) with PEFT's semantics: `prompt_embeddings` (n, C), f32, stand before
/// the embeddings of every sequence, take positions 0 … n−1, are seen by all its tokens and carry no loss.
///
/// @param decoder the model with the prompt in front
public record SoftPrompt(PromptConfig config, Decoder decoder, Parameters parameters) implements Adapter {
  private static final String NAME = "prompt_embeddings";

  /// Carves the prompt, content undefined.
  /// @throws InvalidInput if the prompt has another width than the model, or leaves no room in its context
  public static SoftPrompt attach(Decoder base, PromptConfig config, Region region) {
    var c = base.config();
    if (config.width() != c.hidden()) throw new InvalidInput("the prompt's token_dim is " + config.width() + ", the model's hidden width " + c.hidden(), "the adapter belongs to another base model");
    if (config.virtualTokens() >= c.contextLength()) throw new InvalidInput("a prompt of " + config.virtualTokens() + " virtual tokens", "the context of the model is " + c.contextLength());
    var parameters = new Parameters();
    var prompt = parameters.put(NAME, region.parameter(DType.F32, Shape.of(config.virtualTokens(), config.width())));
    return new SoftPrompt(config, base.prompted(prompt), parameters);
  }

  /// The embeddings of the configured text, cut or repeated to n tokens; without a text, of random pieces, or numbers of the
  /// standard normal distribution.
  public void initialise(Device device, Tokenizer tokenizer, long seed) {
    int n = config.virtualTokens();
    if (config.normal()) {
      try (var host = Region.growing("soft prompt")) {
        var numbers = host.carve(DType.F32, parameters.get(NAME).shape());
        Initialisation.normal(numbers, 1, Dropout.key(seed, NAME.hashCode()));
        device.upload(numbers.segment(), parameters.get(NAME));
      }
      return;
    }
    var ids = new int[n];
    var text = config.text().map(t -> begun(tokenizer, t)).orElse(new int[0]);
    if (config.text().isPresent() && text.length == 0) throw new InvalidInput("the text of the soft prompt gives no token", "give some words");
    long key = Dropout.key(seed, NAME.hashCode());
    for (int i = 0; i < n; i++) ids[i] = text.length > 0 ? text[i % text.length] : (int) (Dropout.uniform(key, i) * tokenizer.size());
    try (var scratch = device.growing("soft prompt")) {
      device.run(new Embedding.Forward(parameters.get(NAME), Tokens.upload(Pass.inference(device, scratch), ids), decoder.embedding()));
      device.synchronize();
    }
  }

  private static int[] begun(Tokenizer tokenizer, String text) {
    var ids = tokenizer.encode(text);
    if (!tokenizer.addsBos() || tokenizer.bos().isEmpty()) return ids;
    var out = new int[ids.length + 1];
    out[0] = tokenizer.bos().getAsInt();
    System.arraycopy(ids, 0, out, 1, ids.length);
    return out;
  }
}
