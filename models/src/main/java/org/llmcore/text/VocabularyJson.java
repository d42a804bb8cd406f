package org.llmcore.text;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;

import org.llmcore.InvalidInput;
import org.llmcore.text.SentencePieceModel.Type;

/// The lists of a `tokenizer.json`, and a `tokenizer.json` of lists.
///
/// How words are cut is known to llama.cpp by name (`llama-vocab.cpp`):
///
/// | name       | pre_tokenizer                                                       |
/// |------------|---------------------------------------------------------------------|
/// | gpt-2      | GPT-2's expression                                                  |
/// | llama-bpe  | Llama 3's expression; whole words first (`ignore_merges`)           |
/// | qwen2      | Llama 3's with single digits                                        |
/// | smollm     | digits apart, then GPT-2's expression                               |
final class VocabularyJson {
  private static final JsonNodeFactory JSON = JsonNodeFactory.instance;
  private static final String CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|";
  private static final String REST = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  private static final Map<String, String> SAME =
      Map.of("gpt2", "gpt-2", "phi-2", "gpt-2", "olmo", "gpt-2", "llama3", "llama-bpe", "llama-v3", "llama-bpe", "starcoder",
          "smollm");
  private static final Map<String, ObjectNode> CUTS = cuts();
  private static final float LAST = -1e6f;

  private VocabularyJson() {}

  private static Map<String, ObjectNode> cuts() {
    var cuts = new LinkedHashMap<String, ObjectNode>();
    cuts.put("gpt-2", bytes(true));
    cuts.put("llama-bpe", sequence(split(CONTRACTIONS + "\\p{N}{1,3}" + REST), bytes(false)));
    cuts.put("qwen2", sequence(split(CONTRACTIONS + "\\p{N}" + REST), bytes(false)));
    cuts.put("smollm", sequence(JSON.objectNode().put("type", "Digits").put("individual_digits", true), bytes(true)));
    return cuts;
  }

  private static ObjectNode bytes(boolean expression) {
    return JSON.objectNode().put("type", "ByteLevel").put("add_prefix_space", false).put("trim_offsets", true)
        .put("use_regex", expression);
  }

  private static ObjectNode split(String expression) {
    var node = JSON.objectNode().put("type", "Split").put("behavior", "Isolated").put("invert", false);
    node.putObject("pattern").put("Regex", expression);
    return node;
  }

  private static ObjectNode sequence(ObjectNode... parts) {
    var node = JSON.objectNode().put("type", "Sequence");
    node.putArray("pretokenizers").addAll(List.of(parts));
    return node;
  }

  /// What matters of a pre_tokenizer.
  private static List<String> essence(JsonNode node) {
    return switch (node.path("type").asText()) {
      case "Sequence" -> {
        var all = new ArrayList<String>();
        for (var p : node.path("pretokenizers")) all.addAll(essence(p));
        yield all;
      }
      case "ByteLevel" -> List.of("bytes " + node.path("add_prefix_space").asBoolean(true) + node.path("use_regex")
          .asBoolean(true));
      case "Split" -> List.of("split " + node.path("pattern") + node.path("behavior").asText() + node.path("invert").asBoolean());
      case "Digits" -> List.of("digits " + node.path("individual_digits").asBoolean());
      default -> List.of(node.toString());
    };
  }

