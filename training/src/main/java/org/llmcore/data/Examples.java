package org.llmcore.data;

import java.util.Arrays;

import org.llmcore.InvalidInput;
import org.llmcore.text.Tokenizer;

/// Samples to examples: the one place where it is decided what is learned.
///
/// | sample      | tokens                                              | learned                       |
/// |-------------|-----------------------------------------------------|-------------------------------|
/// | Chat        | as the chat form spells it                          | answers of weight 1, each EOS |
/// | Pair        | [BOS] prompt · completion · EOS                     | completion, EOS               |
/// | Instruction | [BOS] Alpaca's prompt · output · EOS                | output, EOS                   |
/// | Document    | [BOS] text · [EOS]                                  | text, EOS                     |
///
/// Prompt and completion are tokenised apart, so the border between them is a border between tokens, in training as in
/// generation. BOS stands where the tokenizer's file asks for it and is never learned; where there is none, a document's first
/// token is given instead, since nothing of the document predicts it.
public record Examples(Tokenizer tokenizer, ChatForm chat) {
  /// @throws InvalidInput if the tokenizer cannot end an answer, or the chat form does not know this sequence of roles
  public Example of(Sample sample) {
    return switch (sample) {
      case Sample.Chat(var turns, var origin) -> chat.encode(turns, origin);
      case Sample.Pair(var prompt, var completion, var origin) -> pair(prompt, completion, origin);
      case Sample.Instruction(var instruction, var input, var output, var origin) ->
        pair(Alpaca.prompt(instruction, input), output, origin);
      case Sample.Document(var text, var origin) -> document(text, origin);
    };
  }

  /// What the model is given at generation where training gave it this prompt.
  public int[] prompt(String text) {
    return begin(text).build("prompt").ids();
  }

  private Example pair(String prompt, String completion, String origin) {
    int eos = tokenizer.eos().orElseThrow(() ->
      new InvalidInput("the tokenizer defines no EOS, so the model could never learn to stop", "use a tokenizer with an EOS token"));
    if (prompt.isEmpty() && !begins())
      throw new InvalidInput("the prompt is empty and the tokenizer begins with no BOS: nothing predicts the first token", "give a prompt");
    return begin(prompt).learned(tokenizer.encode(completion)).learned(eos).build(origin);
  }

  private Example document(String text, String origin) {
    var ids = tokenizer.encode(text);
    if (ids.length == 0) throw new InvalidInput("the document gives no token", "remove it");
    var b = new Example.Builder();
    int from = begins() ? 0 : 1;
    if (begins()) b.given(tokenizer.bos().getAsInt());
    else b.given(ids[0]);
    b.learned(Arrays.copyOfRange(ids, from, ids.length));
    tokenizer.eos().ifPresent(b::learned);
    return b.build(origin);
  }

  private Example.Builder begin(String text) {
    var b = new Example.Builder();
    if (begins()) b.given(tokenizer.bos().getAsInt());
    return b.given(tokenizer.encode(text));
  }

  private boolean begins() {
    return tokenizer.addsBos() && tokenizer.bos().isPresent();
  }
}
