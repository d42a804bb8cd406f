package org.llmcore.checkpoint;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;

import org.llmcore.InvalidInput;

/// The tensors of a Hugging Face folder: one `model.safetensors`, or shards named by `model.safetensors.index.json`.
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
      if (Files.exists(folder.resolve(INDEX))) all.sharded(folder);
      else if (Files.exists(folder.resolve(SINGLE))) all.add(folder.resolve(SINGLE));
      else throw none(folder);
      return all;
    } catch (RuntimeException e) {
      all.close();
      throw e;
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

  private void sharded(Path folder) {
    var index = folder.resolve(INDEX);
    var shards = JsonFile.read(index, "download it again", ModelFiles::shards);
    for (var shard : shards.entrySet()) {
      var file = folder.resolve(shard.getKey());
      if (!Files.exists(file)) {
        throw new InvalidInput("shard " + file + " is missing; it holds " + shard.getValue().getFirst(), "download it");
      }
      add(file);
      for (var name : shard.getValue()) {
        if (!files.getLast().entries().containsKey(name)) {
          throw new InvalidInput(file + " lacks the tensor " + name + " that " + INDEX + " promises", "download it again");
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
    var shards = new ArrayList<List<Safetensors.Item>>();
    long size = Long.MAX_VALUE / 2;
    long total = 0;
    for (var i : items) {
      size += i.data().byteSize();
      if (size > shardBytes) {
        shards.add(new ArrayList<>());
        size = i.data().byteSize();
      }
      shards.getLast().add(i);
      total += i.data().byteSize();
    }
    if (shards.size() <= 1) {
      Safetensors.write(folder.resolve(SINGLE), items);
      return;
    }
    var root = JsonNodeFactory.instance.objectNode();
    root.putObject("metadata").put("total_size", total);
    var map = root.putObject("weight_map");
    for (int s = 0; s < shards.size(); s++) {
      var name = "model-%05d-of-%05d.safetensors".formatted(s + 1, shards.size());
      Safetensors.write(folder.resolve(name), shards.get(s));
      for (var i : shards.get(s)) map.put(i.name(), name);
    }
    AtomicFile.write(folder.resolve(INDEX), root.toPrettyString() + "\n");
  }
}
