package org.llmcore.quantize;

import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.checkpoint.GptqConfig;
import org.llmcore.checkpoint.GptqConfig.Version;
import org.llmcore.checkpoint.GptqFiles;
import org.llmcore.checkpoint.ModelFiles;
import org.llmcore.checkpoint.Safetensors.Item;
import org.llmcore.checkpoint.Spool;
import org.llmcore.model.DenseLinear;
import org.llmcore.model.LanguageModel;
import org.llmcore.model.Linear;
import org.llmcore.op.Device;
import org.llmcore.quant.GroupedCodes;
import org.llmcore.tensor.DType;
import org.llmcore.text.ChatTemplate;
import org.llmcore.text.Tokenizers;

/// Quantizes the linear layers of all blocks of a model and writes a GPTQ checkpoint.
///
/// Block by block: its weights are read, its layers quantized in the order {q,k,v}, {o}, {gate,up}, {down}, each set on what the
/// sets before it, quantized already, make of the calibration text (`true_sequential`), and its outputs, with all of it
/// quantized, become the inputs of the next block. Memory: the embedding, one block in f32, one Hessian, the activations of the
/// calibration text (4·tokens·C bytes) and one shard of the result.
public final class ModelQuantizer {
  private static final long SHARD = 2_000_000_000L;

  private ModelQuantizer() {}

  /// What became of a layer. Errors are ‖XWᵀ − XŴᵀ‖² / ‖XWᵀ‖² over the calibration text, of the weights as given; none without
  /// one.
  /// @param damp damping that the factorisation needed; 0 for round to nearest
  /// @param stored bits in the files: codes, scales and zeros
  /// @param dead inputs that are 0 on the whole calibration text
  public record Layer(String name, int outputs, int inputs, int bits, long stored, OptionalDouble roundToNearest,
      OptionalDouble error, double damp, int dead, double seconds) {}

  /// Hears of every layer that is done.
  public interface Progress {
    void layer(int done, int of, Layer layer);
  }

  /// The outcome.
  /// @param notes what should be said about the files
  public record Result(List<Layer> layers, Version version, List<String> notes) {}

  /// Quantizes a model into a new folder, which appears whole or not at all.
  /// @param text calibration sequences; may be empty for round to nearest, whose errors are then unknown
  /// @throws InvalidInput if the model cannot be stored in GPTQ's form, or GPTQ lacks calibration
  public static Result quantize(Device device, Team team, Source source, Settings settings, List<int[]> text, Path out,
      Progress progress) {
    return quantize(device, team, source, settings, Map.of(), text, out, progress);
  }

  /// The same with bits that differ from layer to layer.
  /// @param bits of layers by their full names, where they are not those of the settings
  public static Result quantize(Device device, Team team, Source source, Settings settings, Map<String, Integer> bits,
      List<int[]> text, Path out, Progress progress) {
    var result = new ArrayList<Result>();
    AtomicFile.folder(out, temp -> result.add(write(device, team, source, settings, bits, text, temp, progress)));
    return result.getFirst();
  }

  /// The same into a folder that exists, for who has more to put there before it appears.
  public static Result write(Device device, Team team, Source source, Settings settings, Map<String, Integer> bits,
      List<int[]> text, Path folder, Progress progress) throws IOException {
    if (text.isEmpty() && settings.method() == Settings.Method.GPTQ) {
      throw new InvalidInput("GPTQ needs calibration text", "give --calibration FILE, or use --method rtn");
    }
    Storage.padded(source.config(), settings.bits());
    for (int b : bits.values()) Storage.padded(source.config(), b);
    try (var run = new Run(device, team, source, settings, bits, folder, progress)) {
      return run.run(text);
    }
  }

  /// One model on its way.
  private static final class Run implements BlockStream.Visitor, AutoCloseable {
    private final Device device;
    private final Team team;
    private final Source source;
    private final Settings settings;
    private final Map<String, Integer> bits;
    private final Path folder;
    private final Progress progress;
    private final ModelFiles.Shards shards;
    private final Spool spool; // what is done waits there
    private final List<Layer> layers = new ArrayList<>();
    private final List<Zeros> zeros = new ArrayList<>();
    private final List<String> notes = new ArrayList<>();

    /// Zeros are stored last: their version is known when no layer is left that v1 cannot hold.
    private record Zeros(String layer, int bits, byte[] z, int outputs) {
      int[] values() {
        var out = new int[z.length];
        for (int i = 0; i < out.length; i++) out[i] = z[i] & 0xff;
        return out;
      }
    }

    Run(Device device, Team team, Source source, Settings settings, Map<String, Integer> bits, Path folder, Progress progress) {
      this.device = device;
      this.team = team;
      this.source = source;
      this.settings = settings;
      this.bits = bits;
      this.folder = folder;
      this.progress = progress;
      shards = new ModelFiles.Shards(folder, SHARD);
      spool = new Spool(folder.resolve("spool"));
    }

    private void add(List<Item> items) {
      shards.add(items.stream().map(spool::keep).toList());
    }

    @Override
    public void close() {
      spool.close();
    }

    Result run(List<int[]> text) throws IOException {
      var c = source.config();
      new BlockStream(device, source, text).run(this);
      keep("model.embed_tokens.weight", c.vocabulary(), c.hidden());
      keep("model.norm.weight", c.hidden());
      if (!c.tiedHead()) keep("lm_head.weight", c.vocabulary(), c.hidden());
      boolean v1 = zeros.stream().allMatch(z -> least(z.z) >= 1);
      var version = v1 ? Version.V1 : Version.V2;
      if (!v1) {
        notes.add("some grids begin at 0, which format gptq (v1) cannot store: the files are gptq_v2,"
            + " as GPTQModel, vLLM and transformers read it");
      }
      for (var z : zeros) add(List.of(GptqFiles.zeros(z.layer, z.bits, z.values(), z.outputs, version)));
      shards.finish();
      describe(version);
      return new Result(List.copyOf(layers), version, List.copyOf(notes));
    }

