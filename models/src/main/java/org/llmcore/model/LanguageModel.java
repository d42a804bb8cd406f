package org.llmcore.model;

import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.BiConsumer;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.AtomicFile;
import org.llmcore.checkpoint.GptqConfig;
import org.llmcore.checkpoint.GptqFiles;
import org.llmcore.checkpoint.Llama2c;
import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.checkpoint.ModelFiles;
import org.llmcore.checkpoint.Safetensors;
import org.llmcore.gguf.Gguf;
import org.llmcore.gguf.LlamaGguf;
import org.llmcore.op.Device;
import org.llmcore.quant.Nf4Codes;
import org.llmcore.tensor.BlockType;
import org.llmcore.tensor.Blocks;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;
import org.llmcore.tensor.Nf4;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;
import org.llmcore.text.Tokenizer;
import org.llmcore.text.Tokenizers;
import org.llmcore.text.Wordless;

/// A model with its weights in memory and its tokenizer: what is opened, tuned, asked and saved. Owns the weights' region.
///
/// Read from a Hugging Face folder (`config.json`, safetensors, a tokenizer), a GGUF file, or a llama2.c `.bin` with a tokenizer
/// beside it.
public final class LanguageModel implements AutoCloseable {
  private static final long PIECE = 16 << 20; // bytes of a tensor on their way to a file

  private final Device device;
  private final Decoder decoder;
  private final Tokenizer tokenizer;
  private final Region weights;
  private final Form form;
  private final List<String> notes;

  private LanguageModel(Device device, Decoder decoder, Tokenizer tokenizer, Region weights, Form form, List<String> notes) {
    this.device = device;
    this.decoder = decoder;
    this.tokenizer = tokenizer;
    this.weights = weights;
    this.form = form;
    this.notes = notes;
  }

  /// Opens a model.
  /// @param path a Hugging Face folder, a GGUF file or a llama2.c checkpoint
  /// @param tokenizer where the tokenizer is, if not in the folder
  /// @param trainable whether all its parameters want gradients (full fine-tuning)
  /// @throws InvalidInput naming the file, tensor or key that is wrong
  public static LanguageModel open(Device device, Path path, Optional<Path> tokenizer, Precision precision, boolean trainable) {
    ModelFiles.refusePickle(path);
    if (trainable && precision.quantized()) throw frozen(precision);
    var form = precision.form();
    if (Gguf.is(path)) return gguf(device, path, tokenizer, precision, trainable);
    if (Files.isRegularFile(path)) return llama2c(device, path, tokenizer, form, trainable);
    if (!Files.isDirectory(path)) {
      throw new InvalidInput("there is no model at " + path, "give a Hugging Face folder, a GGUF file or a llama2.c .bin file");
    }
    var stated = LlamaConfig.read(path.resolve("config.json"));
    var words = words(path, tokenizer, stated);
    try (var files = ModelFiles.open(path)) {
      var config = stated.fitting(files.entries());
      var gptq = GptqConfig.find(path).map(c -> GptqFiles.of(files.entries(), c));
      if (gptq.isPresent()) return gptq(device, config, words, precision, trainable, files, gptq.get());
      // Whatever sizes config.json claims, memory is taken only for weights that are there.
      fit(Decoder.carve(config, Region.measuring("weights"), form, trainable), files);
      var region = device.reserve("weights", Decoder.bytes(config, form));
      try {
        var decoder = Decoder.carve(config, region, form, trainable);
        var notes = load(device, decoder, files).stream().map(LanguageModel::placeless).toList();
        return new LanguageModel(device, decoder, words, region, form, notes);
      } catch (RuntimeException e) {
        region.close();
        throw e;
      }
    }
  }

