package org.llmcore.quantize;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

import org.llmcore.InvalidInput;
import org.llmcore.data.ChatForm;
import org.llmcore.data.DataFile;
import org.llmcore.data.Example;
import org.llmcore.data.Examples;
import org.llmcore.data.Order;
import org.llmcore.data.Sample;
import org.llmcore.data.TooLong;
import org.llmcore.text.Tokenizer;
import org.llmcore.train.Llama2ChatForm;

/// Token sequences of a data file: those the quantizer sees, and others that it does not, to judge it by.
///
/// Plain text gives windows of `length` tokens, chat and other rows one sequence each, cut to `length`. Nothing is learned from
/// it, so a conversation that Llama 2's chat form cannot spell is taken as text, its messages one below the other. Which
/// sequences are taken is a pure function of the seed.
public record Calibration(List<int[]> text, List<int[]> heldOut) {
  private static final int HELD = 16;

  /// Reads a file.
  /// @param samples most sequences to calibrate on
  /// @param hold whether up to 16 other sequences (an eighth of what there is, at most) are set apart
  /// @throws InvalidInput if the file holds too little
  public static Calibration of(Path file, Tokenizer tokenizer, int length, int samples, boolean hold, long seed) {
    if (samples < 1) throw new InvalidInput(samples + " samples", "expected 1 or more; usual are 128");
    var sequences = sequences(file, tokenizer, length);
    int held = hold && sequences.size() > 1 ? Math.clamp(sequences.size() / 8, 1, HELD) : 0;
    var text = new ArrayList<int[]>();
    var apart = new ArrayList<int[]>();
    for (int i : Order.of(sequences.size(), seed, 0)) {
      if (apart.size() < held) apart.add(sequences.get(i));
      else if (text.size() < samples) text.add(sequences.get(i));
    }
    return new Calibration(List.copyOf(text), List.copyOf(apart));
  }

  /// All sequences of a file, in its order.
  public static List<int[]> sequences(Path file, Tokenizer tokenizer, int length) {
    if (length < 2) throw new InvalidInput("sequences of " + length + " tokens", "expected 2 or more; usual are 2048");
    var loaded = DataFile.detect(file).load(new Examples(tokenizer, new AnyRoles(tokenizer)), length, TooLong.TRUNCATE);
    return loaded.data().examples().stream().map(e -> e.ids()).filter(ids -> ids.length > 1).toList();
  }

  /// Llama 2's chat form, and text where it does not fit.
  private record AnyRoles(Tokenizer tokenizer) implements ChatForm {
    @Override
    public Example encode(List<Sample.Turn> turns, String origin) {
      var form = new Llama2ChatForm(tokenizer);
      try {
        return form.encode(turns, origin);
      } catch (InvalidInput _) {
        var text = turns.stream().map(Sample.Turn::content).collect(Collectors.joining("\n"));
        return new Examples(tokenizer, form).of(new Sample.Document(text, origin));
      }
    }

    @Override
    public int[] prompt(List<Sample.Turn> turns) {
      return new Llama2ChatForm(tokenizer).prompt(turns);
    }
  }

  /// Tokens to calibrate on.
  public long tokens() {
    return text.stream().mapToLong(t -> t.length).sum();
  }
}
