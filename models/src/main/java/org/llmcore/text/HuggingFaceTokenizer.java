package org.llmcore.text;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.stream.Collectors;

import com.fasterxml.jackson.databind.JsonNode;

import org.llmcore.InvalidInput;

/// A byte-pair tokenizer from a `tokenizer.json` of the Hugging Face `tokenizers` library: GPT-2's and Llama 3's bytes,
/// Llama 2's characters with byte fallback.
///
///     text → added tokens cut out ([AddedTokens]) → normalizer, pre_tokenizer ([HuggingFaceSteps]) → model ([BpeVocabulary])
///     ids → pieces → decoder: ByteLevel, Metaspace, or a sequence of Replace, ByteFallback, Fuse, Strip
///
/// Tokens that are special, and whatever is BOS or EOS, never come from text: the ids are those of the library with
/// `encode_special_tokens` set. Decoding leaves them out. Where byte pieces form no valid text the library spoils the
/// whole run of them; here only the bytes that are part of no character give U+FFFD (as SentencePiece does).
/// BOS and EOS: tokenizer_config.json, else special_tokens_map.json, else the TemplateProcessing of the file, else
/// config.json, else a special token of the usual name (`<s>`, `</s>`, `<|endoftext|>`).
public final class HuggingFaceTokenizer implements Tokenizer, PieceStream.Pieces {
  private final byte[] source;
  private final AddedTokens added;
  private final HuggingFaceSteps.Cut cut;
  private final BpeVocabulary model;
  private final String[] pieces; // (size) "" where the file leaves a hole
  private final byte[][] bytes; // (size)
  private final BitSet controls;
  private final BitSet bytePieces;
  private final boolean byteLevel;
  private final PieceStream.Lead lead;
  private final Template ends;

  /// BOS and EOS and whether a document gets them.
  private record Template(OptionalInt bos, OptionalInt eos, boolean addsBos, boolean addsEos) {
    static final Template NONE = new Template(OptionalInt.empty(), OptionalInt.empty(), false, false);
  }

  private HuggingFaceTokenizer(String name, byte[] source, JsonNode json, TokenizerConfig config) {
    this.source = source;
    BpeVocabulary.check(name, json.path("model"));
    var steps = new HuggingFaceSteps(name);
    var normalizer = steps.normalizer(json.path("normalizer"));
    cut = steps.preTokenizer(json.path("pre_tokenizer"));
    byteLevel = steps.byteLevel(json.path("pre_tokenizer"));
    var tokens = tokens(name, json.path("added_tokens"), json.path("model").path("vocab"));
    var template = template(steps, json.path("post_processor"), Template.NONE);

    var ids = new HashMap<String, Integer>();
    json.path("model").path("vocab").properties().forEach(e -> ids.put(e.getKey(), e.getValue().asInt(-1)));
    tokens.forEach(t -> ids.put(t.content(), t.id()));
    int size = size(name, ids);
    ends = ends(config, template, ids, tokens, size);
    controls = new BitSet(size);
    tokens.stream().filter(AddedTokens.Token::special).forEach(t -> controls.set(t.id()));
    ends.bos.ifPresent(controls::set);
    ends.eos.ifPresent(controls::set);
    added = new AddedTokens(tokens.stream().map(t -> new AddedTokens.Token(t.id(), t.content(), t.singleWord(), t.lstrip(),
        t.rstrip(), t.normalized(), controls.get(t.id()))).toList(), normalizer);
    model = new BpeVocabulary(name, json.path("model"),
        ids.entrySet().stream().filter(e -> controls.get(e.getValue())).map(Map.Entry::getKey).collect(Collectors.toSet()));

    pieces = new String[size];
    Arrays.fill(pieces, "");
    ids.forEach((piece, id) -> pieces[id] = piece);
    tokens.forEach(t -> pieces[t.id()] = t.content());
    var decoder = new Decoder(steps, json.path("decoder"), byteLevel);
    lead = decoder.lead;
    bytePieces = new BitSet(size);
    bytes = new byte[size][];
    var isAdded = new BitSet(size);
    tokens.forEach(t -> isAdded.set(t.id()));
    for (int id = 0; id < size; id++) {
      int value = decoder.byteFallback ? ByteNames.value(pieces[id]) : -1;
      bytePieces.set(id, value >= 0);
      bytes[id] = controls.get(id) ? new byte[0] : value >= 0 ? new byte[] {(byte) value}
          : byteLevel && !isAdded.get(id) ? ByteAlphabet.read(pieces[id])
          : pieces[id].replace(decoder.space, " ").getBytes(StandardCharsets.UTF_8);
    }
  }

