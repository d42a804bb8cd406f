package org.llmcore.gguf;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.regex.Pattern;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.text.Tokenizer;

/// A Llama in a GGUF file: its shape, its tokenizer, and its tensors under Hugging Face names.
///
/// Rows of q and k are handed out in Hugging Face's order (`LlamaNames`). They are moved as whole rows, so weights in few bits
/// stay the bytes they are.
public final class LlamaGguf implements AutoCloseable {
  private static final Pattern COUNTS = Pattern.compile(
      ".*(\\.bias|\\.scale|rope_f(req|actor)s.*|_(sh)?exps?\\..*|ffn_gate_inp\\..*|attn_[qk]_norm\\..*|(attn_post|post_attention|ffn_post|post_ffw|attn_sub|ffn_sub)_norm\\..*)", Pattern.DOTALL);
  private static final int NOTES = 5;

  private final Gguf file;
  private final LlamaConfig config;
  private final Map<String, Gguf.Entry> tensors = new LinkedHashMap<>();
  private final List<String> notes = new ArrayList<>();

  private LlamaGguf(Gguf file) {
    this.file = file;
    checkKind();
    int placeless = 0;
    for (var e : file.entries().values()) {
      var name = LlamaNames.published(e.name());
      if (name.isPresent()) tensors.put(name.get(), e);
      else if (COUNTS.matcher(e.name()).matches()) throw unknown(e.name());
      else if (placeless++ < NOTES) notes.add("the file holds a tensor " + InvalidInput.brief(e.name()) + " that this model has no place for");
    }
    if (placeless > NOTES) notes.add("and " + (placeless - NOTES) + " more such tensors");
    if (!file.foreign().isEmpty()) {
      var f = file.foreign().getFirst();
      throw new InvalidInput(file.path() + ": tensor " + InvalidInput.brief(f.name()) + " is stored as " + f.type(),
          "supported are " + Arrays.toString(GgufType.values()));
    }
    this.config = configured();
  }

  private void checkKind() {
    var architecture = file.text("general.architecture").orElse("");
    if (!architecture.equals("llama")) throw new InvalidInput(file.path() + " holds a model of architecture '"
        + InvalidInput.brief(architecture) + "'", "supported is llama");
    long parts = file.integer("split.count").orElse(1L);
    if (parts > 1) {
      throw new InvalidInput(file.path() + " is part " + (file.integer("split.no").orElse(0L) + 1) + " of " + parts + " of a split model",
          "merge the parts first: llama-gguf-split --merge FIRST-PART merged.gguf");
    }
    if (file.integer("llama.expert_count").orElse(0L) > 0) throw new InvalidInput(file.path() + " is a mixture of experts",
        "this is not supported");
  }

  private InvalidInput unknown(String tensor) {
    if (tensor.equals("rope_freqs.weight")) {
      return new InvalidInput(file.path() + " scales rotary frequencies one by one (rope_freqs)", "Llama 3's scaling is not supported yet");
    }
    return new InvalidInput(file.path() + " holds the tensor " + InvalidInput.brief(tensor) + ", which would change every result",
        "linear layers with bias, experts, norms of heads and rotary factors are not supported");
  }

  /// Wraps an open file, which is then closed with this.
  /// @throws InvalidInput if it is no Llama, or one with features that are not supported
  public static LlamaGguf of(Gguf file) {
    return new LlamaGguf(file);
  }

  public LlamaConfig config() {
    return config;
  }

  /// What was odd and could be passed over.
  public List<String> notes() {
    return notes;
  }

  /// The tensor of a Hugging Face name, rows as the file has them.
  /// @throws InvalidInput if it is missing or of another shape
  public Gguf.Entry tensor(String name, int... shape) {
    var e = tensors.get(name);
    if (e == null) throw new InvalidInput(file.path() + " lacks the tensor for " + name,
        "its keys and tensors must belong together");
    if (!Arrays.equals(e.shape(), shape)) {
      throw new InvalidInput(file.path() + ": tensor " + e.name() + " is " + e.describe() + ", the keys ask for "
          + org.llmcore.tensor.Shape.of(shape),
          "its keys and tensors must belong together");
    }
    return e;
  }

  /// The bytes of a tensor, rows in Hugging Face's order.
  public MemorySegment bytes(String name, int... shape) {
    var e = tensor(name, shape);
    int heads = LlamaNames.heads(name, config);
    if (heads == 0) return e.data();
    long row = e.data().byteSize() / shape[0];
    var out = MemorySegment.ofArray(new byte[Math.toIntExact(e.data().byteSize())]);
    for (int r = 0; r < shape[0]; r++) MemorySegment.copy(e.data(), LlamaNames.neighbours(r, shape[0] / heads) * row, out, r
        * row, row);
    return out;
  }

