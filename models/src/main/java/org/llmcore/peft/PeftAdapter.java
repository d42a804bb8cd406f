package org.llmcore.peft;

import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AdapterConfig;
import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.checkpoint.ModelFiles;
import org.llmcore.checkpoint.PromptConfig;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.model.Decoder;
import org.llmcore.model.LanguageModel;
import org.llmcore.op.Device;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;
import org.llmcore.tensor.Weight;

/// Adapters in PEFT's files: `adapter_config.json` and `adapter_model.safetensors` (f32; `prompt_embeddings` (n, C), or
/// `base_model.model.<module>.lora_A.weight` (r, inputs), `….lora_B.weight` (outputs, r)).
public final class PeftAdapter {
  private static final String CONFIG = "adapter_config.json";
  private static final String WEIGHTS = "adapter_model.safetensors";

  private PeftAdapter() {}

  /// Whether a folder holds an adapter.
  public static boolean in(Path folder) {
    return Files.exists(folder.resolve(CONFIG));
  }

  /// Attaches the adapter of a folder, whatever its method, to a model.
  /// @throws InvalidInput if a tensor is missing, left over or of another shape than the model asks for
  public static Adapter attach(Device device, Decoder base, Path folder, Region region) {
    return switch (AdapterConfig.read(folder.resolve(CONFIG))) {
      case LoraConfig c -> load(device, base, c, folder, region);
      case PromptConfig c -> load(device, base, c, folder, region);
    };
  }

  private static SoftPrompt load(Device device, Decoder base, PromptConfig config, Path folder, Region region) {
    weights(folder);
    try (var file = Safetensors.open(folder.resolve(WEIGHTS))) {
      fit(file, file.entries(), SoftPrompt.attach(base, config, Region.measuring("adapter")), "num_virtual_tokens and token_dim ask");
      var prompt = SoftPrompt.attach(base, config, region);
      prompt.parameters().map().forEach((name, t) -> read(device, file.get(name), t, false));
      return prompt;
    }
  }

  /// Attaches the LoRA adapter of a folder to a model.
  /// @throws InvalidInput if a tensor is missing, left over or of another shape than the model asks for, or the adapter is no LoRA
  public static Lora load(Device device, Decoder base, Path folder, Region region) {
    return load(device, base, LoraConfig.read(folder.resolve(CONFIG)), folder, region);
  }

  private static Lora load(Device device, Decoder base, LoraConfig config, Path folder, Region region) {
    weights(folder);
    try (var file = Safetensors.open(folder.resolve(WEIGHTS))) {
      var tensors = named(file);
      var replaced = replaced(device, base, config, tensors);
      // Whatever rank the configuration claims, memory is taken only for weights that are there.
      fit(file, tensors, Lora.attach(base, config, Region.measuring("adapter"), replaced), "this model and r ask");
      var lora = Lora.attach(base, config, region, replaced);
      lora.parameters().map().forEach((name, t) -> read(device, tensors.get(name), t, transposed(name)));
      return lora;
    }
  }

  /// The tensors under the names that PEFT writes today, whichever spelling of them the file has.
  private static Map<String, Safetensors.Entry> named(Safetensors file) {
    var out = new TreeMap<String, Safetensors.Entry>();
    for (var e : file.entries().values()) {
      if (e.name().endsWith("rotary_emb.inv_freq")) continue;
      var name = e.name().replaceFirst("\\.(lora_[AB])\\.default\\.weight$", ".$1.weight").replaceFirst("\\.lora_magnitude_vector\\.weight$",
          ".lora_magnitude_vector");
      if (out.put(name, e) != null) throw new InvalidInput(file.path() + " holds " + name + " twice", "save the adapter anew");
    }
    return out;
  }

  /// Takes out of `tensors` what PEFT saves of the base's embedding and head (`save_embedding_layers`). Where that differs from the
  /// base it goes back under the name of the module in whose place it stands.
  /// @return these modules; with a tied head the embedding is both
  private static Set<String> replaced(Device device, Decoder base, LoraConfig config, Map<String, Safetensors.Entry> tensors) {
    var places = new TreeMap<>(Map.of(
        Lora.PREFIX + Lora.EMBEDDING + ".weight", Lora.EMBEDDING,
        Lora.PREFIX + Decoder.HEAD + (config.targets(Decoder.HEAD) ? ".base_layer.weight" : ".weight"), Decoder.HEAD));
    places.keySet().forEach(name -> vocabulary(base, tensors.get(name)));
    var found = new TreeMap<String, Safetensors.Entry>();
    places.forEach((name, module) -> {
      if (tensors.containsKey(name) && config.saves(module).isEmpty()) found.put(module, tensors.remove(name));
    });
    // One tensor in PEFT too: what is read last counts.
    if (base.config().tiedHead() && config.saves(Lora.EMBEDDING).isEmpty() && config.saves(Decoder.HEAD).isEmpty()) {
      var head = found.remove(Decoder.HEAD);
      if (head != null) found.put(Lora.EMBEDDING, head);
    }
    if (Lora.shares(base, config, Set.of())) {
      found.remove(Decoder.HEAD);
      tensors.remove(Lora.PREFIX + Decoder.HEAD + ".weight");
    }
    found.entrySet().removeIf(e -> same(device, e.getKey().equals(Decoder.HEAD) ? base.head() : base.embedding(), e.getValue()));
    found.forEach((module, e) -> tensors.put(Lora.PREFIX + module + ".weight", e));
    return found.keySet();
  }