  private static LanguageModel gptq(Device device, LlamaConfig config, Tokenizer words, Precision precision,
      boolean trainable, ModelFiles files, GptqFiles packed) {
    if (precision.quantized()) {
      throw new InvalidInput("the model is quantized by GPTQ already, it cannot be held in " + precision, "choose f32 or bf16");
    }
    if (trainable) {
      throw new InvalidInput("weights quantized by GPTQ cannot be trained", "train an adapter on them (method.type: lora)");
    }
    var linears = new GptqLinears(packed, precision.weights());
    var form = new Form(precision.weights(), precision.activations(), linears);
    fit(Decoder.carve(config, Region.measuring("weights"), form, false), files);
    var region = device.reserve("weights", Decoder.bytes(config, form));
    try {
      var decoder = Decoder.carve(config, region, form, false);
      linears.load(device, decoder);
      var notes = new ArrayList<>(packed.notes());
      load(device, decoder, files).stream().filter(n -> !linears.knows(n)).map(LanguageModel::placeless).forEach(notes::add);
      return new LanguageModel(device, decoder, words, region, form, notes);
    } catch (RuntimeException e) {
      region.close();
      throw e;
    }
  }

  /// Matrices in few bits stay the bytes they are, unless they are to be trained or held in another few bits.
  private static LanguageModel gguf(Device device, Path path, Optional<Path> tokenizer, Precision precision, boolean trainable) {
    try (var file = LlamaGguf.of(Gguf.open(path))) {
      var config = file.config();
      var words = tokenizer.map(t -> tokenizer(t, config)).orElseGet(file::tokenizer);
      check(words, config);
      var dense = precision.form();
      var form = trainable || precision.quantized() ? dense : new Form(dense.weights(), dense.activations(), blocks(file, dense), head(file));
      var shapes = Decoder.carve(config, Region.measuring("weights"), form, trainable);
      shapes.parameters().map().forEach((name, w) -> file.tensor(name, w.shape().dims()));
      for (var l : shapes.linears()) file.tensor(l.name() + ".weight", l.outputs(), l.inputs());
      var region = device.reserve("weights", Decoder.bytes(config, form));
      try {
        var decoder = Decoder.carve(config, region, form, trainable);
        decoder.parameters().map().forEach((name, w) -> upload(device, w, file.floats(name, w.shape().dims())));
        for (var l : decoder.linears()) {
          if (!(l instanceof QuantLinear q)) continue;
          if (q.w() instanceof Blocks b) device.upload(file.bytes(q.name() + ".weight", q.outputs(), q.inputs()), b.codes());
          else encode(device, q, file.floats(q.name() + ".weight", q.outputs(), q.inputs()));
        }
        if (decoder.head() instanceof Blocks b) device.upload(file.bytes(head(config), b.outputs(), b.inputs()), b.codes());
        return new LanguageModel(device, decoder, words, region, form, List.copyOf(file.notes()));
      } catch (RuntimeException e) {
        region.close();
        throw e;
      }
    }
  }

  private static Form.Linears blocks(LlamaGguf file, Form dense) {
    return (region, name, outputs, inputs) -> blocks(file, name + ".weight", inputs)
        .<Linear>map(t -> new QuantLinear(name, Blocks.carve(region, t, outputs, inputs)))
        .orElseGet(() -> dense.linears().carve(region, name, outputs, inputs));
  }

  private static Optional<BlockType> blocks(LlamaGguf file, String tensor, int inputs) {
    return file.type(tensor).blocks().filter(t -> inputs % t.weights() == 0);
  }

  /// How the projection onto the vocabulary stays; the embedding, of which a pass reads a few rows, is dense.
  private static Optional<BlockType> head(LlamaGguf file) {
    var name = head(file.config());
    file.tensor(name, file.config().vocabulary(), file.config().hidden());
    return blocks(file, name, file.config().hidden());
  }

  /// The tensor that projects onto the vocabulary.
  private static String head(LlamaConfig config) {
    return config.tiedHead() ? "model.embed_tokens.weight" : Decoder.HEAD + ".weight";
  }

  private static String placeless(String tensor) {
    return "the files hold a tensor " + tensor + " that this model has no place for";
  }

  private static InvalidInput frozen(Precision precision) {
    return new InvalidInput("weights in " + precision + " cannot be trained", "train an adapter on them (method.type: lora), or keep the weights in f32 or bf16");
  }

  private static void fit(Decoder decoder, ModelFiles files) {
    decoder.parameters().map().forEach((name, w) -> fit(files, name, w.shape().dims()));
    quantized(decoder, (name, l) -> fit(files, name, l.outputs(), l.inputs()));
  }

