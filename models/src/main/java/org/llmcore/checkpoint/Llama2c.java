package org.llmcore.checkpoint;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

import org.llmcore.InvalidInput;

/// A llama2.c checkpoint (karpathy/llama2.c, `run.c`, version 0): seven i32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads,
/// vocab_size, seq_len; a negative vocab_size means an untied head), then f32 tensors, each kind for all layers together.
///
/// Meta's rotary embedding pairs neighbours (2i, 2i+1), Hugging Face's pairs halves (i, i + d/2): rows of q and k are
/// permuted when read, so that tensors come out under Hugging Face names with Hugging Face meaning.
public final class Llama2c {
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
  private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;

  private static final int HEADER = 28;
  private static final int LATER_VERSIONS = 0x616b3432; // "ak42"

  private Llama2c() {}

  /// A checkpoint in memory: configuration and tensors by Hugging Face name.
  public record Checkpoint(LlamaConfig config, Map<String, float[]> tensors) {}

  /// Whether a file could be one: its header is plausible and matches its length.
  public static boolean plausible(Path file) {
    try (var channel = FileChannel.open(file, StandardOpenOption.READ); var arena = Arena.ofConfined()) {
      if (channel.size() < 28) return false;
      var head = channel.map(FileChannel.MapMode.READ_ONLY, 0, 28, arena);
      var config = config(file, head);
      return channel.size() == size(config);
    } catch (IOException | InvalidInput _) {
      return false;
    }
  }

  /// The configuration in a file's header; no tensor is read.
  /// @throws InvalidInput if header and length do not agree
  public static LlamaConfig configuration(Path file) {
    if (!Files.isRegularFile(file)) throw new InvalidInput("there is no file " + file, "check the path");
    try (var channel = FileChannel.open(file, StandardOpenOption.READ); var arena = Arena.ofConfined()) {
      return configuration(file, channel.map(FileChannel.MapMode.READ_ONLY, 0, Math.min(28, channel.size()), arena),
          channel.size());
    } catch (IOException e) {
      throw new InvalidInput("cannot read " + file + ": " + e.getMessage(), "check that it is a readable file", e);
    }
  }

  private static LlamaConfig configuration(Path file, MemorySegment m, long bytes) {
    if (bytes < 28) throw new InvalidInput(file + " has " + bytes + " bytes, too few for a llama2.c header", "download it again");
    var config = config(file, m);
    if (bytes == size(config)) return config;
    throw new InvalidInput(
        file + " has " + bytes + " bytes, its llama2.c header (" + config.layers() + " layers of width " + config.hidden()
            + ", vocabulary " + config.vocabulary() + ") asks for " + size(config),
        "it is truncated or of another version");
  }

  /// Reads a file.
  /// @throws InvalidInput if header and length do not agree
  public static Checkpoint read(Path file) {
    if (!Files.isRegularFile(file)) throw new InvalidInput("there is no file " + file, "check the path");
    try (var channel = FileChannel.open(file, StandardOpenOption.READ); var arena = Arena.ofConfined()) {
      var all = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
      var config = configuration(file, all, channel.size());
      return new Checkpoint(config, tensors(config, all));
    } catch (ArithmeticException e) {
      throw new InvalidInput(file + " holds a tensor of more than 2^31 elements", "convert the model to safetensors", e);
    } catch (IOException e) {
      throw new InvalidInput("cannot read " + file + ": " + e.getMessage(), "check that it is a readable file", e);
    }
  }

  private static LlamaConfig config(Path file, MemorySegment m) {
    try {
      return config(m);
    } catch (InvalidInput e) {
      throw new InvalidInput(file + " is no llama2.c checkpoint of version 0: " + e.getMessage());
    }
  }

