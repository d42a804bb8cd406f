package org.llmcore.checkpoint;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Stream;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;

import org.llmcore.InvalidInput;

/// The tensors of a Hugging Face folder: one `model.safetensors`, or shards named by `model.safetensors.index.json`; or the same under the
/// names of old GPTQ checkpoints, `gptq_model-…` or what `quantize_config.json` calls them.
public final class ModelFiles implements AutoCloseable {
  private static final String SINGLE = "model.safetensors";
  private static final String INDEX = "model.safetensors.index.json";

  private final List<Safetensors> files = new ArrayList<>();
  private final Map<String, Safetensors.Entry> entries = new LinkedHashMap<>();

  private ModelFiles() {}

  /// Opens and checks all files of a folder.
  /// @throws InvalidInput naming the missing shard or tensor, or pickle files that are refused
  public static ModelFiles open(Path folder) {
    var all = new ModelFiles();
    try {
      var file = Stream.of(INDEX, SINGLE).map(folder::resolve).filter(Files::exists).findFirst().or(() -> named(folder)).or(() -> old(folder))
          .orElseThrow(() -> none(folder));
      if (file.toString().endsWith(".json")) all.sharded(file);
      else all.add(file);
      return all;
    } catch (RuntimeException e) {
      all.close();
      throw e;
    }
  }

  /// The file, or the index of shards, that `quantize_config.json` names.
  private static Optional<Path> named(Path folder) {
    var config = folder.resolve(GptqConfig.FILE);
    if (!Files.exists(config)) return Optional.empty();
    var name = JsonFile.read(config, "download it again", c -> c.text("model_file_base_name", ""));
    if (!name.matches("[A-Za-z0-9._-]+")) return Optional.empty();
    return Stream.of(name + ".safetensors.index.json", name + ".safetensors").map(folder::resolve).filter(Files::exists).findFirst();
  }

  /// The one file of an old GPTQ checkpoint, `gptq_model-4bit-128g.safetensors`, or the index of its shards.
  private static Optional<Path> old(Path folder) {
    try (var list = Files.list(folder)) {
      var all = list.filter(f -> f.getFileName().toString().matches("gptq_model.*\\.safetensors(\\.index\\.json)?")).sorted().toList();
      var indices = all.stream().filter(f -> f.toString().endsWith(".json")).toList();
      var found = indices.isEmpty() ? all : indices;
      if (found.size() > 1) {
        throw new InvalidInput(folder + " holds " + found.size() + " GPTQ files, such as " + found.getFirst().getFileName(),
            "keep one of them");
      }
      return found.stream().findFirst();
    } catch (IOException _) {
      return Optional.empty();
    }
  }

  /// Refuses files that would have to be unpickled.
  public static void refusePickle(Path file) {
    var name = file.getFileName() == null ? "" : file.getFileName().toString();
    if (name.endsWith(".pt") || name.endsWith(".pth") || name.endsWith(".ckpt")
        || name.matches("(pytorch_model|adapter_model|consolidated).*\\.bin")) {
      throw new InvalidInput(
          file + " is a Python pickle, which can run code when it is opened, and is not read",
          "use safetensors: save the model with save_pretrained(…, safe_serialization=True)");
    }
  }

  private static InvalidInput none(Path folder) {
    try (var list = Files.list(folder)) {
      list.forEach(ModelFiles::refusePickle);
    } catch (IOException _) {
      // the folder cannot be listed: the sentence below says what was looked for
    }
    return new InvalidInput(folder + " holds neither " + SINGLE + " nor " + INDEX, "give a Hugging Face model folder");
  }

  private void add(Path file) {
    var f = Safetensors.open(file);
    files.add(f);
    for (var e : f.entries().values()) {
      if (entries.putIfAbsent(e.name(), e) != null) {
        throw new InvalidInput(file + " holds " + e.name() + ", which another shard holds too", "download it again");
      }
    }
  }

  /// The tensors that an index promises, by file.
  private static Map<String, List<String>> shards(JsonFile index) {
    var map = index.in("weight_map");
    if (map.object().isEmpty()) throw index.wrong("weight_map", "the file of every tensor");
    var shards = new TreeMap<String, List<String>>();
    for (var tensor : map.object().properties()) {
      var file = map.text(tensor.getKey(), "");
      if (!file.matches("[A-Za-z0-9._-]+")) {
        throw new InvalidInput("a shard is named '" + JsonFile.brief(file) + "'", "expected a file name without a folder");
      }
      shards.computeIfAbsent(file, _ -> new ArrayList<>()).add(tensor.getKey());
    }
    return shards;
  }

  private void sharded(Path index) {
    var shards = JsonFile.read(index, "download it again", ModelFiles::shards);
    for (var shard : shards.entrySet()) {
      var file = index.resolveSibling(shard.getKey());
      if (!Files.exists(file)) {
        throw new InvalidInput("shard " + file + " is missing; it holds " + shard.getValue().getFirst(), "download it");
      }
      add(file);
      for (var name : shard.getValue()) {
        if (!files.getLast().entries().containsKey(name)) {
          throw new InvalidInput(file + " lacks the tensor " + name + " that " + index.getFileName() + " promises", "download it again");
        }
      }
    }
  }

  /// All tensors by name.
  public Map<String, Safetensors.Entry> entries() {
    return entries;
  }

  @Override
  public void close() {
    files.forEach(Safetensors::close);
  }

  /// Writes tensors into a folder: one file, or shards of at most `shardBytes` with their index.
  public static void write(Path folder, List<Safetensors.Item> items, long shardBytes) {
    var shards = new Shards(folder, shardBytes);
    shards.add(items);
    shards.finish();
  }

  /// Writes tensors as they come. Those of a shard are held until it is written: in a `Spool`, where they are large.
  public static final class Shards {
    private final Path folder;
    private final long limit;
    private final List<Safetensors.Item> held = new ArrayList<>();
    private final Map<String, Integer> places = new LinkedHashMap<>();
    private int written;
    private long size;
    private long total;

    /// @param limit most bytes of a shard that has more than one tensor
    public Shards(Path folder, long limit) {
      this.folder = folder;
      this.limit = limit;
    }

    /// Adds tensors.
    public void add(List<Safetensors.Item> items) {
      for (var i : items) {
        if (!held.isEmpty() && size + i.bytes() > limit) flush();
        held.add(i);
        size += i.bytes();
        total += i.bytes();
      }
    }

    /// Writes what is held, and the index where there is more than one shard.
    public void finish() {
      if (written == 0) {
        Safetensors.write(folder.resolve(SINGLE), held);
        return;
      }
      if (!held.isEmpty()) flush();
      var root = JsonNodeFactory.instance.objectNode();
      root.putObject("metadata").put("total_size", total);
      var map = root.putObject("weight_map");
      places.forEach((tensor, shard) -> map.put(tensor, name(shard)));
      try {
        for (int s = 1; s <= written; s++) Files.move(part(s), folder.resolve(name(s)));
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
      AtomicFile.write(folder.resolve(INDEX), root.toPrettyString() + "\n");
    }

    private void flush() {
      Safetensors.write(part(++written), held);
      for (var i : held) places.put(i.name(), written);
      held.clear();
      size = 0;
    }

    /// A shard's name tells how many there are, which is known at the end.
    private Path part(int shard) {
      return folder.resolve("part-" + shard + ".safetensors");
    }

    private String name(int shard) {
      return "model-%05d-of-%05d.safetensors".formatted(shard, written);
    }
  }
}
