package org.llmcore.text;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

import org.llmcore.InvalidInput;
import org.llmcore.text.SentencePieceModel.Piece;
import org.llmcore.text.SentencePieceModel.Type;

/// Learns a byte-pair vocabulary (Sennrich, Haddow & Birch 2016, arXiv:1508.07909) in SentencePiece's form, with the
/// habits of Llama's own: `<unk> <s> </s>`, 256 byte pieces, the joined pieces by the order they were learned (score
/// 0, −1, −2 …), then the single characters by frequency.
///
/// A piece never crosses a word (`▁` begins one; control characters such as the newline stand apart and stay bytes),
/// never holds a digit beside anything, never mixes scripts or letters with signs, and is at most 16 characters long.
/// At each step the most frequent pair of neighbours is joined; among equals the shorter, then the lexicographically
/// smaller text. Nothing depends on chance, threads or hash order: equal texts in equal order give equal bytes.
///
/// Cost: O(words · length) to count, then per joined piece the words that contain the pair.
public final class BpeTrainer {
  private static final int RESERVED = 3 + 256;
  private static final int LONGEST = 16;

  /// A stretch of text that pieces may fill, as symbols; how often it occurs.
  private record Word(int[] symbols, long count) {
  }

  /// A pair as it stood when it was put in the queue.
  private record Candidate(long pair, long count, String text) {
  }

  private static final Comparator<Candidate> BEST_FIRST = Comparator.comparingLong(Candidate::count).reversed()
      .thenComparingInt(c -> c.text().length()).thenComparing(Candidate::text).thenComparingLong(Candidate::pair);

  private final List<String> symbols = new ArrayList<>();
  private final Map<String, Integer> symbolIds = new HashMap<>();
  private final List<Word> words = new ArrayList<>();
  private final Map<Long, Long> counts = new HashMap<>(); // pair → occurrences
  private final Map<Long, Set<Integer>> places = new HashMap<>(); // pair → words that hold or held it
  private final PriorityQueue<Candidate> queue = new PriorityQueue<>(BEST_FIRST);

  private BpeTrainer() {
  }

  /// Learns a tokenizer of exactly `vocabulary` ids.
  /// @throws InvalidInput if the texts do not hold enough different pieces, or the size leaves no room for any
  public static SentencePieceBpe train(Iterable<String> texts, int vocabulary) {
    if (vocabulary < RESERVED + 1) {
      throw new InvalidInput("A vocabulary of " + vocabulary + " is too small: " + RESERVED + " ids are reserved",
          "512 to 4096 suit a small model");
    }
    return new BpeTrainer().learn(texts, vocabulary);
  }

  private SentencePieceBpe learn(Iterable<String> texts, int vocabulary) {
    var spans = new LinkedHashMap<String, Long>();
    for (String text : texts) {
      Spans.count(text, spans);
    }
    List<String> alphabet = alphabet(spans, (vocabulary - RESERVED + 1) / 2);
    alphabet.forEach(this::symbol);
    spans.forEach(this::addWord);
    for (int w = 0; w < words.size(); w++) {
      countPairs(w, 1);
    }
    counts.keySet().forEach(this::offer);
    int wanted = vocabulary - RESERVED - alphabet.size();
    var learned = new ArrayList<String>();
    while (learned.size() < wanted && !queue.isEmpty()) {
      var best = queue.poll();
      long count = counts.getOrDefault(best.pair(), 0L);
      if (count != best.count()) {
        if (count > 0) {
          queue.add(new Candidate(best.pair(), count, best.text()));
        }
        continue;
      }
      if (!symbolIds.containsKey(best.text())) {
        learned.add(best.text());
      }
      join(best.pair(), symbol(best.text()));
    }
    if (learned.size() < wanted) {
      throw new InvalidInput("The texts hold only " + (RESERVED + alphabet.size() + learned.size())
          + " different pieces; a vocabulary of " + vocabulary + " was asked for", "give more text or ask for a smaller vocabulary");
    }
    return new SentencePieceBpe("the trained tokenizer", model(learned, alphabet));
  }

  /// The characters worth a piece of their own, the space and then the most frequent; the rest is spelled in bytes.
  private static List<String> alphabet(Map<String, Long> spans, int most) {
    var frequency = new TreeMap<String, Long>();
    spans.forEach((span, count) -> span.codePoints().forEach(c -> frequency.merge(Character.toString(c), count, Long::sum)));
    frequency.put("" + SentencePieceText.SPACE, Long.MAX_VALUE); // bytes would not decode to a space
    return frequency.entrySet().stream().sorted(Map.Entry.<String, Long>comparingByValue().reversed()).limit(most)
        .map(Map.Entry::getKey).toList();
  }

  private static SentencePieceModel model(List<String> learned, List<String> alphabet) {
    var pieces = new ArrayList<Piece>();
    pieces.add(new Piece("<unk>", 0, Type.UNKNOWN));
    pieces.add(new Piece("<s>", 0, Type.CONTROL));
    pieces.add(new Piece("</s>", 0, Type.CONTROL));
    for (int b = 0; b < 256; b++) {
      pieces.add(new Piece(ByteNames.name(b), 0, Type.BYTE));
    }
    for (String text : learned) {
      pieces.add(new Piece(text, RESERVED - pieces.size(), Type.NORMAL));
    }
    for (String text : alphabet) {
      pieces.add(new Piece(text, RESERVED - pieces.size(), Type.NORMAL));
    }
    return new SentencePieceModel(pieces, "identity", true, false, true, false, true, "<s>", "</s>");
  }

