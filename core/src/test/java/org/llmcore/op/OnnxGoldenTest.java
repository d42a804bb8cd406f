package org.llmcore.op;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;

import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

import org.llmcore.cpu.CpuDevice;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.assertj.core.api.Assertions.assertThat;

/// The algebra against the ONNX standard's own test vectors of its operators (onnx/backend/test/data/node).
class OnnxGoldenTest {
  private static final Pattern TENSOR =
      Pattern.compile("\"name\":\\s*\"(\\w+)\",\\s*\"dtype\":\\s*\"(\\w+)\",\\s*\"shape\":\\s*\\[([^]]*)],\\s*\"data\":\\s*\\[([^]]*)]");

  @ParameterizedTest
  @ValueSource(strings = {
      "attention_4d_causal", "attention_4d_gqa_causal", "cast_FLOAT_to_BFLOAT16", "gather_0", "gelu_default_1", "layer_normalization_2d_axis1",
      "matmul_3d", "rms_normalization_2d_axis1", "sce_mean", "sce_mean_no_weight_ii", "softmax_axis_2", "swiglu"})
  void theStandardsVectorsAreMet(String name) throws IOException {
    var file = Path.of(System.getProperty("llm.data", "../shared/data"), "onnx", "test_" + name + ".json");
    Assumptions.assumeTrue(Files.exists(file), "no ONNX test vectors in the data folder");
    try (var region = Region.growing("onnx"); var device = CpuDevice.open(1)) {
      var tensors = tensors(region, Files.readString(file));
      var t = new Algebra(Pass.inference(device, region));
      var y = apply(t, name, tensors);
      var expected = tensors.get(output(name));
      assertThat(y.shape()).isEqualTo(expected.shape());
      for (int i = 0; i < y.elements(); i++) {
        float want = expected.get(i);
        if (Float.isFinite(want)) assertThat(y.get(i)).as("element %d", i).isCloseTo(want, Offset.offset(2e-6f * Math.max(1, Math.abs(want))));
        else assertThat(Float.compare(y.get(i), want)).as("element %d: %s for %s", i, y.get(i), want).isZero();
      }
    }
  }

  private static String output(String name) {
    return switch (name) {
      case "cast_FLOAT_to_BFLOAT16" -> "output";
      case "matmul_3d" -> "c";
      case "sce_mean", "sce_mean_no_weight_ii" -> "z";
      case "gather_0", "gelu_default_1", "softmax_axis_2", "swiglu" -> "y";
      default -> "Y";
    };
  }

  private static Tensor apply(Algebra t, String name, Map<String, Tensor> x) {
    return switch (name) {
      case "attention_4d_causal", "attention_4d_gqa_causal" -> attention(t, x.get("Q"), x.get("K"), x.get("V"));
      case "cast_FLOAT_to_BFLOAT16" -> t.cast(x.get("input"), DType.BF16);
      case "gather_0" -> t.gather(x.get("data"), x.get("indices"));
      case "gelu_default_1" -> t.gelu(x.get("x"));
      case "layer_normalization_2d_axis1" -> t.layerNorm(x.get("X"), x.get("W"), x.get("B"), 1e-5f);
      case "matmul_3d" -> t.matmul(x.get("a"), x.get("b"));
      case "rms_normalization_2d_axis1" -> t.mul(t.div(x.get("X"), t.sqrt(t.add(t.mean(t.square(x.get("X")), -1), 1e-5f))), x.get("W"));
      case "sce_mean" -> t.mean(t.crossEntropy(x.get("x"), x.get("y")));
      case "sce_mean_no_weight_ii" -> ignoring(t, x.get("x"), x.get("y"), 2);
      case "softmax_axis_2" -> t.softmax(x.get("x"));
      case "swiglu" -> t.mul(t.silu(x.get("a")), x.get("b"));
      default -> throw new IllegalArgumentException(name);
    };
  }

  /// Mean over the targets that count; ONNX names the ignored class, this engine has one number for it.
  private static Tensor ignoring(Algebra t, Tensor z, Tensor targets, int ignored) {
    var ours = Arrays.stream(targets.toInts()).map(c -> c == ignored ? CrossEntropy.IGNORE : c).toArray();
    long counted = Arrays.stream(ours).filter(c -> c != CrossEntropy.IGNORE).count();
    return t.div(t.sum(t.crossEntropy(z, targets.set(ours))), counted);
  }

  /// q (B,H,T,D), k and v (B,G,S,D): query head h hears group h·G/H, position i what is not after it.
  private static Tensor attention(Algebra t, Tensor q, Tensor k, Tensor v) {
    int heads = q.dim(1);
    var group = new int[heads];
    for (int h = 0; h < heads; h++) group[h] = h * k.dim(1) / heads;
    var groups = t.pass().empty(DType.I32, heads).set(group);
    var mask = new float[q.dim(2) * k.dim(2)];
    for (int i = 0; i < mask.length; i++) mask[i] = i % k.dim(2) <= i / k.dim(2) ? 0 : Float.NEGATIVE_INFINITY;
    var causal = t.pass().empty(DType.F32, q.dim(2), k.dim(2)).set(mask);
    var scores = t.div(t.matmul(q, t.gather(k, 1, groups), false, true), (float) Math.sqrt(q.dim(3)));
    return t.matmul(t.softmax(t.add(scores, causal)), t.gather(v, 1, groups));
  }

  private static Map<String, Tensor> tensors(Region region, String json) {
    var out = new TreeMap<String, Tensor>();
    var m = TENSOR.matcher(json);
    while (m.find()) {
      var shape = Shape.of(list(m.group(3)).stream().mapToInt(Integer::parseInt).toArray());
      var data = list(m.group(4));
      boolean integers = m.group(2).startsWith("INT");
      var t = region.carve(integers ? DType.I32 : DType.F32, shape);
      var floats = new float[integers ? 0 : data.size()];
      for (int i = 0; i < floats.length; i++) floats[i] = Float.parseFloat(data.get(i));
      out.put(m.group(1), integers ? t.set(data.stream().mapToInt(Integer::parseInt).toArray()) : t.set(floats));
    }
    return out;
  }

  /// The elements of a JSON array of numbers, or of strings where a number has no JSON form.
  private static List<String> list(String inside) {
    return inside.isBlank() ? List.of() : Arrays.stream(inside.split(",")).map(s -> s.strip().replace("\"", "")).toList();
  }
}