    private static int least(byte[] z) {
      int least = 255;
      for (byte b : z) least = Math.min(least, b & 0xff);
      return least;
    }

    private void describe(Version version) throws IOException {
      var padded = Storage.padded(source.config(), settings.bits());
      if (padded.intermediate() != source.config().intermediate()) {
        notes.add("the MLP's width of %d fills no whole words: stored as %d with channels of weight 0".formatted(source.config()
            .intermediate(), padded.intermediate()));
      }
      var config = new GptqConfig(settings.bits(), settings.group(), settings.symmetric(), settings.actOrder(),
          settings.staticGroups(), version, dynamic(), settings.damp())
          .toJson("llm-core");
      var model = (ObjectNode) new ObjectMapper().readTree(padded.stored("float16").toJson());
      model.set("quantization_config", config);
      Files.writeString(folder.resolve("config.json"), model.toPrettyString() + "\n");
      Files.writeString(folder.resolve(GptqConfig.FILE), config.toPrettyString() + "\n");
      Files.writeString(folder.resolve("generation_config.json"), source.config().generationJson());
      Tokenizers.save(source.tokenizer(), folder);
      source.template().ifPresent(t -> ChatTemplate.save(t, folder));
    }

    /// Layers whose bits are not those of the settings, as patterns. Engines that fuse q, k, v or gate, up look for the name of
    /// the fused layer, so a pattern means that as well.
    private Map<String, Integer> dynamic() {
      var out = new LinkedHashMap<String, Integer>();
      for (var l : layers) {
        if (l.bits() == settings.bits()) continue;
        var name = l.name().replaceFirst("\\.[qkv]_proj$", ".(?:q|k|v|qkv)_proj").replaceFirst("\\.(?:gate|up)_proj$",
            ".(?:gate|up|gate_up)_proj");
        out.put("+:^" + name.replace(".", "\\.") + "$", l.bits());
      }
      return out;
    }

    /// A tensor that stays as it is, in f16.
    private void keep(String name, int... shape) {
      var values = source.weights(name, shape);
      var bytes = MemorySegment.ofArray(new byte[Math.multiplyExact(values.length, 2)]);
      for (int i = 0; i < values.length; i++) {
        short half = Float.floatToFloat16(values[i]);
        if (!Float.isFinite(Float.float16ToFloat(half)))
            throw new InvalidInput("tensor " + name + " holds " + values[i], "GPTQ files keep it in f16, up to 65504");
        bytes.set(java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED, 2L * i, half);
      }
      add(List.of(Item.of(name, DType.F16, shape, bytes)));
    }

    @Override
    public void left(int block) {
      keep("model.layers." + block + ".input_layernorm.weight", source.config().hidden());
      keep("model.layers." + block + ".post_attention_layernorm.weight", source.config().hidden());
    }

    @Override
    public void set(int block, List<Linear> layers, Optional<Hessian> h) {
      var gptq = settings.method() == Settings.Method.GPTQ;
      var factor = gptq ? h.map(x -> Gptq.factor(team, settings, x.inputs(), x.toFloats())) : Optional.<Gptq.Factor>empty();
      for (var l : layers) layer(l, block, h, factor);
    }

    /// Quantizes a layer and lets the block go on with what it has become.
    private void layer(Linear linear, int index, Optional<Hessian> h, Optional<Gptq.Factor> factor) {
      long start = System.nanoTime();
      var name = BlockStream.name(linear, index);
      var settings = this.settings.withBits(bits.getOrDefault(name, this.settings.bits()));
      int n = linear.outputs();
      int k = linear.inputs();
      var w = source.weights(name + ".weight", n, k);
      var nearest = Gptq.roundToNearest(team, settings, w, n, k);
      var codes = nearest;
      double damp = 0;
      int dead = 0;
      if (factor.isPresent()) {
        var r = Gptq.prepare(device, team, w, n, factor.get()).quantize(settings);
        codes = r.codes();
        damp = r.damp();
        dead = r.dead();
      }
      LanguageModel.upload(device, ((DenseLinear) linear).w(), Hessian.values(codes));
      store(name, codes);
      double seconds = (System.nanoTime() - start) / 1e9;
      var all = h.map(x -> x.squared(w, n));
      var layer = new Layer(name, n, k, settings.bits(), Storage.bits(source.config(), settings, name, n, k),
          error(h, all, w, nearest), error(h, all, w, codes), damp, dead, seconds);
      layers.add(layer);
      progress.layer(layers.size(), 7 * source.config().layers(), layer);
    }

    /// @param all what `h` says of the weights themselves
    private static OptionalDouble error(Optional<Hessian> h, Optional<Double> all, float[] w, GroupedCodes q) {
      if (h.isEmpty()) return OptionalDouble.empty();
      double whole = all.orElseThrow();
      return OptionalDouble.of(whole == 0 ? 0 : h.get().error(w, q) / whole);
    }

    private void store(String name, GroupedCodes codes) {
      var config = source.config();
      var c = Storage.lifted(Storage.padded(codes, Storage.outputs(config, name, codes.outputs()),
          Storage.inputs(config, name, codes.inputs())));
      add(GptqFiles.write(name, c));
      var z = new byte[c.zeros().length];
      for (int i = 0; i < z.length; i++) z[i] = (byte) c.zeros()[i];
      zeros.add(new Zeros(name, c.bits(), z, c.outputs()));
    }
  }
}