  private int symbol(String text) {
    return symbolIds.computeIfAbsent(text, t -> {
      symbols.add(t);
      return symbols.size() - 1;
    });
  }

  /// A span becomes a word for each stretch without characters that are left to bytes.
  private void addWord(String span, long count) {
    int[] ids = new int[span.length()];
    int n = 0;
    for (int at = 0; at < span.length(); at = span.offsetByCodePoints(at, 1)) {
      Integer id = symbolIds.get(Character.toString(span.codePointAt(at)));
      if (id != null) {
        ids[n++] = id;
      } else {
        keepWord(ids, n, count);
        n = 0;
      }
    }
    keepWord(ids, n, count);
  }

  private void keepWord(int[] ids, int n, long count) {
    if (n > 1) { // a single symbol has no pair
      words.add(new Word(Arrays.copyOf(ids, n), count));
    }
  }

  private void countPairs(int w, int sign) {
    var word = words.get(w);
    for (int i = 1; i < word.symbols.length; i++) {
      long pair = (long) word.symbols[i - 1] << 32 | word.symbols[i];
      counts.merge(pair, sign * word.count, Long::sum);
      if (sign > 0) {
        places.computeIfAbsent(pair, _ -> new HashSet<>()).add(w);
      }
    }
  }

  private void offer(long pair) {
    String text = symbols.get((int) (pair >>> 32)) + symbols.get((int) pair);
    if (text.codePointCount(0, text.length()) <= LONGEST) {
      queue.add(new Candidate(pair, counts.get(pair), text));
    }
  }

  /// Replaces a pair by its joined symbol wherever it stands, and corrects the counts of the pairs around it.
  private void join(long pair, int joined) {
    int left = (int) (pair >>> 32);
    int right = (int) pair;
    var fresh = new TreeSet<Long>();
    for (int w : places.remove(pair)) {
      var word = words.get(w);
      int[] next = new int[word.symbols.length];
      int n = 0;
      for (int i = 0; i < word.symbols.length; i++) {
        boolean here = i + 1 < word.symbols.length && word.symbols[i] == left && word.symbols[i + 1] == right;
        next[n++] = here ? joined : word.symbols[i];
        i += here ? 1 : 0;
      }
      if (n < next.length) {
        countPairs(w, -1);
        words.set(w, new Word(Arrays.copyOf(next, n), word.count));
        countPairs(w, 1);
        for (int i = 0; i < n; i++) {
          if (next[i] == joined && i > 0) {
            fresh.add((long) next[i - 1] << 32 | joined);
          }
          if (next[i] == joined && i + 1 < n) {
            fresh.add((long) joined << 32 | next[i + 1]);
          }
        }
      }
    }
    counts.remove(pair);
    fresh.forEach(this::offer);
  }

  /// Cuts text where no piece may cross.
  private static final class Spans {
    private static final Object ANY = "any"; // what follows a lone space

    private final Map<String, Long> spans;
    private final StringBuilder span = new StringBuilder();

    private Spans(Map<String, Long> spans) {
      this.spans = spans;
    }

    static void count(String text, Map<String, Long> spans) {
      new Spans(spans).cut(" " + text); // the dummy prefix
    }

    private void cut(String text) {
      Object kind = ANY;
      for (int at = 0; at < text.length(); ) {
        int c = text.codePointAt(at);
        int to = at + Character.charCount(c);
        if (space(c)) {
          while (to < text.length() && space(text.charAt(to))) {
            to++;
          }
          close();
          span.repeat(SentencePieceText.SPACE, to - at - 1);
          close();
          span.append(SentencePieceText.SPACE);
          kind = ANY;
        } else if (Character.isISOControl(c) || Character.getType(c) == Character.SURROGATE) {
          close();
        } else if (Character.isDigit(c)) {
          close();
          span.appendCodePoint(c);
          close();
        } else {
          Object own = kind(c, kind);
          if (!kind.equals(ANY) && !own.equals(kind)) {
            close();
          }
          kind = own;
          span.appendCodePoint(c);
        }
        at = to;
      }
      close();
    }

    private void close() {
      if (!span.isEmpty()) {
        spans.merge(span.toString(), 1L, Long::sum);
        span.setLength(0);
      }
    }

    private static boolean space(int c) {
      return c == ' ' || c == SentencePieceText.SPACE;
    }

    /// Characters of equal kind may share a piece; marks take the kind of what they stand on.
    private static Object kind(int c, Object before) {
      var script = Character.UnicodeScript.of(c);
      return switch (script) {
        case INHERITED -> before.equals(ANY) ? Character.UnicodeScript.COMMON : before;
        case HIRAGANA, KATAKANA -> Character.UnicodeScript.HAN;
        default -> script;
      };
    }
  }
}
