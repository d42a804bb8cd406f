package org.llmcore.data;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

import org.llmcore.InvalidInput;
import org.llmcore.text.Tokenizer;

/// The loss-mask X-ray: what the model will be trained to say, token by token, and the mistakes that make training silently useless.
///
/// @param findings what is wrong with the masks; empty if nothing is
public record MaskReport(int examples, long tokens, long learned, List<Finding> findings) {
  /// The mistakes.
  public enum Fault {
    NO_LOSS("carry no loss: nothing is learned from them", "give each at least one answer that is learned (weight 1)"),
    NO_EOS("learn no EOS: the model would never stop", "end answers with EOS, and do not pad with it"),
    DOUBLE_BOS("have two BOS in a row", "the text already holds a BOS, or it is added twice"),
    CUT_OFF("have an answer that does not end in EOS: it is cut off", "raise the context, or choose to cut or drop long examples");

    private final String words;
    private final String hint;

    Fault(String words, String hint) {
      this.words = words;
      this.hint = hint;
    }
  }

  /// @param examples how many examples have it
  /// @param first where the first of them came from
  public record Finding(Fault fault, int examples, String first) {}

  /// Looks at every example. Running text is not asked for EOS: it may lie in any window.
  public static MaskReport of(DataSet data, Tokenizer tokenizer) {
    var found = new EnumMap<Fault, Finding>(Fault.class);
    boolean answers = data.objective() == Objective.ANSWERS;
    int eos = tokenizer.eos().orElse(-1);
    boolean stops = false;
    for (var e : data.examples()) {
      if (e.learned() == 0) note(found, Fault.NO_LOSS, e);
      if (tokenizer.bos().isPresent() && doubled(e, tokenizer.bos().getAsInt())) note(found, Fault.DOUBLE_BOS, e);
      if (!answers) continue;
      boolean cut = false;
      for (int i = 0; i < e.length(); i++) {
        if (!e.learn()[i]) continue;
        stops |= e.ids()[i] == eos;
        cut |= (i + 1 == e.length() || !e.learn()[i + 1]) && e.ids()[i] != eos;
      }
      if (cut) note(found, Fault.CUT_OFF, e);
    }
    // Where no EOS is learned anywhere, that is what to say, not that each answer lacks it.
    if (answers && !stops && data.size() > 0) {
      found.remove(Fault.CUT_OFF);
      found.put(Fault.NO_EOS, new Finding(Fault.NO_EOS, data.size(), data.examples().getFirst().origin()));
    }
    return new MaskReport(data.size(), data.tokens(), data.learned(), List.copyOf(found.values()));
  }

  /// Refuses to train on masks that are wrong.
  /// @param policy `TRUNCATE` says that cut answers are meant
  /// @throws InvalidInput naming every fault with its count and first example
  public MaskReport require(TooLong policy) {
    var faults = findings.stream().filter(f -> !(f.fault == Fault.CUT_OFF && policy == TooLong.TRUNCATE)).toList();
    if (examples == 0) throw new InvalidInput("there is no example to train on", "add at least one");
    if (faults.isEmpty()) return this;
    throw new InvalidInput(
      faults.stream().map(f -> f.examples + " of " + examples + " examples " + f.fault.words + " (first: " + f.first + ")")
        .collect(Collectors.joining("\n")),
      faults.stream().map(f -> f.fault.hint).collect(Collectors.joining("; ")));
  }

  /// An example as the trainer sees it: runs of tokens that are given and runs that are learned, one a line, in the vocabulary's
  /// spelling. In colour, learned tokens are green and given ones dim.
  public static String render(Example e, Tokenizer tokenizer, boolean colour) {
    var out = new StringBuilder();
    out.append(e.origin()).append(": ").append(e.length()).append(" tokens, ").append(e.learned()).append(" learned\n");
    for (int from = 0, to; from < e.length(); from = to) {
      boolean learned = e.learn()[from];
      var pieces = new ArrayList<String>();
      for (to = from; to < e.length() && e.learn()[to] == learned; to++) pieces.add(visible(tokenizer.piece(e.ids()[to])));
      out.append(learned ? "  learn " : "  given ").append(String.format("%5d…%-5d ", from, to - 1));
      if (colour) out.append(learned ? "\u001b[32m" : "\u001b[2m");
      out.append(String.join("·", pieces));
      if (colour) out.append("\u001b[0m");
      out.append('\n');
    }
    return out.toString();
  }

  /// Control characters in a vocabulary entry would move the cursor or change colours.
  private static String visible(String piece) {
    var out = new StringBuilder();
    piece.codePoints().forEach(c -> {
      switch (c) {
        case '\n' -> out.append("\\n");
        case '\r' -> out.append("\\r");
        case '\t' -> out.append("\\t");
        default -> {
          if (Character.isISOControl(c)) out.append(String.format("\\u%04x", c));
          else out.appendCodePoint(c);
        }
      }
    });
    return out.toString();
  }

  private static boolean doubled(Example e, int bos) {
    for (int i = 1; i < e.length(); i++) if (e.ids()[i] == bos && e.ids()[i - 1] == bos) return true;
    return false;
  }

  private static void note(Map<Fault, Finding> found, Fault fault, Example e) {
    found.merge(fault, new Finding(fault, 1, e.origin()), (a, _) -> new Finding(fault, a.examples + 1, a.first));
  }
}
