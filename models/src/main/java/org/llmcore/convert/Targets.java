package org.llmcore.convert;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.FileOutput;
import org.llmcore.checkpoint.Llama2c;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.SafetensorsStream;
import org.llmcore.gguf.GgufTokenizer;
import org.llmcore.gguf.GgufType;
import org.llmcore.gguf.GgufWriter;
import org.llmcore.gguf.LlamaKeys;
import org.llmcore.gguf.LlamaNames;
import org.llmcore.text.ChatTemplate;
import org.llmcore.text.Llama2cTokenizer;
import org.llmcore.text.Tokenizers;
import org.llmcore.text.Vocabulary;
import org.llmcore.text.Wordless;

/// The three formats, written at a temporary place.
final class Targets {
  private static final List<String> WORDS = List.of("tokenizer.json", "tokenizer.model", "tokenizer.bin");
  private static final List<String> BESIDE =
      List.of("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
          "generation_config.json");

  private Targets() {}

  static void gguf(Path temp, String name, Source source, Plan plan, Writing.Listener listener) {
    var config = source.config();
    var keys = LlamaKeys.of(config, name, plan.most());
    GgufTokenizer.write(keys, source.tokenizer(), config.vocabulary());
    LlamaKeys.ends(keys, config);
    source.template().ifPresent(t -> keys.put("tokenizer.chat_template", t));
    var parts = new LinkedHashMap<String, Part>();
    var promises = new ArrayList<GgufWriter.Promise>();
    plan.types().forEach((p, t) -> {
      var promise = new GgufWriter.Promise(LlamaNames.gguf(p.name()), t, p.shape());
      parts.put(promise.name(), p);
      promises.add(promise);
    });
    var writing = new Writing(source, true, plan.bytes(), listener);
    GgufWriter.write(temp, keys, promises, (t, out) -> writing.write(parts.get(t.name()), t.type(), out));
  }

  /// @param limit most bytes of a shard that has more than one tensor
  static void folder(Path temp, Source source, Plan plan, long limit, Writing.Listener listener) throws IOException {
    var dtype = plan.types().values().iterator().next();
    Files.writeString(temp.resolve("config.json"), source.config()
        .stored(dtype == GgufType.F32 ? "float32" : dtype == GgufType.BF16 ? "bfloat16" : "float16").toJson());
    Files.writeString(temp.resolve("generation_config.json"), source.config().generationJson());
    words(temp, source);
    var shards = new ArrayList<List<Part>>();
    long size = 0;
    for (var p : plan.types().keySet()) {
      long bytes = p.rows() * dtype.bytes(p.columns());
      if (shards.isEmpty() || size + bytes > limit) {
        shards.add(new ArrayList<>());
        size = 0;
      }
      shards.getLast().add(p);
      size += bytes;
    }
    var writing = new Writing(source, false, plan.bytes(), listener);
    var places = JsonNodeFactory.instance.objectNode();
    places.putObject("metadata").put("total_size", plan.bytes());
    var map = places.putObject("weight_map");
    for (int s = 0; s < shards.size(); s++) {
      var file = shards.size() == 1 ? "model.safetensors" : "model-%05d-of-%05d.safetensors".formatted(s + 1, shards.size());
      var parts = new LinkedHashMap<String, Part>();
      for (var p : shards.get(s)) {
        parts.put(p.name(), p);
        map.put(p.name(), file);
      }
      var promises = parts.values().stream().map(p ->
          SafetensorsStream.Promise.of(p.name(), dtype.dtype().orElseThrow(), p.shape())).toList();
      SafetensorsStream.write(temp.resolve(file), Map.of("format", "pt"), promises, (t, out) ->
          writing.write(parts.get(t.name()), dtype, out));
    }
    if (shards.size() > 1) Files.writeString(temp.resolve("model.safetensors.index.json"), places.toPrettyString() + "\n");
  }

  /// A folder's own tokenizer files as they are; else such as transformers reads.
  private static void words(Path temp, Source source) throws IOException {
    if (source instanceof FolderSource f && f.own().isPresent() && WORDS.stream()
        .anyMatch(w -> Files.exists(f.own().get().resolve(w)))) {
      for (var list : List.of(WORDS, BESIDE)) {
        for (var name : list) {
          var file = f.own().get().resolve(name);
          if (Files.exists(file)) Files.copy(file, temp.resolve(name), java.nio.file.StandardCopyOption.REPLACE_EXISTING);
        }
      }
      return;
    }
    var t = source.tokenizer();
    Tokenizers.save(t instanceof Llama2cTokenizer ? Vocabulary.of(t).tokenizer("the tokenizer", Vocabulary.Ends.of(t)) : t, temp);
    source.template().ifPresent(text -> ChatTemplate.save(text, temp));
  }

  /// @throws InvalidInput if the format has no place for what the model is
  static void checkLlama2c(Source source) {
    var c = source.config();
    var wrong = c.rmsEps() != 1e-5 ? "rms_norm_eps " + c.rmsEps() + " (1e-5)" : c.ropeTheta() != 10000 ? "rope_theta "
        + c.ropeTheta() + " (10000)"
        : c.ropeScale() != 1 ? "rope scaling" : c.headDim() * c.heads() != c.hidden() ? "heads of width " + c.headDim()
            + " (hidden / heads)" : "";
    if (!wrong.isEmpty()) throw new InvalidInput("llama2.c has no place for this model's " + wrong, "write gguf or hf");
    boolean own = source.tokenizer() instanceof Llama2cTokenizer || source.tokenizer() instanceof Wordless;
    if (!own) Vocabulary.of(source.tokenizer()).toLlama2c();
  }

  /// The tokenizer file that goes with a checkpoint.
  static byte[] llama2cWords(Source source) {
    return source.tokenizer() instanceof Llama2cTokenizer t ? t.toBytes() : Vocabulary.of(source.tokenizer()).toLlama2c();
  }

  static void llama2c(Path temp, Source source, Plan plan, Writing.Listener listener) {
    var c = source.config();
    var parts = new LinkedHashMap<String, Part>();
    plan.types().keySet().forEach(p -> parts.put(p.name(), p));
    var writing = new Writing(source, true, plan.bytes(), listener);
    try (var out = new FileOutput(temp)) {
      out.i32(c.hidden()).i32(c.intermediate()).i32(c.layers()).i32(c.heads()).i32(c.kvHeads());
      out.i32(c.tiedHead() ? c.vocabulary() : -c.vocabulary()).i32(c.contextLength());
      for (var place : Llama2c.places(c).entrySet()) {
        if (place.getKey().equals("lm_head.weight")) table(c, out);
        if (out.position() != place.getValue()) throw new IllegalStateException(place.getKey() + " is not where it belongs");
        writing.write(parts.get(place.getKey()), GgufType.F32, out);
      }
      if (c.tiedHead()) table(c, out);
    }
  }

  /// Cosines, then sines, of position · theta^(−2i/d), which llama2.c's later programs skip.
  private static void table(LlamaConfig c, FileOutput out) {
    for (boolean sine : new boolean[] {false, true}) {
      for (int t = 0; t < c.contextLength(); t++) {
        for (int i = 0; i < c.headDim(); i += 2) {
          float angle = t * (float) (1 / Math.pow(c.ropeTheta(), (double) i / c.headDim()));
          out.f32((float) (sine ? StrictMath.sin(angle) : StrictMath.cos(angle)));
        }
      }
    }
  }
}
