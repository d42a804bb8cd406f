package org.llmcore.text;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

import com.fasterxml.jackson.databind.JsonNode;

import org.llmcore.InvalidInput;

/// The `model` of a `tokenizer.json` of type BPE: a vocabulary and merges in order of rank.
///
/// | field           | effect                                                                                     |
/// |-----------------|--------------------------------------------------------------------------------------------|
/// | `vocab`         | spelling → id                                                                              |
/// | `merges`        | `"a b"` or `["a","b"]`; earlier joins first                                                |
/// | `ignore_merges` | a word that is in the vocabulary as a whole is one id                                      |
/// | `byte_fallback` | a character outside the vocabulary is spelled in `<0x..>` pieces, if all of them are there |
/// | `unk_token`, `fuse_unk` | else it is this id, one for each character or one for a run; without it, nothing   |
///
/// Words are the pieces that pre-tokenisation leaves. Control pieces are not reached by any of this.
final class BpeVocabulary {
  private final Map<String, Integer> ids;
  private final Map<String, Integer> reachable = new HashMap<>(); // without the control pieces
  private final Map<Long, Long> merges = new HashMap<>(); // left id · 2³² + right id → rank · 2³² + joined id
  private final boolean ignoreMerges;
  private final boolean byteFallback;
  private final boolean fuseUnknown;
  private final int unknown; // −1 without one

  /// @param name how error messages call the file
  /// @param controls spellings of control tokens
  BpeVocabulary(String name, JsonNode model, Set<String> controls) {
    ids = HashMap.newHashMap(model.path("vocab").size());
    for (var entry : model.path("vocab").properties()) {
      if (!entry.getValue().canConvertToInt() || entry.getValue().intValue() < 0) {
        throw new InvalidInput(name + ": the id of '" + InvalidInput.brief(entry.getKey()) + "' is " + InvalidInput.brief(entry.getValue()) + "; expected a number from 0");
      }
      ids.put(entry.getKey(), entry.getValue().intValue());
    }
    ids.forEach((text, id) -> {
      if (!controls.contains(text)) {
        reachable.put(text, id);
      }
    });
    long rank = 0;
    for (var merge : model.path("merges")) {
      addMerge(name, merge, rank++, controls);
    }
    ignoreMerges = model.path("ignore_merges").asBoolean(false);
    byteFallback = model.path("byte_fallback").asBoolean(false);
    fuseUnknown = model.path("fuse_unk").asBoolean(false);
    unknown = model.path("unk_token").isTextual() ? id(name, model.path("unk_token").asText()) : -1;
  }

  /// Refuses what is no byte-pair model, before anything else of it is read.
  static void check(String name, JsonNode model) {
    String type = model.path("type").asText("BPE");
    if (!type.equals("BPE") || !model.path("merges").isArray() || !model.path("vocab").isObject()) {
      throw new InvalidInput(name + " holds a tokenizer model of type " + InvalidInput.brief(type) + "; only BPE with vocab and merges can be used",
          "Llama models come with a BPE tokenizer.json or a tokenizer.model");
    }
    for (String affix : List.of("continuing_subword_prefix", "end_of_word_suffix")) {
      if (!model.path(affix).asText("").isEmpty()) {
        throw new InvalidInput(name + " uses " + affix + " '" + InvalidInput.brief(model.path(affix).asText()) + "', which is not supported");
      }
    }
    if (model.path("dropout").asDouble(0) > 0) {
      throw new InvalidInput(name + " asks for BPE dropout of " + InvalidInput.brief(model.path("dropout")) + ", which makes ids random", "set it to null");
    }
  }

  /// Spelling → id, control pieces included.
  Map<String, Integer> ids() {
    return ids;
  }

  boolean byteFallback() {
    return byteFallback;
  }

  /// Appends the ids of one word.
  void encode(String word, Ids out) {
    if (word.isEmpty()) {
      return;
    }
    Integer whole = ignoreMerges ? reachable.get(word) : null;
    if (whole != null) {
      out.add(whole);
      return;
    }
    var symbols = new Merging((m, left, right) ->
        merges.getOrDefault((long) m.id(left) << 32 | m.id(right), Merging.NONE), word.length());
    boolean pending = false; // an unknown character seen and not yet written
    for (int at = 0; at < word.length(); ) {
      int to = word.offsetByCodePoints(at, 1);
      String character = word.substring(at, to);
      Integer id = reachable.get(character);
      var bytes = id == null && byteFallback ? byteIds(character) : List.<Integer>of();
      if (id != null) {
        if (pending) {
          symbols.add(unknown, at, at);
          pending = false;
        }
        symbols.add(id, at, to);
      } else if (!bytes.isEmpty()) {
        for (int b : bytes) {
          symbols.add(b, at, to);
        }
      } else if (unknown >= 0) {
        if (pending && !fuseUnknown) {
          symbols.add(unknown, at, at);
        }
        pending = true;
      }
      at = to;
    }
    if (pending) {
      symbols.add(unknown, word.length(), word.length());
    }
    if (!symbols.isEmpty()) {
      out.add(symbols.run().ids());
    }
  }

  private List<Integer> byteIds(String character) {
    var found = new ArrayList<Integer>(4);
    for (byte b : character.getBytes(StandardCharsets.UTF_8)) {
      Integer id = reachable.get(ByteNames.name(b & 0xff));
      if (id == null) {
        return List.of();
      }
      found.add(id);
    }
    return found;
  }

  private void addMerge(String name, JsonNode merge, long rank, Set<String> controls) {
    String left;
    String right;
    if (merge.isArray() && merge.size() == 2) {
      left = merge.get(0).asText();
      right = merge.get(1).asText();
    } else {
      String text = merge.asText("");
      int space = text.indexOf(' ');
      if (space <= 0 || space == text.length() - 1 || text.indexOf(' ', space + 1) >= 0) {
        throw new InvalidInput(name + ": merge " + rank + " is " + InvalidInput.brief(merge) + "; expected \"a b\" or [\"a\", \"b\"]");
      }
      left = text.substring(0, space);
      right = text.substring(space + 1);
    }
    long pair = (long) id(name, left) << 32 | id(name, right);
    int joined = id(name, left + right);
    if (!controls.contains(left + right)) {
      merges.put(pair, rank << 32 | joined);
    }
  }

  private int id(String name, String piece) {
    Integer id = ids.get(piece);
    if (id == null) {
      throw new InvalidInput(name + " uses the piece '" + InvalidInput.brief(piece) + "' in its merges or as unk_token, but its vocab lacks it");
    }
    return id;
  }
}
