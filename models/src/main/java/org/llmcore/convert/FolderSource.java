package org.llmcore.convert;

import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.GptqConfig;
import org.llmcore.checkpoint.GptqFiles;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.ModelFiles;
import org.llmcore.gguf.GgufType;
import org.llmcore.model.LanguageModel;
import org.llmcore.quant.GroupedCodes;
import org.llmcore.tensor.DType;
import org.llmcore.text.ChatTemplate;
import org.llmcore.text.Tokenizer;

/// A Hugging Face folder, dense or GPTQ's.
///
/// A GPTQ layer on a symmetric grid without reordering, in groups of a multiple of 32 with f16 scales, is what GGML calls Q4_0
/// (four bits, zero 8) or Q8_0 (eight bits, zero 128): its codes are handed out as such blocks, and stay what they are.
final class FolderSource implements Source {
  private static final int BLOCK = 32;

  private final Path folder;
  private final boolean own;
  private final LlamaConfig config;
  private final Tokenizer tokenizer;
  private final ModelFiles files;
  private final Optional<GptqFiles> packed;
  private final List<String> notes = new ArrayList<>();
  private final Map<String, Optional<GgufType>> types = new HashMap<>();
  private Optional<Layer> layer = Optional.empty(); // the one read last

  private record Layer(String name, GroupedCodes codes) {}

  private FolderSource(Path folder, boolean own, LlamaConfig config, Tokenizer tokenizer, ModelFiles files) {
    this.folder = folder;
    this.own = own;
    this.config = config;
    this.tokenizer = tokenizer;
    this.files = files;
    packed = GptqConfig.find(folder).map(c -> GptqFiles.of(files.entries(), c));
    packed.ifPresent(p -> notes.addAll(p.notes()));
    for (var part : Part.of(config)) types.put(part.name(), checked(part));
  }

  static FolderSource open(Path folder, Optional<Path> tokenizer) {
    var config = LlamaConfig.read(folder.resolve("config.json"));
    var words = LanguageModel.words(folder, tokenizer, config);
    var files = ModelFiles.open(folder);
    try {
      return new FolderSource(folder, tokenizer.isEmpty(), config.fitting(files.entries()), words, files);
    } catch (RuntimeException e) {
      files.close();
      throw e;
    }
  }

  private Optional<GgufType> checked(Part part) {
    if (quantized(part)) {
      packed.orElseThrow().spec(layer(part), part.rows(), part.columns());
      return blocks(part);
    }
    var e = files.entries().get(part.name());
    if (e == null) throw new InvalidInput("the files lack the tensor " + part.name(),
        "config.json and the weights must belong together");
    if (!Arrays.equals(e.shape(), part.shape())) {
      throw new InvalidInput("tensor " + e.name() + " is " + e.describe() + ", config.json asks for "
          + Arrays.toString(part.shape()),
          "config.json and the weights must belong together");
    }
    return switch (e.dtype()) {
      case "F32" -> Optional.of(GgufType.F32);
      case "F16" -> Optional.of(GgufType.F16);
      case "BF16" -> Optional.of(GgufType.BF16);
      default -> throw new InvalidInput("tensor " + e.name() + " is " + e.describe(), "F32, F16 and BF16 can be converted");
    };
  }

  /// Q4_0 or Q8_0, if the codes of a layer are that.
  private Optional<GgufType> blocks(Part part) {
    var spec = packed.orElseThrow().spec(layer(part), part.rows(), part.columns());
    boolean fits = spec.size() % BLOCK == 0 && part.columns() % BLOCK == 0 && spec.scales() == DType.F16 && spec.groupOf()
        .isEmpty();
    if (!fits || spec.bits() != 4 && spec.bits() != 8) return Optional.empty();
    int centre = 1 << spec.bits() - 1;
    for (int z : packed.get().zeros(layer(part), spec, part.rows())) if (z != centre) return Optional.empty();
    return Optional.of(spec.bits() == 4 ? GgufType.Q4_0 : GgufType.Q8_0);
  }

  private static String layer(Part part) {
    return part.name().substring(0, part.name().length() - ".weight".length());
  }

  private boolean quantized(Part part) {
    return packed.isPresent() && part.matrix() && packed.get().has(layer(part));
  }

  private GroupedCodes codes(Part part) {
    if (layer.isEmpty() || !layer.get().name.equals(part.name())) {
      layer = Optional.empty(); // the memory of two layers is never held
      layer = Optional.of(new Layer(part.name(), packed.orElseThrow().read(layer(part), part.rows(), part.columns())));
    }
    return layer.get().codes;
  }

  /// The folder, if the tokenizer is its own.
  Optional<Path> own() {
    return own ? Optional.of(folder) : Optional.empty();
  }

  @Override
  public LlamaConfig config() {
    return config;
  }

  @Override
  public Tokenizer tokenizer() {
    return tokenizer;
  }

  @Override
  public Optional<String> template() {
    return ChatTemplate.beside(folder);
  }

  @Override
  public List<String> notes() {
    return notes;
  }

  @Override
  public String describe() {
    return packed.isPresent() ? "GPTQ folder of " + packed.get().config().bits() + " bits" : "Hugging Face folder";
  }

  @Override
  public Optional<GgufType> type(Part part) {
    return types.get(part.name());
  }

  @Override
  public void read(Part part, int from, int to, float[] out) {
    if (!quantized(part)) {
      files.entries().get(part.name()).floats((long) from * part.columns(), out, (to - from) * part.columns());
      return;
    }
    var c = codes(part);
    int groups = c.scales().length / c.outputs();
    for (int r = from, n = 0; r < to; r++) {
      for (int i = 0; i < part.columns(); i++, n++) {
        int g = r * groups + (c.groupOf().isPresent() ? c.groupOf().get()[i] : i / c.groupSize());
        out[n] = c.scales()[g] * ((c.q()[r * part.columns() + i] & 0xff) - c.zeros()[g]);
      }
    }
  }

  @Override
  public MemorySegment row(Part part, int r) {
    var type = type(part).orElseThrow(() -> new IllegalArgumentException(part.name() + " has no type"));
    if (quantized(part)) return MemorySegment.ofArray(blocks(codes(part), r, type));
    var e = files.entries().get(part.name());
    long bytes = type.bytes(part.columns());
    return e.data().asSlice(r * bytes, bytes);
  }

  private static byte[] blocks(GroupedCodes c, int r, GgufType type) {
    int groups = c.scales().length / c.outputs();
    var out = ByteBuffer.allocate(Math.toIntExact(type.bytes(c.inputs()))).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < c.inputs(); i += BLOCK) {
      out.putShort(Float.floatToFloat16(c.scales()[r * groups + i / c.groupSize()]));
      int at = r * c.inputs() + i;
      if (type == GgufType.Q8_0) for (int j = 0; j < BLOCK; j++) out.put((byte) (c.q()[at + j] - 128));
      else for (int j = 0; j < BLOCK / 2; j++) out.put((byte) (c.q()[at + j] | c.q()[at + BLOCK / 2 + j] << 4));
    }
    return out.array();
  }

  @Override
  public void close() {
    files.close();
  }
}