  private static void vocabulary(Decoder base, Safetensors.Entry e) {
    int rows = base.config().vocabulary();
    if (e == null || e.shape().length == 0 || e.shape()[0] == rows) return;
    throw new InvalidInput("adapter tensor " + e.name() + " has " + e.shape()[0] + " rows, the model a vocabulary of " + rows,
        "the vocabulary was resized for this adapter: save the resized base as well, and use that");
  }

  private static boolean same(Device device, Weight weight, Safetensors.Entry e) {
    if (!(weight instanceof Tensor t) || !Arrays.equals(e.shape(), t.shape().dims())) return false;
    try (var host = Region.fixed("comparison", Region.align(t.bytes()))) {
      var held = host.carve(t.dtype(), t.shape());
      device.download(t, held.segment());
      var row = new float[t.dim(1)];
      for (int r = 0; r < t.dim(0); r++) {
        e.floats((long) r * row.length, row, row.length);
        for (int c = 0; c < row.length; c++) if (held.get((long) r * row.length + c) != row[c]) return false;
      }
      return true;
    }
  }

  private static void weights(Path folder) {
    if (Files.exists(folder.resolve(WEIGHTS))) return;
    var pickle = folder.resolve("adapter_model.bin");
    if (Files.exists(pickle)) ModelFiles.refusePickle(pickle);
    throw new InvalidInput(folder + " has no " + WEIGHTS, "give an adapter folder as PEFT writes it");
  }

  private static void fit(Safetensors file, Map<String, Safetensors.Entry> tensors, Adapter adapter, String asking) {
    for (var e : tensors.entrySet()) {
      if (!adapter.parameters().map().containsKey(e.getKey())) {
        throw new InvalidInput(file.path() + " holds " + e.getValue().name() + ", which this model has no place for",
            "the adapter belongs to another base model or method");
      }
    }
    adapter.parameters()
        .map()
        .forEach(
            (name, t) -> {
              var e = tensors.containsKey(name) ? tensors.get(name) : file.get(name); // which says what there is instead
              var asked = transposed(name) ? Shape.of(t.dim(1), t.dim(0)) : t.shape();
              if (Arrays.equals(e.shape(), asked.dims())) return;
              throw new InvalidInput(
                  "adapter tensor " + name + " has shape " + e.describe() + ", " + asking + " for " + asked,
                  "the adapter belongs to another base model");
            });
  }

  private static boolean transposed(String name) {
    return name.endsWith(".lora_B.weight");
  }

  private static void read(Device device, Safetensors.Entry e, Tensor t, boolean transposed) {
    var values = e.toFloats();
    for (float v : values) if (!Float.isFinite(v)) throw new InvalidInput("adapter tensor " + e.name() + " holds " + v, "the training it comes from diverged, or the file is damaged");
    LanguageModel.upload(device, t, transposed ? transpose(values, e.shape()[0], e.shape()[1]) : values);
  }

  /// (rows, columns) to (columns, rows).
  private static float[] transpose(float[] x, int rows, int columns) {
    var out = new float[x.length];
    for (int r = 0; r < rows; r++) for (int c = 0; c < columns; c++) out[c * rows + r] = x[r * columns + c];
    return out;
  }

  /// Writes an adapter folder that PEFT loads; it appears whole or not at all.
  public static void save(Device device, Adapter adapter, Path folder) {
    AtomicFile.folder(folder, temp -> write(device, adapter, temp));
  }

  /// Writes the two files into an existing folder.
  public static void write(Device device, Adapter adapter, Path folder) {
    AtomicFile.write(folder.resolve(CONFIG), adapter.config().toJson());
    Safetensors.write(folder.resolve(WEIGHTS), items(device, adapter));
  }

  private static List<Safetensors.Item> items(Device device, Adapter adapter) {
    var items = new ArrayList<Safetensors.Item>();
    adapter.parameters().map().forEach((name, t) -> items.add(transposed(name) ? turned(device, name, t) : LanguageModel.item(device, name, t)));
    return items;
  }

  private static Safetensors.Item turned(Device device, String name, Tensor t) {
    var values = new float[Math.toIntExact(t.elements())];
    device.download(t, MemorySegment.ofArray(values));
    var bytes = MemorySegment.ofArray(new byte[Math.multiplyExact(4, values.length)]);
    bytes.copyFrom(MemorySegment.ofArray(transpose(values, t.dim(0), t.dim(1))));
    return Safetensors.Item.of(name, DType.F32, new int[] {t.dim(1), t.dim(0)}, bytes);
  }
}