  /// The elements of a tensor as f32, rows in Hugging Face's order.
  public float[] floats(String name, int... shape) {
    var values = tensor(name, shape).toFloats();
    int heads = LlamaNames.heads(name, config);
    if (heads == 0) return values;
    var out = new float[values.length];
    for (int r = 0; r < shape[0]; r++) System.arraycopy(values, LlamaNames.neighbours(r, shape[0] / heads) * shape[1], out, r
        * shape[1], shape[1]);
    return out;
  }

  /// The bytes of row r in Hugging Face's order.
  public MemorySegment row(String name, int r, int... shape) {
    return tensor(name, shape).row(place(name, r, shape));
  }

  /// Row r in Hugging Face's order as f32, into `out` from an index on.
  public void row(String name, int r, float[] out, int at, int... shape) {
    tensor(name, shape).row(place(name, r, shape), out, at);
  }

  private int place(String name, int r, int[] shape) {
    int heads = LlamaNames.heads(name, config);
    return heads == 0 ? r : LlamaNames.neighbours(r, shape[0] / heads);
  }

  /// How a tensor is stored.
  public GgufType type(String name) {
    var e = tensors.get(name);
    return e == null ? GgufType.F32 : e.type();
  }

  private LlamaConfig configured() {
    int hidden = integer("embedding_length");
    int heads = integer("attention.head_count");
    int kvHeads = integer("attention.head_count_kv", heads);
    int headDim = integer("attention.key_length", hidden / Math.max(1, heads));
    long rotary = file.integer("llama.rope.dimension_count").orElse((long) headDim);
    if (rotary != headDim) throw new InvalidInput(file.path() + " rotates " + rotary + " of " + headDim + " dimensions of a head",
        "partial rotation is not supported");
    var embedding = tensors.get("model.embed_tokens.weight");
    if (embedding == null || embedding.shape().length != 2) throw Gguf.wrong(file.path(), "it has no matrix token_embd.weight");
    return new LlamaConfig(
        embedding.shape()[0], hidden, integer("feed_forward_length"), integer("block_count"), heads, kvHeads, headDim,
            integer("context_length"),
        file.number("llama.attention.layer_norm_rms_epsilon").orElseThrow(() -> missing("attention.layer_norm_rms_epsilon")),
        file.number("llama.rope.freq_base").orElse(10_000.0), scale(), !tensors.containsKey("lm_head.weight"), id("bos_token_id"),
        GgufTokenizer.ends(file, embedding.shape()[0]), id("padding_token_id"), "float32");
  }

  /// As llama.cpp reads it: a factor without a kind is linear, and the key of old files is asked last.
  private double scale() {
    var kind = file.text("llama.rope.scaling.type").orElse("linear");
    if (kind.equals("none")) return 1;
    if (!kind.equals("linear")) throw new InvalidInput(file.path() + " has rope scaling '" + InvalidInput.brief(kind) + "'",
        "supported are none and linear");
    double factor = file.number("llama.rope.scaling.factor").or(() -> file.number("llama.rope.scale_linear")).orElse(1.0);
    return factor == 0 ? 1 : factor;
  }

  private InvalidInput missing(String key) {
    return new InvalidInput(file.path() + " lacks the key llama." + key, "the file is no complete Llama");
  }

  private int integer(String key) {
    if (!file.keys().containsKey("llama." + key)) throw missing(key);
    return integer(key, 0);
  }

  private int integer(String key, int otherwise) {
    var name = "llama." + key;
    long value = file.keys().get(name) instanceof Gguf.Values ? alike(name) : file.integer(name).orElse((long) otherwise);
    if (value < 0 || value > Integer.MAX_VALUE) throw Gguf.wrong(file.path(), name + " is " + Long.toUnsignedString(value));
    return (int) value;
  }

  /// The value of a list that has one for each layer.
  private int alike(String key) {
    var all = file.numbers(key, false).orElseThrow();
    if (all.byteSize() == 0) throw Gguf.wrong(file.path(), key + " is an empty list");
    int first = all.get(ValueLayout.JAVA_INT_UNALIGNED, 0);
    for (long at = 0; at < all.byteSize(); at += 4) {
      if (all.get(ValueLayout.JAVA_INT_UNALIGNED, at) != first) {
        throw new InvalidInput(file.path() + ": " + key + " differs from layer to layer", "a Llama whose layers are alike is supported");
      }
    }
    return first;
  }

  private OptionalInt id(String key) {
    return GgufTokenizer.id(file, key, tensors.get("model.embed_tokens.weight").shape()[0]);
  }

  /// The tokenizer in the file, `Wordless` where there is none or none that is known here.
  /// @throws InvalidInput if its lists do not belong together
  public Tokenizer tokenizer() {
    try {
      return GgufTokenizer.read(file, config.vocabulary());
    } catch (OutOfMemoryError e) {
      throw InvalidInput.tooLarge(file.path(), e);
    }
  }

  /// The chat template in the file, in Jinja.
  public Optional<String> template() {
    return file.text("tokenizer.chat_template");
  }

  @Override
  public void close() {
    file.close();
  }
}
