package org.llmcore.gguf;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.text.SentencePieceBpe;
import org.llmcore.text.Tokenizer;

/// A Llama in a GGUF file: its shape, its tokenizer, and its tensors under Hugging Face names.
///
/// llama.cpp's rotary embedding pairs neighbours (2i, 2i+1), Hugging Face's pairs halves (i, i + d/2): rows of q and k are
/// handed out in Hugging Face's order. They are moved as whole rows, so weights in few bits stay the bytes they are.
public final class LlamaGguf implements AutoCloseable {
  private static final Map<String, String> LAYER =
      Map.of(
          "attn_norm", "input_layernorm", "attn_q", "self_attn.q_proj", "attn_k", "self_attn.k_proj", "attn_v", "self_attn.v_proj",
          "attn_output", "self_attn.o_proj", "ffn_norm", "post_attention_layernorm", "ffn_gate", "mlp.gate_proj", "ffn_up", "mlp.up_proj",
          "ffn_down", "mlp.down_proj");

  private final Gguf file;
  private final LlamaConfig config;
  private final Map<String, Gguf.Entry> tensors = new LinkedHashMap<>();
  private final List<String> notes = new ArrayList<>();

  private LlamaGguf(Gguf file) {
    this.file = file;
    for (var e : file.entries().values()) {
      var name = name(e.name());
      if (name.isPresent()) tensors.put(name.get(), e);
      else if (!e.name().startsWith("rope_freqs")) notes.add("the file holds a tensor " + e.name() + " that this model has no place for");
    }
    if (file.entries().containsKey("rope_freqs.weight")) {
      throw new InvalidInput(file.path() + " scales rotary frequencies one by one (rope_freqs)", "Llama 3's scaling is not supported yet");
    }
    this.config = configured();
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
    if (e == null) throw new InvalidInput(file.path() + " lacks the tensor for " + name, "its keys and tensors must belong together");
    if (!java.util.Arrays.equals(e.shape(), shape)) {
      throw new InvalidInput(file.path() + ": tensor " + e.name() + " is " + e.describe() + ", the keys ask for " + org.llmcore.tensor.Shape.of(shape),
          "its keys and tensors must belong together");
    }
    return e;
  }

  /// The bytes of a tensor, rows in Hugging Face's order.
  public MemorySegment bytes(String name, int... shape) {
    var e = tensor(name, shape);
    int heads = heads(name);
    if (heads == 0) return e.data();
    long row = e.data().byteSize() / shape[0];
    var out = MemorySegment.ofArray(new byte[Math.toIntExact(e.data().byteSize())]);
    for (int r = 0; r < shape[0]; r++) MemorySegment.copy(e.data(), source(r, shape[0] / heads) * row, out, r * row, row);
    return out;
  }

  /// The elements of a tensor as f32, rows in Hugging Face's order.
  public float[] floats(String name, int... shape) {
    var values = tensor(name, shape).toFloats();
    int heads = heads(name);
    if (heads == 0) return values;
    var out = new float[values.length];
    for (int r = 0; r < shape[0]; r++) System.arraycopy(values, source(r, shape[0] / heads) * shape[1], out, r * shape[1], shape[1]);
    return out;
  }

  /// How a tensor is stored.
  public GgufType type(String name) {
    var e = tensors.get(name);
    return e == null ? GgufType.F32 : e.type();
  }

  private int heads(String name) {
    return name.endsWith("q_proj.weight") ? config.heads() : name.endsWith("k_proj.weight") ? config.kvHeads() : 0;
  }

  /// The row of neighbours' order that is row r of halves' order, for heads of width d.
  private static int source(int r, int d) {
    int i = r % d;
    return r - i + (i < d / 2 ? 2 * i : 2 * (i - d / 2) + 1);
  }

  private static Optional<String> name(String gguf) {
    switch (gguf) {
      case "token_embd.weight":
        return Optional.of("model.embed_tokens.weight");
      case "output_norm.weight":
        return Optional.of("model.norm.weight");
      case "output.weight":
        return Optional.of("lm_head.weight");
      default:
        break;
    }
    var parts = gguf.split("\\.", -1);
    boolean block = parts.length == 4 && parts[0].equals("blk") && parts[1].matches("[0-9]{1,4}") && parts[3].equals("weight");
    if (!block || !LAYER.containsKey(parts[2])) return Optional.empty();
    return Optional.of("model.layers." + parts[1] + "." + LAYER.get(parts[2]) + ".weight");
  }