  private static void fit(ModelFiles files, String name, int... dims) {
    var e = files.entries().get(name);
    if (e == null) {
      throw new InvalidInput("the files lack the tensor " + name, "config.json and the weights must belong together");
    }
    if (!Arrays.equals(e.shape(), dims)) {
      throw new InvalidInput(
          "tensor " + name + " has shape " + e.describe() + ", config.json asks for " + Shape.of(dims),
          "config.json and the weights must belong together");
    }
  }

  /// The layers that are held in few bits but made from dense weights, by the name of the tensor they are made of.
  private static void quantized(Decoder decoder, BiConsumer<String, QuantLinear> use) {
    for (var l : decoder.linears()) if (l instanceof QuantLinear q && q.w() instanceof Nf4) use.accept(q.name() + ".weight", q);
  }

  /// Encodes the weights (outputs, inputs) of one layer.
  private static void encode(Device device, QuantLinear layer, float[] weights) {
    if (!(layer.w() instanceof Nf4 w)) throw new IllegalArgumentException(layer.name() + " in " + layer.w().describe() + " is not made from dense weights here");
    Nf4Codes.encode(weights).upload(device, w);
  }

  private static LanguageModel llama2c(Device device, Path path, Optional<Path> tokenizer, Form form,
      boolean trainable) {
    var file = Llama2c.read(path);
    var words = words(path, tokenizer, file.config());
    var region = device.reserve("weights", Decoder.bytes(file.config(), form));
    var decoder = Decoder.carve(file.config(), region, form, trainable);
    decoder.parameters().map().forEach((name, w) -> upload(device, w, file.tensors().get(name)));
    quantized(decoder, (name, l) -> encode(device, l, file.tensors().get(name)));
    return new LanguageModel(device, decoder, words, region, form, List.of());
  }

  /// A model with fresh weights (`Initialisation`), all of them trainable.
  public static LanguageModel scratch(Device device, LlamaConfig config, Tokenizer tokenizer, Precision precision, long seed) {
    check(tokenizer, config);
    if (precision.quantized()) throw frozen(precision);
    var form = precision.form();
    var region = device.reserve("weights", Decoder.bytes(config, form));
    var decoder = Decoder.carve(config, region, form, true);
    Initialisation.initialise(decoder, seed);
    return new LanguageModel(device, decoder, tokenizer, region, form, List.of());
  }

  /// The tokenizer that is named, the one in the model's folder, or one beside it; without any, ids still work.
  public static Tokenizer words(Path path, Optional<Path> named, LlamaConfig config) {
    if (named.isPresent()) return tokenizer(named.get(), config);
    boolean folder = Files.isDirectory(path);
    if (folder && Tokenizers.in(path)) return tokenizer(path, config);
    var beside = Tokenizers.beside(path, config.vocabulary());
    if (beside.isPresent()) return tokenizer(beside.get(), config);
    return new Wordless(config.vocabulary(), config.bos(), config.eos(), "there is no tokenizer " + (folder ? "in the folder " : "beside ") + path,
        "text needs one: name it with --tokenizer (tokenizer.json, tokenizer.model or tokenizer.bin), or give token ids");
  }

  private static Tokenizer tokenizer(Path path, LlamaConfig config) {
    var t = Tokenizers.open(path, OptionalInt.of(config.vocabulary()));
    check(t, config);
    return t;
  }

  private static void check(Tokenizer t, LlamaConfig config) {
    if (t.size() > config.vocabulary()) {
      throw new InvalidInput(
          "the tokenizer has " + t.size() + " pieces, the model's vocabulary " + config.vocabulary(),
          "use the tokenizer the model was trained with");
    }
  }

  /// Fills the weights and names the tensors that have no place.
  private static List<String> load(Device device, Decoder decoder, ModelFiles files) {
    var placeless = new ArrayList<String>();
    decoder.parameters().map().forEach((name, w) -> upload(device, w, files.entries().get(name)));
    var coded = new HashSet<String>();
    quantized(
        decoder,
        (name, l) -> {
          coded.add(name);
          encode(device, l, files.entries().get(name).toFloats()); // one layer at a time is f32
        });
    for (var name : files.entries().keySet()) {
      boolean known = decoder.parameters().map().containsKey(name) || coded.contains(name) || name.endsWith("rotary_emb.inv_freq");
      if (known || name.equals("lm_head.weight") && decoder.config().tiedHead()) continue;
      placeless.add(name);
    }
    return placeless;
  }

