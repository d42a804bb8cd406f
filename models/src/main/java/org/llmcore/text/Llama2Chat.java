package org.llmcore.text;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

import org.llmcore.InvalidInput;
import org.llmcore.text.Message.Role;

/// The conversation form of Llama 2's chat models, as Meta's reference (`llama/generation.py`, `chat_completion`) makes it.
///
///     turn    = BOS · encode("[INST] " + strip(user) + " [/INST] " + strip(answer) + " ") · EOS
///     open    = BOS · encode("[INST] " + strip(user) + " [/INST]")
///     first   : user is "<<SYS>>\n" + system + "\n<</SYS>>\n\n" + user, stripped as a whole
///
/// Every turn is encoded as **one string**, so the ids are Meta's. What is learned follows by construction: a turn is
/// learned from the first id that its open form does not share, up to and including EOS. With Llama's tokenizer that
/// is the open form's length exactly, because no piece continues behind `]` with the `▁` of the answer; with a
/// tokenizer that does join there, the joined id already carries answer text and is learned. BOS, EOS are put in by id.
///
/// Contents that hold one of the four control strings are refused, as Meta does: otherwise a user's text could close its
/// own instruction and speak as system or assistant.
public final class Llama2Chat {
  private static final String OPEN = "[INST]";
  private static final String CLOSE = "[/INST]";
  private static final String SYSTEM_OPEN = "<<SYS>>";
  private static final String SYSTEM_CLOSE = "<</SYS>>";
  private static final List<String> CONTROLS = List.of(OPEN, CLOSE, SYSTEM_OPEN, SYSTEM_CLOSE);

  private final Tokenizer tokenizer;
  private final int bos;
  private final int eos;

  /// A stretch of a conversation's ids.
  /// @param ids token ids, shared with nobody
  /// @param learn whether they are what the model shall learn to say: answers and the EOS behind them
  public record Segment(int[] ids, boolean learn) {
  }

  /// One user's contribution with the answer to it, both stripped; the answer is absent in an open turn.
  private record Turn(String instruction, List<String> answer) {
    String open() {
      return OPEN + " " + instruction + " " + CLOSE;
    }

    String whole() {
      return answer.isEmpty() ? open() : open() + " " + answer.getFirst() + " ";
    }
  }

  /// @throws InvalidInput if the tokenizer has no BOS or no EOS
  public Llama2Chat(Tokenizer tokenizer) {
    if (tokenizer.bos().isEmpty() || tokenizer.eos().isEmpty()) {
      throw new InvalidInput("The Llama-2 chat form needs a tokenizer with BOS and EOS; this one lacks "
          + (tokenizer.bos().isEmpty() ? "BOS" : "EOS"), "tokenizer_config.json beside the tokenizer can name them");
    }
    this.tokenizer = tokenizer;
    bos = tokenizer.bos().getAsInt();
    eos = tokenizer.eos().getAsInt();
  }

  /// A conversation for training: the segments in order, their concatenation is the sequence.
  /// @throws InvalidInput if roles do not alternate from user on (after at most one system message), or a content
  ///     holds a control string
  public List<Segment> encode(List<Message> conversation) {
    var segments = new ArrayList<Segment>();
    for (var turn : turns(conversation)) {
      int[] open = tokenizer.encode(turn.open());
      int[] whole = tokenizer.encode(turn.whole());
      int shared = Arrays.mismatch(open, whole);
      int asked = shared < 0 ? open.length : shared;
      int[] front = new int[asked + 1];
      front[0] = bos;
      System.arraycopy(whole, 0, front, 1, asked);
      segments.add(new Segment(front, false));
      if (!turn.answer().isEmpty()) {
        int[] answer = Arrays.copyOfRange(whole, asked, whole.length + 1);
        answer[answer.length - 1] = eos;
        segments.add(new Segment(answer, true));
      }
    }
    return List.copyOf(segments);
  }

  /// The ids a model continues: the conversation up to the `[/INST]` of its last message.
  /// @throws InvalidInput as in `encode`, or if the last message is not the user's
  public int[] prompt(List<Message> conversation) {
    if (conversation.isEmpty() || conversation.getLast().role() != Role.USER) {
      throw new InvalidInput("A conversation to be continued must end with a user message");
    }
    return encode(conversation).stream().flatMapToInt(s -> Arrays.stream(s.ids())).toArray();
  }

  /// The conversation as a person would write it, with BOS and EOS as the tokenizer spells them.
  public String render(List<Message> conversation) {
    return text(conversation, tokenizer.piece(bos), tokenizer.piece(eos));
  }

  /// The conversation as text with the given spellings of BOS and EOS; for display, never to be encoded.
  public static String text(List<Message> conversation, String bos, String eos) {
    var out = new StringBuilder();
    for (var turn : turns(conversation)) {
      out.append(bos).append(turn.whole()).append(turn.answer().isEmpty() ? "" : eos);
    }
    return out.toString();
  }

  private static List<Turn> turns(List<Message> conversation) {
    for (int i = 0; i < conversation.size(); i++) {
      refuseControls(i, conversation.get(i).content());
    }
    boolean system = !conversation.isEmpty() && conversation.getFirst().role() == Role.SYSTEM;
    int first = system ? 1 : 0;
    if (conversation.size() == first) {
      throw new InvalidInput("A conversation needs a user message" + (system ? " behind the system message" : "; it is empty"));
    }
    var turns = new ArrayList<Turn>();
    for (int i = first; i < conversation.size(); i++) {
      var message = conversation.get(i);
      var expected = (i - first) % 2 == 0 ? Role.USER : Role.ASSISTANT;
      if (message.role() != expected) {
        throw new InvalidInput("Message " + (i + 1) + " of the conversation is by " + name(message.role()) + "; expected " + name(expected),
            "roles alternate user, assistant, user … after at most one system message at the beginning");
      }
      if (expected == Role.USER) {
        String before = system && i == first
            ? SYSTEM_OPEN + "\n" + conversation.getFirst().content() + "\n" + SYSTEM_CLOSE + "\n\n" : "";
        turns.add(new Turn(strip(before + message.content()), List.of()));
      } else {
        turns.add(new Turn(turns.removeLast().instruction(), List.of(strip(message.content()))));
      }
    }
    return turns;
  }

  private static void refuseControls(int index, String content) {
    for (String control : CONTROLS) {
      if (content.contains(control)) {
        throw new InvalidInput("Message " + (index + 1) + " of the conversation contains '" + control
            + "', which has a meaning of its own in the Llama-2 chat form", "remove it or write it differently, for instance with a space inside");
      }
    }
  }

  private static String name(Role role) {
    return role.name().toLowerCase(Locale.ROOT);
  }

  /// Python's `str.strip`, which also takes no-break spaces and U+0085.
  private static String strip(String text) {
    int from = 0;
    int to = text.length();
    while (from < to && white(text.charAt(from))) {
      from++;
    }
    while (to > from && white(text.charAt(to - 1))) {
      to--;
    }
    return text.substring(from, to);
  }

  private static boolean white(char c) {
    return Character.isWhitespace(c) || Character.isSpaceChar(c) || c == '\u0085';
  }
}
