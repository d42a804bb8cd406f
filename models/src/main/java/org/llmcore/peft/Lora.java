package org.llmcore.peft;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

import org.llmcore.InvalidInput;
import org.llmcore.checkpoint.LoraConfig;
import org.llmcore.model.Decoder;
import org.llmcore.model.DenseLinear;
import org.llmcore.model.Linear;
import org.llmcore.model.Parameters;
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
  private static final String PREFIX = "base_model.model.";

  /// A module trained whole.
  /// @param base the weight of the base, of any dtype, or in few bits
  /// @param trained what stands in its place, f32
  public record Whole(String module, Weight base, Tensor trained) {}

  /// Carves A and B for every targeted layer of `base`, and copies of what is trained whole, content undefined.
  /// @throws InvalidInput if no layer is targeted
  public static Lora attach(Decoder base, LoraConfig config, Region region) {
    var parameters = new Parameters();
    var layers = new ArrayList<LoraLinear>();
    var doras = new LinkedHashMap<String, DoraLinear>();
    var wholes = new ArrayList<Whole>();
    var masks = new LoraLinear.Masks();
    var copied =
        base.replaced(
            (module, w) -> {
              if (config.saves(module).isEmpty()) return w;
              var trained = parameters.put(PREFIX + module + ".weight", region.parameter(DType.F32, w.shape()));
              wholes.add(new Whole(module, w, trained));
              return trained;
            });
    var projected = copied;
    if (copied.head() instanceof QuantMatrix q && config.saves(Decoder.HEAD).isPresent()) {
      var trained = parameters.put(PREFIX + Decoder.HEAD + ".weight", region.parameter(DType.F32, Shape.of(q.outputs(), q.inputs())));
      wholes.add(new Whole(Decoder.HEAD, q, trained));
      projected = copied.projected(trained);
    }
    var decorated =
        projected.mapped(
            linear -> {
              if (config.saves(linear.name()).isPresent()) {
                if (linear instanceof DenseLinear && !config.targets(linear.name())) return linear;
                throw new InvalidInput("layer " + linear.name() + " is one of modules_to_save, but "
                    + (linear instanceof DenseLinear ? "a target as well" : "held in few bits"), "make it a target only");
              }
              if (!config.targets(linear.name())) return linear;
              int r = config.rank(linear.name());
              var a = parameters.put(PREFIX + linear.name() + ".lora_A.weight", region.parameter(DType.F32, Shape.of(r, linear.inputs())));
              var bt = parameters.put(PREFIX + linear.name() + ".lora_B.weight", region.parameter(DType.F32, Shape.of(r, linear.outputs())));
              var layer = new LoraLinear(linear, a, bt, (float) config.scale(linear.name()), (float) config.dropout(), masks);
              layers.add(layer);
              if (!config.dora()) return layer;
              var m = parameters.put(PREFIX + linear.name() + ".lora_magnitude_vector", region.parameter(DType.F32, Shape.of(linear.outputs())));
              var dora = new DoraLinear(layer, m);
              doras.put(layer.name(), dora);
              return dora;
            });
    if (layers.isEmpty()) {
      throw new InvalidInput(
          "LoRA targets no layer of this model: " + config.targetModules(),
          "name suffixes such as q_proj, v_proj, a full-match regular expression, or all-linear");
    }
    return new Lora(config, decorated, parameters, List.copyOf(layers), masks, Collections.unmodifiableMap(doras),
        List.copyOf(wholes));
  }

  /// Refuses names that mean nothing in this model, which PEFT passes over in silence.
  /// @throws InvalidInput if a name of `modules_to_save` or a number of `layers_to_transform` meets nothing
  public Lora checked() {
    for (var m : config.modulesToSave()) {
      if (wholes.stream().noneMatch(w -> config.saves(w.module).filter(m::equals).isPresent())) {
        throw new InvalidInput("modules_to_save names " + m + ", which this model does not have",
            "for example embed_tokens, lm_head, input_layernorm, model.norm");
      }
    }
    int blocks = decoder.blocks().size();
    for (int i : config.blocks().indices()) {
      if (i >= blocks) throw new InvalidInput("layers_to_transform names block " + i, "the model has blocks 0 … " + (blocks - 1));
    }
    return this;
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
      throw new InvalidInput("the adapter was trained with a head that is not the embedding", "untie the model before merging");
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