  private static LlamaConfig config(MemorySegment m) {
    int dim = m.get(INT, 0);
    int heads = m.get(INT, 12);
    int vocabulary = m.get(INT, 20);
    if (dim == LATER_VERSIONS) throw new InvalidInput("it is of version " + m.get(INT, 4), "export it again with --version 0");
    if (heads < 1 || dim < 1 || dim % heads != 0) {
      throw new InvalidInput("dim " + dim + " with " + heads + " heads", "give a llama2.c .bin file or a Hugging Face folder");
    }
    return new LlamaConfig(
        Math.abs(vocabulary), dim, m.get(INT, 4), m.get(INT, 8), heads, m.get(INT, 16), dim / heads, m.get(INT, 24), 1e-5, 10000,
        1, vocabulary > 0, OptionalInt.of(1), List.of(2), OptionalInt.empty(), "float32");
  }

  private static long size(LlamaConfig c) {
    // The rotary tables that version 0 carries: cos and sin of half a head for every position.
    return HEADER + 4 * (c.parameters() + (long) c.contextLength() * c.headDim());
  }

  /// Where each tensor begins in a file, in bytes, by Hugging Face name and in the file's order. Rows of q and k lie there in the
  /// order of neighbours. Behind `model.norm.weight` lies the rotary table, twice contextLength · headDim / 2 values.
  public static Map<String, Long> places(LlamaConfig c) {
    var out = new LinkedHashMap<String, Long>();
    long q = (long) c.heads() * c.headDim() * c.hidden();
    long kv = (long) c.kvHeads() * c.headDim() * c.hidden();
    long inner = (long) c.intermediate() * c.hidden();
    long at = place(out, "model.embed_tokens.weight", HEADER, (long) c.vocabulary() * c.hidden());
    at = layers(c, out, "input_layernorm", at, c.hidden());
    at = layers(c, out, "self_attn.q_proj", at, q);
    at = layers(c, out, "self_attn.k_proj", at, kv);
    at = layers(c, out, "self_attn.v_proj", at, kv);
    at = layers(c, out, "self_attn.o_proj", at, q);
    at = layers(c, out, "post_attention_layernorm", at, c.hidden());
    at = layers(c, out, "mlp.gate_proj", at, inner);
    at = layers(c, out, "mlp.down_proj", at, inner);
    at = layers(c, out, "mlp.up_proj", at, inner);
    at = place(out, "model.norm.weight", at, c.hidden());
    if (!c.tiedHead()) out.put("lm_head.weight", at + 4L * c.contextLength() * c.headDim());
    return out;
  }

  private static long layers(LlamaConfig c, Map<String, Long> out, String name, long at, long n) {
    for (int i = 0; i < c.layers(); i++) at = place(out, "model.layers." + i + "." + name + ".weight", at, n);
    return at;
  }

  private static long place(Map<String, Long> out, String name, long at, long n) {
    out.put(name, at);
    return at + 4 * n;
  }

  private static Map<String, float[]> tensors(LlamaConfig c, MemorySegment m) {
    var out = new LinkedHashMap<String, float[]>();
    var places = new ArrayList<>(places(c).entrySet());
    for (int i = 0; i < places.size(); i++) {
      var name = places.get(i).getKey();
      long from = places.get(i).getValue();
      long to = i + 1 < places.size() ? places.get(i + 1).getValue() : m.byteSize();
      // The rotary table lies behind the final norm.
      long n = name.equals("model.norm.weight") ? c.hidden() : (to - from) / 4;
      var values = new float[Math.toIntExact(n)];
      MemorySegment.copy(m, FLOAT, from, values, 0, values.length);
      int heads = name.endsWith("q_proj.weight") ? c.heads() : name.endsWith("k_proj.weight") ? c.kvHeads() : 0;
      out.put(name, heads == 0 ? values : halves(values, heads, c.headDim(), c.hidden()));
    }
    return out;
  }

  /// Rows of each head from neighbours to halves: row 2i goes to i, row 2i+1 to i + d/2.
  static float[] halves(float[] w, int heads, int headDim, int in) {
    var out = new float[w.length];
    for (int h = 0; h < heads; h++) {
      for (int i = 0; i < headDim; i++) {
        int to = h * headDim + i / 2 + i % 2 * (headDim / 2);
        System.arraycopy(w, (h * headDim + i) * in, out, to * in, in);
      }
    }
    return out;
  }
}