  static Vocabulary read(HuggingFaceTokenizer t) {
    var json = TokenizerConfig.json("tokenizer.json", t.toBytes());
    boolean levels = new HuggingFaceSteps("tokenizer.json").byteLevel(json.path("pre_tokenizer"));
    if (!levels && !t.bytePiece(byteId(t))) {
      throw new InvalidInput("the tokenizer spells neither bytes nor characters with byte fallback", "GGUF has no form for it");
    }
    var texts = new ArrayList<String>();
    var types = new int[t.size()];
    for (int id = 0; id < types.length; id++) {
      boolean hole = t.piece(id).isEmpty();
      texts.add(hole ? Vocabulary.padding(id) : t.piece(id));
      var type = hole ? Type.UNUSED : t.control(id) ? Type.CONTROL : t.bytePiece(id) ? Type.BYTE : Type.NORMAL;
      types[id] = type.number();
    }
    for (var a : json.path("added_tokens")) {
      int id = a.path("id").asInt(-1);
      if (id >= 0 && id < types.length && types[id] == Type.NORMAL.number()) types[id] = Type.USER_DEFINED.number();
    }
    var merges = new ArrayList<String>();
    for (var m : json.path("model").path("merges")) merges.add(m.isArray() ? m.path(0).asText() + " " + m.path(1).asText()
        : m.asText());
    if (levels) {
      var found = essence(json.path("pre_tokenizer"));
      var cut = CUTS.entrySet().stream().filter(e -> essence(e.getValue()).equals(found)).map(Map.Entry::getKey).findFirst();
      return new Vocabulary(Vocabulary.Kind.BYTE_LEVEL, texts, new float[0], types, merges, cut, false, false,
          Optional.of(t.toBytes()));
    }
    int unknown = texts.indexOf(json.path("model").path("unk_token").asText(""));
    if (unknown >= 0) types[unknown] = Type.UNKNOWN.number();
    return new Vocabulary(Vocabulary.Kind.SENTENCE_PIECE, texts, scores(texts, merges), types, List.of(), Optional.empty(),
        prefixed(t), false, Optional.of(t.toBytes()));
  }

  private static boolean prefixed(HuggingFaceTokenizer t) {
    var ids = t.encode("a");
    return ids.length > 0 && t.piece(ids[0]).charAt(0) == SentencePieceText.SPACE;
  }

  private static int byteId(HuggingFaceTokenizer t) {
    for (int id = 0; id < t.size(); id++) if (t.bytePiece(id)) return id;
    return 0;
  }

  /// Pieces by the first merge that makes them: earlier ones higher. Where a file was made from a SentencePiece model, that is
  /// its order.
  private static float[] scores(List<String> texts, List<String> merges) {
    var rank = new HashMap<String, Integer>();
    for (int i = 0; i < merges.size(); i++) rank.putIfAbsent(merges.get(i).replaceFirst(" ", ""), i);
    var scores = new float[texts.size()];
    for (int id = 0; id < scores.length; id++) {
      var r = rank.get(texts.get(id));
      scores[id] = r == null ? LAST : -r;
    }
    return scores;
  }

  /// Whether words can be cut as llama.cpp does under that name.
  static boolean knows(Optional<String> cut) {
    return CUTS.containsKey(own(cut));
  }

  private static String own(Optional<String> cut) {
    var asked = cut.orElse("default");
    return SAME.getOrDefault(asked, asked);
  }

  /// @throws InvalidInput if words are cut in a way that is not known
  static byte[] write(String name, Vocabulary v) {
    var cut = own(v.cut());
    if (!CUTS.containsKey(cut)) {
      throw new InvalidInput(name + " cuts words by '" + InvalidInput.brief(cut) + "', which is not supported",
          "supported are " + CUTS.keySet() + "; give the model's tokenizer.json with --tokenizer");
    }
    var json = JSON.objectNode().put("version", "1.0");
    var added = json.putArray("added_tokens");
    var model = JSON.objectNode().put("type", "BPE").put("ignore_merges", cut.equals("llama-bpe"));
    var vocab = model.putObject("vocab");
    for (int id = 0; id < v.filled(); id++) {
      int type = v.types()[id];
      if (type == Type.CONTROL.number() || type == Type.USER_DEFINED.number()) {
        added.addObject().put("id", id).put("content", v.texts().get(id)).put("single_word", false).put("lstrip", false)
            .put("rstrip", false)
            .put("normalized", false).put("special", type == Type.CONTROL.number());
      } else if (vocab.has(v.texts().get(id))) {
        throw new InvalidInput(name + " defines the piece '" + InvalidInput.brief(v.texts().get(id)) + "' twice, the second time as id " + id);
      } else {
        vocab.put(v.texts().get(id), id);
      }
    }
    var merges = model.putArray("merges");
    for (var m : v.merges()) merges.add(m);
    json.set("pre_tokenizer", CUTS.get(cut));
    json.set("decoder", bytes(true));
    json.set("model", model);
    return json.toString().getBytes(StandardCharsets.UTF_8);
  }
}
