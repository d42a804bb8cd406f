package org.llmcore.peft;

import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

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
      fit(file, SoftPrompt.attach(base, config, Region.measuring("adapter")));
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
      // Whatever rank the configuration claims, memory is taken only for weights that are there.
      fit(file, Lora.attach(base, config, Region.measuring("adapter")));
      var lora = Lora.attach(base, config, region);
      lora.parameters().map().forEach((name, t) -> read(device, file.get(name), t, transposed(name)));
      return lora;
    }
  }

  private static void weights(Path folder) {
    if (Files.exists(folder.resolve(WEIGHTS))) return;
    var pickle = folder.resolve("adapter_model.bin");
    if (Files.exists(pickle)) ModelFiles.refusePickle(pickle);
    throw new InvalidInput(folder + " has no " + WEIGHTS, "give an adapter folder as PEFT writes it");
  }

  private static void fit(Safetensors file, Adapter adapter) {
    for (var name : file.entries().keySet()) {
      if (!adapter.parameters().map().containsKey(name)) {
        throw new InvalidInput(file.path() + " holds " + name + ", which this model has no place for",
            "the adapter belongs to another base model or method");
      }
    }
    adapter.parameters()
        .map()
        .forEach(
            (name, t) -> {
              var e = file.get(name);
              var asked = transposed(name) ? Shape.of(t.dim(1), t.dim(0)) : t.shape();
              if (Arrays.equals(e.shape(), asked.dims())) return;
              throw new InvalidInput(
                  "adapter tensor " + name + " has shape " + e.describe() + ", this model and r ask for " + asked,
                  "the adapter belongs to another base model");
            });
  }

  private static boolean transposed(String name) {
    return name.endsWith(".lora_B.weight");
  }

  private static void read(Device device, Safetensors.Entry e, Tensor t, boolean transposed) {
    var values = e.toFloats();
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