  private LlamaConfig configured() {
    var architecture = file.text("general.architecture").orElse("");
    if (!architecture.equals("llama")) throw new InvalidInput(file.path() + " holds a model of architecture '" + architecture + "'", "supported is llama");
    if (file.integer("llama.expert_count").orElse(0L) > 0) throw new InvalidInput(file.path() + " is a mixture of experts", "this is not supported");
    int hidden = integer("embedding_length");
    int heads = integer("attention.head_count");
    int kvHeads = (int) (long) file.integer("llama.attention.head_count_kv").orElse((long) heads);
    int headDim = (int) (long) file.integer("llama.attention.key_length").orElse((long) hidden / Math.max(1, heads));
    long rotary = file.integer("llama.rope.dimension_count").orElse((long) headDim);
    if (rotary != headDim) throw new InvalidInput(file.path() + " rotates " + rotary + " of " + headDim + " dimensions of a head", "partial rotation is not supported");
    var embedding = tensors.get("model.embed_tokens.weight");
    if (embedding == null || embedding.shape().length != 2) throw Gguf.wrong(file.path(), "it has no matrix token_embd.weight");
    return new LlamaConfig(
        embedding.shape()[0], hidden, integer("feed_forward_length"), integer("block_count"), heads, kvHeads, headDim, integer("context_length"),
        file.number("llama.attention.layer_norm_rms_epsilon").orElseThrow(() -> missing("attention.layer_norm_rms_epsilon")),
        file.number("llama.rope.freq_base").orElse(10_000.0), scale(), !tensors.containsKey("lm_head.weight"), id("bos_token_id"),
        id("eos_token_id").stream().boxed().toList(), id("padding_token_id"), "float32");
  }

  private double scale() {
    var kind = file.text("llama.rope.scaling.type").orElse("none");
    if (kind.equals("none")) return 1;
    if (!kind.equals("linear")) throw new InvalidInput(file.path() + " has rope scaling '" + kind + "'", "supported are none and linear");
    return file.number("llama.rope.scaling.factor").orElse(1.0);
  }

  private InvalidInput missing(String key) {
    return new InvalidInput(file.path() + " lacks the key llama." + key, "the file is no complete Llama");
  }

  private int integer(String key) {
    long value = file.integer("llama." + key).orElseThrow(() -> missing(key));
    if (value < 0 || value > Integer.MAX_VALUE) throw Gguf.wrong(file.path(), "llama." + key + " is " + Long.toUnsignedString(value));
    return (int) value;
  }

  private OptionalInt id(String key) {
    var value = file.integer("tokenizer.ggml." + key);
    boolean usable = value.isPresent() && value.get() >= 0 && value.get() < tensors.get("model.embed_tokens.weight").shape()[0];
    return usable ? OptionalInt.of((int) (long) value.get()) : OptionalInt.empty();
  }

  /// The tokenizer in the file.
  /// @throws InvalidInput if it is of a kind that is not supported
  public Tokenizer tokenizer() {
    var kind = file.text("tokenizer.ggml.model").orElse("none");
    if (!kind.equals("llama")) {
      throw new InvalidInput(file.path() + " has a tokenizer of kind '" + kind + "'", "supported is llama (SentencePiece); give the model's own with --tokenizer");
    }
    var texts = file.texts("tokenizer.ggml.tokens").orElse(List.of());
    var scores = floats("tokenizer.ggml.scores", texts.size());
    var types = types("tokenizer.ggml.token_type", texts.size());
    var name = "the tokenizer of " + file.path();
    var bos = text(texts, id("bos_token_id"), "<s>");
    var eos = text(texts, id("eos_token_id"), "</s>");
    boolean space = file.flag("tokenizer.ggml.add_space_prefix").orElse(true);
    return SentencePieceBpe.of(name, texts, scores, types, space, bos, eos)
        .withEnds(file.flag("tokenizer.ggml.add_bos_token").orElse(true), file.flag("tokenizer.ggml.add_eos_token").orElse(false));
  }

  private static String text(List<String> texts, OptionalInt id, String otherwise) {
    return id.isPresent() && id.getAsInt() < texts.size() ? texts.get(id.getAsInt()) : otherwise;
  }

  private float[] floats(String key, int n) {
    var data = file.numbers(key, true).orElseThrow(() -> Gguf.wrong(file.path(), "it lacks " + key));
    if (data.byteSize() != 4L * n) throw Gguf.wrong(file.path(), key + " has " + data.byteSize() / 4 + " values for " + n + " tokens");
    return data.toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
  }

  private int[] types(String key, int n) {
    var data = file.numbers(key, false).orElseThrow(() -> Gguf.wrong(file.path(), "it lacks " + key));
    if (data.byteSize() != 4L * n) throw Gguf.wrong(file.path(), key + " has " + data.byteSize() / 4 + " values for " + n + " tokens");
    return data.toArray(ValueLayout.JAVA_INT_UNALIGNED);
  }

  @Override
  public void close() {
    file.close();
  }
}
