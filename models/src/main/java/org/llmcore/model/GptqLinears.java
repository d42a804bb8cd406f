package org.llmcore.model;

import java.util.HashMap;
import java.util.Map;
import java.util.Set;

import org.llmcore.checkpoint.GptqFiles;
import org.llmcore.op.Device;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

/// The linear layers of a GPTQ checkpoint, over the codes of its files; layers it left alone are dense. What is found in the
/// files when layers are first carved is kept, so the same can be carved when they are closed.
final class GptqLinears implements Form.Linears {
  private static final Set<String> PARTS = Set.of("qweight", "qzeros", "scales", "g_idx", "bias");

  private final GptqFiles files;
  private final DType dense;
  private final Map<String, GptqFiles.Spec> specs = new HashMap<>();

  /// @param dense dtype of layers that are not quantized
  GptqLinears(GptqFiles files, DType dense) {
    this.files = files;
    this.dense = dense;
  }

  @Override
  public Linear carve(Region region, String name, int outputs, int inputs) {
    if (!files.has(name)) return new DenseLinear(name, region.carve(dense, Shape.of(outputs, inputs)));
    var spec = specs.computeIfAbsent(name, n -> files.spec(n, outputs, inputs));
    return new QuantLinear(name, Grouped.carve(region, outputs, inputs, spec.bits(), spec.size(), spec.scales(), spec.groupOf()
        .isPresent()));
  }

  /// Fills what was carved.
  void load(Device device, Decoder decoder) {
    for (var l : decoder.linears()) {
      if (l instanceof QuantLinear q && q.w() instanceof Grouped w) files.read(l.name(), l.outputs(), l.inputs())
          .upload(device, w);
    }
  }

  /// Whether a tensor is part of a layer that was carved.
  boolean knows(String tensor) {
    int dot = tensor.lastIndexOf('.');
    return dot > 0 && specs.containsKey(tensor.substring(0, dot)) && PARTS.contains(tensor.substring(dot + 1));
  }
}