  /// Reads a `tokenizer.json` and what the files beside it say about BOS and EOS.
  /// @throws InvalidInput if it cannot be read, or uses a component that is not supported (named in the message)
  public static HuggingFaceTokenizer read(Path file) {
    var folder = file.toAbsolutePath().getParent();
    return parse(file.toString(), Tokenizers.bytes(file), TokenizerConfig.beside(folder));
  }

  /// @param name how error messages call the bytes
  static HuggingFaceTokenizer parse(String name, byte[] bytes, TokenizerConfig config) {
    return new HuggingFaceTokenizer(name, bytes.clone(), TokenizerConfig.json(name, bytes), config);
  }

  /// The tokenizer.json this was read from.
  public byte[] toBytes() {
    return source.clone();
  }

  @Override
  public int size() {
    return pieces.length;
  }

  @Override
  public OptionalInt bos() {
    return ends.bos;
  }

  @Override
  public OptionalInt eos() {
    return ends.eos;
  }

  @Override
  public boolean addsBos() {
    return ends.addsBos;
  }

  @Override
  public boolean addsEos() {
    return ends.addsEos;
  }

  @Override
  public int[] encode(String text) {
    var out = new Ids();
    for (var part : cut.apply(added.split(Tokenizers.wellFormed(text)))) {
      if (part.id() >= 0) {
        out.add(part.id());
      } else {
        model.encode(part.text(), out);
      }
    }
    return out.toArray();
  }

  @Override
  public String piece(int id) {
    return pieces[checked(id)];
  }

  @Override
  public boolean control(int id) {
    return controls.get(checked(id)) || pieces[id].isEmpty();
  }

  @Override
  public byte[] bytes(int id) {
    return bytes[checked(id)];
  }

  @Override
  public boolean bytePiece(int id) {
    return bytePieces.get(checked(id));
  }

  @Override
  public String decode(int... ids) {
    return PieceStream.decode(stream(), ids);
  }

  @Override
  public TextStream stream() {
    return byteLevel ? PieceStream.ofBytes(this, lead, -1) : PieceStream.ofWholePieces(this, lead);
  }

  /// The added tokens; where one is also in the vocabulary, the vocabulary's id is the one that counts.
  private static List<AddedTokens.Token> tokens(String name, JsonNode list, JsonNode vocab) {
    var tokens = new ArrayList<AddedTokens.Token>();
    for (var t : list) {
      if (!t.path("id").isInt() || t.path("id").asInt() < 0 || !t.path("content").isTextual()) {
        throw new InvalidInput(name + ": an added token is " + InvalidInput.brief(t) + "; expected at least an id from 0 and a content");
      }
      tokens.add(new AddedTokens.Token(vocab.path(t.path("content").asText()).asInt(t.path("id").asInt()),
          t.path("content").asText(), t.path("single_word").asBoolean(), t.path("lstrip").asBoolean(), t.path("rstrip").asBoolean(), t.path("normalized").asBoolean(),
          t.path("special").asBoolean()));
    }
    return tokens;
  }

  /// One more than the largest id, which may leave some holes but not command memory.
  private static int size(String name, Map<String, Integer> ids) {
    long size = ids.values().stream().mapToLong(id -> id + 1L).max().orElse(0);
    if (size == 0 || size > 2L * ids.size() + 65536 || ids.values().stream().anyMatch(id -> id < 0)) {
      throw new InvalidInput(name + " gives " + ids.size() + " pieces ids up to " + (size - 1) + "; expected ids from 0 without wide gaps");
    }
    return (int) size;
  }