  private static void upload(Device device, Tensor w, Safetensors.Entry e) {
    if (e.dtype().equals(w.dtype().name())) device.upload(e.data(), w);
    else upload(device, w, e.toFloats());
  }

  /// Puts f32 values into a tensor of any floating dtype on any device.
  public static void upload(Device device, Tensor w, float[] values) {
    if (w.dtype() == DType.F32) {
      device.upload(MemorySegment.ofArray(values), w);
      return;
    }
    try (var host = Region.fixed("conversion", Region.align(w.bytes()))) {
      var t = host.carve(w.dtype(), w.shape());
      for (int i = 0; i < values.length; i++) Memory.store(w.dtype(), t.address(), i, values[i]);
      device.upload(t.segment(), w);
    }
  }

  public Device device() {
    return device;
  }

  public LlamaConfig config() {
    return decoder.config();
  }

  public Decoder decoder() {
    return decoder;
  }

  public Tokenizer tokenizer() {
    return tokenizer;
  }

  /// How its weights are held; the memory plan carves the same.
  public Form form() {
    return form;
  }

  /// Bytes of the weights' region.
  public long bytes() {
    return weights.high();
  }

  /// What was odd about the files and could be passed over.
  public List<String> notes() {
    return notes;
  }

  /// Items for a safetensors file of tensors in host or device memory, from where they come when they are written, a few rows at a time.
  public static List<Safetensors.Item> items(Device device, Map<String, Tensor> tensors) {
    return tensors.entrySet().stream().map(e -> item(device, e.getKey(), e.getValue())).toList();
  }

  /// One of them.
  public static Safetensors.Item item(Device device, String name, Tensor t) {
    return new Safetensors.Item(name, t.dtype().name(), t.shape().dims(), pieces(device, t));
  }

  private static Safetensors.Pieces pieces(Device device, Tensor t) {
    int rows = t.dim(0);
    long row = t.bytes() / Math.max(1, rows);
    int step = (int) Math.clamp(PIECE / Math.max(1, row), 1, Math.max(1, rows));
    return sink -> {
      var memory = MemorySegment.ofArray(new byte[Math.toIntExact(step * row)]);
      for (int r = 0; r < rows; r += step) {
        var part = t.slice(r, Math.min(rows, r + step));
        var bytes = memory.asSlice(0, part.bytes());
        device.download(part, bytes);
        sink.accept(bytes);
      }
    };
  }

  /// Writes a Hugging Face folder that transformers loads: config, generation config, weights in their dtype, tokenizer.
  /// The folder appears whole or not at all.
  /// @param shardBytes largest size of one weights file
  /// @throws InvalidInput if weights are held in few bits
  public void save(Path folder, long shardBytes) {
    save(decoder, folder, shardBytes);
  }

  /// The same for another decoder that goes with this tokenizer, such as one made from this model's.
  public void save(Decoder decoder, Path folder, long shardBytes) {
    var few = decoder.linears().stream().filter(l -> l instanceof QuantLinear).map(l -> ((QuantLinear) l).w()).findFirst();
    if (few.isPresent() || decoder.head() instanceof QuantMatrix) {
      var w = few.orElseGet(() -> (QuantMatrix) decoder.head());
      throw new InvalidInput("a model in " + w.describe() + " cannot be saved as dense weights", "save the model it was made from; an adapter is saved by itself");
    }
    var stored = decoder.embedding().dtype();
    var dtype = stored == DType.F32 ? "float32" : stored == DType.BF16 ? "bfloat16" : "float16";
    AtomicFile.folder(
        folder,
        temp -> {
          Files.writeString(temp.resolve("config.json"), decoder.config().stored(dtype).toJson());
          Files.writeString(temp.resolve("generation_config.json"), decoder.config().generationJson());
          ModelFiles.write(temp, items(device, decoder.parameters().map()), shardBytes);
          Tokenizers.save(tokenizer, temp);
        });
  }

  @Override
  public void close() {
    weights.close();
  }
}
