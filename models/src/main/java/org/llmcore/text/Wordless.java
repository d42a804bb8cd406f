package org.llmcore.text;

import java.util.List;
import java.util.OptionalInt;

import org.llmcore.InvalidInput;

/// Stands where a model has no tokenizer: ids go in and come out, text does neither. Enough for logits, for continuing ids, for
/// merging and for training on ids; whoever gives text is told what is missing.
///
/// @param size rows of the model's embedding
/// @param bos as the model's configuration says
/// @param ends ids that end a sequence, as the model's configuration says
/// @param missing what was looked for
/// @param hint what to do about it
public record Wordless(int size, OptionalInt bos, List<Integer> ends, String missing, String hint) implements Tokenizer {
  public Wordless {
    ends = List.copyOf(ends);
  }

  @Override
  public OptionalInt eos() {
    return ends.isEmpty() ? OptionalInt.empty() : OptionalInt.of(ends.getFirst());
  }

  @Override
  public boolean addsBos() {
    return bos.isPresent();
  }

  @Override
  public boolean addsEos() {
    return false;
  }

  /// @throws InvalidInput always: there is nothing to encode with
  @Override
  public int[] encode(String text) {
    throw new InvalidInput(missing, hint);
  }

  @Override
  public String piece(int id) {
    if (id < 0 || id >= size) throw new IllegalArgumentException("id " + id + " of " + size);
    return "<" + id + ">";
  }

  @Override
  public boolean control(int id) {
    return bos.equals(OptionalInt.of(id)) || ends.contains(id);
  }

  @Override
  public String decode(int... ids) {
    return "";
  }

  @Override
  public TextStream stream() {
    return new TextStream() {
      @Override
      public String next(int id) {
        return "";
      }

      @Override
      public String finish() {
        return "";
      }
    };
  }
}
