package org.llmcore.peft;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.model.Decoder;
import org.llmcore.model.DenseLinear;
import org.llmcore.model.Linear;
import org.llmcore.model.Parameters;
import org.llmcore.model.QuantLinear;
import org.llmcore.op.Device;
import org.llmcore.op.Dropout;
import org.llmcore.op.MatMul;
import org.llmcore.op.Move;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;
import org.llmcore.tensor.Weight;

/// LoRA attached to a model (Hu et al. 2021, arXiv:2106.09685), with PEFT's names: every targeted linear layer becomes a
/// `LoraLinear`, and `parameters` holds `base_model.model.<module>.lora_A.weight` and `….lora_B.weight`, all f32, the latter
/// transposed (see `LoraLinear`). Modules that are trained whole (`modules_to_save`) are there as
/// `base_model.model.<module>.weight`: copies, so that the base stays as it was; a tied head keeps the base's values unless it is
/// named too.
///
/// @param decoder the model with the decorated layers
/// @param layers the decorated layers, in the model's order
/// @param doras the layers with a magnitude, by name; empty without DoRA
/// @param masks where dropout masks come from; the trainer sets its coordinates
/// @param wholes the modules that are trained whole
public record Lora(LoraConfig config, Decoder decoder, Parameters parameters, List<LoraLinear> layers, LoraLinear.Masks masks,
    Map<String, DoraLinear> doras, List<Whole> wholes)
    implements Adapter {
  static final String PREFIX = "base_model.model.";
  static final String EMBEDDING = "model.embed_tokens";

  /// A module trained whole.
  /// @param base the weight of the base, of any dtype, or in few bits
  /// @param trained what stands in its place, f32
  public record Whole(String module, Weight base, Tensor trained) {}

  /// Carves A and B for every targeted layer of `base`, and copies of what is trained whole, content undefined.
  /// @throws InvalidInput if a target is no layer of the model
  public static Lora attach(Decoder base, LoraConfig config, Region region) {
    return attach(base, config, region, Set.of());
  }

  /// @param replaced what is put whole in the place of the base's although it is none of `modules_to_save`: embedding, head. With a
  ///     tied head the embedding is both
  static Lora attach(Decoder base, LoraConfig config, Region region, Set<String> replaced) {
    check(base, config);
    var work = new Attachment(config, region, new Parameters(), new ArrayList<>(), new LinkedHashMap<>(), new LoraLinear.Masks(), new ArrayList<>());
    boolean shared = shares(base, config, replaced);
    var copied =
        base.replaced(
            (module, w) -> {
              if (shared && module.equals(Decoder.HEAD)) return work.parameters.get(PREFIX + EMBEDDING + ".weight");
              return config.saves(module).isPresent() || replaced.contains(module) ? work.whole(module, w, w.shape()) : w;
            });
    if (copied.head() instanceof QuantMatrix q) {
      if (shared) copied = copied.projected(work.parameters.get(PREFIX + EMBEDDING + ".weight"));
      else if (config.saves(Decoder.HEAD).isPresent() || replaced.contains(Decoder.HEAD)) {
        copied = copied.projected(work.whole(Decoder.HEAD, q, Shape.of(q.outputs(), q.inputs())));
      }
    }
    var decorated = copied.mapped(work::decorated);
    var head = decorated.projector();
    if (config.targets(Decoder.HEAD)) decorated = decorated.projected(work.decorated(head));
    if (work.layers.isEmpty()) {
      throw new InvalidInput(
          "LoRA targets no layer of this model: " + config.targetModules(),
          "name suffixes such as q_proj, v_proj, a full-match regular expression, or all-linear");
    }
    return new Lora(config, decorated, work.parameters, List.copyOf(work.layers), work.masks, Collections.unmodifiableMap(work.doras),
        List.copyOf(work.wholes));
  }

  /// Whether one new tensor is embedding and head.
  static boolean shares(Decoder base, LoraConfig config, Set<String> replaced) {
    if (!base.config().tiedHead()) return false;
    return replaced.contains(EMBEDDING) && config.saves(Decoder.HEAD).isEmpty() || config.weightTying() && config.saves(EMBEDDING).isPresent();
  }

  private static void check(Decoder base, LoraConfig config) {
    if (config.targets(EMBEDDING)) {
      throw new InvalidInput("LoRA targets embed_tokens, which is not supported", "train it whole: name it in modules_to_save");
    }
    boolean head = config.targets(Decoder.HEAD) || config.saves(Decoder.HEAD).isPresent() && config.saves(EMBEDDING).isEmpty();
    if (config.weightTying() && base.config().tiedHead() && head) {
      throw new InvalidInput("ensure_weight_tying is true and lm_head is adapted, but the head is the embedding",
          "name embed_tokens in modules_to_save, or leave ensure_weight_tying out");
    }
  }

  /// What has been carved while the model is walked through.
  private record Attachment(
      LoraConfig config, Region region, Parameters parameters, List<LoraLinear> layers, Map<String, DoraLinear> doras,
      LoraLinear.Masks masks, List<Whole> wholes) {
    Tensor parameter(String name, Shape shape) {
      return parameters.put(PREFIX + name, region.parameter(DType.F32, shape));
    }

    Tensor whole(String module, Weight base, Shape shape) {
      var trained = parameter(module + ".weight", shape);
      wholes.add(new Whole(module, base, trained));
      return trained;
    }

    Linear decorated(Linear linear) {
      var name = linear.name();
      if (config.saves(name).isPresent()) {
        if (config.targets(name)) {
          throw new InvalidInput("layer " + name + " is one of modules_to_save, but a target as well", "make it a target only");
        }
        return linear instanceof QuantLinear q ? new DenseLinear(name, whole(name, q.w(), Shape.of(q.outputs(), q.inputs()))) : linear;
      }
      if (!config.targets(name)) return linear;
      int r = config.rank(name);
      var a = parameter(name + ".lora_A.weight", Shape.of(r, linear.inputs()));
      var bt = parameter(name + ".lora_B.weight", Shape.of(r, linear.outputs()));
      var layer = new LoraLinear(linear, a, bt, (float) config.scale(name), (float) config.dropout(), masks);
      layers.add(layer);
      if (!config.dora()) return layer;
      var dora = new DoraLinear(layer, parameter(name + ".lora_magnitude_vector", Shape.of(linear.outputs())));
      doras.put(name, dora);
      return dora;
    }
  }

  /// Refuses names that mean nothing in this model, which PEFT passes over in silence.
  /// @throws InvalidInput if a name of `modules_to_save` or a number of `layers_to_transform` meets nothing
  public Lora checked() {
    for (var note : notes()) throw new InvalidInput(note, "for example q_proj, down_proj, lm_head; to be trained whole also embed_tokens, model.norm");
    int blocks = decoder.blocks().size();
    for (int i : config.blocks().indices()) {
      if (i >= blocks) throw new InvalidInput("layers_to_transform names block " + i, "the model has blocks 0 … " + (blocks - 1));
    }
    return this;
  }

  @Override
  public List<String> notes() {
    var saved = Stream.concat(wholes.stream().map(Whole::module), Stream.of(Decoder.HEAD)).flatMap(m -> config.saves(m).stream()).toList();
    var modules = new ArrayList<>(linears(decoder));
    modules.add(Decoder.HEAD);
    return Stream.concat(
        config.unmet(modules).stream().map(t -> "LoRA targets " + t),
        config.modulesToSave().stream().filter(m -> !saved.contains(m)).map(m -> "modules_to_save names " + m))
        .map(n -> n + ", which this model does not have").toList();
  }

  @Override
  public void at(long seed, long step, long row) {
    masks.at(seed, step, row);
  }

  /// PEFT's default start: A uniform in ±1/√inputs (Kaiming with a = √5), B zero, so the adapted model equals the base.
  public void initialise(long seed) {
    for (var layer : layers) {
      double bound = 1 / Math.sqrt(layer.inputs());
      long key = Dropout.key(seed, layer.name().hashCode());
      var values = new float[Math.toIntExact(layer.a().elements())];
      for (int i = 0; i < values.length; i++) values[i] = (float) ((2.0 * Dropout.uniform(key, i) - 1) * bound);
      layer.a().set(values);
      layer.bt().set(new float[Math.toIntExact(layer.bt().elements())]);
    }
  }

  /// `initialise`, the magnitudes of DoRA from the norms of the base, and copies of what is trained whole.
  public void initialise(Device device, long seed) {
    initialise(seed);
    for (var whole : wholes) {
      switch (whole.base) {
        case Tensor t -> device.run(new Move.Copy(Sink.write(whole.trained), t));
        case QuantMatrix q -> device.run(new QuantMatMul.Dequantize(whole.trained, q));
      }
    }
    doras.values().forEach(d -> d.initialise(device));
  }

  /// Adds s·B·A to the base weights (with DoRA, puts in their place what it makes of them) and puts in their place what was
  /// trained whole. Afterwards the base decoder alone computes what the adapted one did; the adapter must not be used on it any
  /// more.
  /// @throws InvalidInput if a targeted layer has no dense weight to add to, or embedding and head would have to differ but are
  /// one
  public void merge(Device device) {
    if (decoder.config().tiedHead() && config.parts()) {
      throw new InvalidInput("the adapter belongs to a head that is not the embedding", "untie the model before merging");
    }
    for (var layer : layers) {
      if (!(layer.base() instanceof DenseLinear dense)) {
        throw new InvalidInput("layer " + layer.name() + " is not dense", "merge into the unquantized base and quantize the result");
      }
      if (doras.containsKey(layer.name())) doras.get(layer.name()).merge(device, dense.w());
      else merge(device, dense.w(), layer);
    }
    for (var whole : wholes) {
      switch (whole.base) {
        case Tensor t -> device.run(new Move.Copy(Sink.write(t), whole.trained));
        case QuantMatrix q -> throw new InvalidInput(whole.module + " is held in " + q.describe(), "open the base in f32 before merging");
      }
    }
  }

  private static void merge(Device device, Tensor w, LoraLinear layer) {
    try (var scratch = device.growing("merge")) {
      var sum = scratch.carve(DType.F32, w.shape());
      device.run(new Move.Copy(Sink.write(sum), w));
      device.run(new MatMul.Product(Sink.add(sum), layer.bt(), layer.a(), true, false, layer.scale()));
      device.run(new Move.Copy(Sink.write(w), sum));
    }
  }

  /// The linear layers a model offers as targets.
  public static List<String> linears(Decoder base) {
    return base.linears().stream().map(Linear::name).toList();
  }
}