  private static Template ends(TokenizerConfig config, Template template, Map<String, Integer> ids,
      List<AddedTokens.Token> tokens, int size) {
    var bos = named(config.bosToken(), ids).or(() -> box(template.bos)).or(() -> box(config.bosId()))
        .or(() -> usual(tokens, "<s>")).filter(id -> id < size);
    var eos = named(config.eosToken(), ids).or(() -> box(template.eos)).or(() -> box(config.eosId()))
        .or(() -> usual(tokens, "</s>")).or(() -> usual(tokens, "<|endoftext|>")).filter(id -> id < size);
    return new Template(unbox(bos), unbox(eos), config.addsBos().orElse(template.addsBos) && bos.isPresent(),
        config.addsEos().orElse(template.addsEos) && eos.isPresent());
  }

  private static Optional<Integer> named(Optional<String> token, Map<String, Integer> ids) {
    return token.map(ids::get);
  }

  private static Optional<Integer> usual(List<AddedTokens.Token> tokens, String content) {
    return tokens.stream().filter(t -> t.special() && t.content().equals(content)).map(AddedTokens.Token::id).findFirst();
  }

  private static Optional<Integer> box(OptionalInt id) {
    return id.isPresent() ? Optional.of(id.getAsInt()) : Optional.empty();
  }

  private static OptionalInt unbox(Optional<Integer> id) {
    return id.map(OptionalInt::of).orElse(OptionalInt.empty());
  }

  private static Template template(HuggingFaceSteps steps, JsonNode node, Template before) {
    if (HuggingFaceSteps.absent(node)) {
      return before;
    }
    return switch (HuggingFaceSteps.type(node)) {
      case "ByteLevel" -> before;
      case "Sequence" -> {
        var result = before;
        for (var inner : node.path("processors")) {
          result = template(steps, inner, result);
        }
        yield result;
      }
      case "TemplateProcessing" -> {
        var front = new ArrayList<Integer>();
        var behind = new ArrayList<Integer>();
        boolean text = false;
        for (var item : node.path("single")) {
          text |= item.has("Sequence");
          for (var id : node.path("special_tokens").path(item.path("SpecialToken").path("id").asText()).path("ids")) {
            (text ? behind : front).add(id.asInt());
          }
        }
        if (front.size() > 1 || behind.size() > 1) {
          throw steps.unsupported("post_processor with several tokens at one end", node);
        }
        yield new Template(unbox(front.stream().findFirst()), unbox(behind.stream().findFirst()), !front.isEmpty(), !behind.isEmpty());
      }
      default -> throw steps.unsupported("post_processor", node);
    };
  }

  private int checked(int id) {
    if (id < 0 || id >= pieces.length) {
      throw new IllegalArgumentException("id " + id + " outside the vocabulary of " + pieces.length);
    }
    return id;
  }

  /// The `decoder` of the file.
  private static final class Decoder {
    private String space = " "; // what a piece writes for a space
    private boolean byteFallback;
    private boolean fused;
    private PieceStream.Lead lead = PieceStream.Lead.KEEP;

    Decoder(HuggingFaceSteps steps, JsonNode node, boolean byteLevel) {
      if (HuggingFaceSteps.absent(node) ? !byteLevel : !read(node, byteLevel)) {
        throw steps.unsupported("decoder", node);
      }
    }

    /// Whether the component could be understood.
    private boolean read(JsonNode node, boolean byteLevel) {
      switch (HuggingFaceSteps.type(node)) {
        case "ByteLevel" -> {
          return byteLevel;
        }
        case "Metaspace" -> {
          space = node.path("replacement").asText("▁");
          boolean kept = node.path("prepend_scheme").asText(node.path("add_prefix_space").asBoolean(true) ? "always" : "never")
              .equals("never");
          lead = kept ? PieceStream.Lead.KEEP : PieceStream.Lead.DROP_ALL_OF_FIRST_PIECE;
        }
        case "Replace" -> {
          if (!node.path("content").asText().equals(" ") || !node.path("pattern").path("String").isTextual()) {
            return false;
          }
          space = node.path("pattern").path("String").asText();
        }
        case "ByteFallback" -> byteFallback = true;
        case "Fuse" -> fused = true;
        case "Strip" -> {
          lead = PieceStream.Lead.DROP_FIRST;
          return fused && node.path("content").asText().equals(" ") && node.path("start").asInt() == 1 && node.path("stop").asInt() == 0;
        }
        case "Sequence" -> {
          for (var inner : node.path("decoders")) {
            if (!read(inner, byteLevel)) {
              return false;
            }
          }
        }
        default -> {
          return false;
        }
      }
      return true;
    }
  }
}
