package org.llmcore.tensor;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SplittableRandom;

/// Matrices of every low-bit form with random codes and scales, the same on every device.
public final class QuantMatrices {
  /// A form, and what its rows must be a multiple of.
  public record Form(String name, int multiple, Maker maker) {
    /// A matrix of random content.
    public QuantMatrix make(Region region, int outputs, int inputs, long seed) {
      return maker.make(region, outputs, inputs, new SplittableRandom(seed));
    }

    /// `columns` rounded up to whole blocks.
    public int fit(int columns) {
      return (columns + multiple - 1) / multiple * multiple;
    }

    @Override
    public String toString() {
      return name;
    }
  }

  public interface Maker {
    QuantMatrix make(Region region, int outputs, int inputs, SplittableRandom random);
  }

  private QuantMatrices() {}

  public static List<Form> forms() {
    var forms = new ArrayList<Form>();
    for (int bits : new int[] {2, 3, 4, 8}) {
      for (int group : new int[] {-1, 16, 32, 5, 128}) {
        var scales = group == 32 ? DType.F32 : DType.F16;
        forms.add(new Form(bits + " bits, group " + group, 1, (region, m, n, random) -> grouped(region, m, n, random, bits, group, scales, false)));
      }
      forms.add(new Form(bits + " bits, reordered", 1, (region, m, n, random) -> grouped(region, m, n, random, bits, 16, DType.F16, true)));
    }
    forms.add(new Form("nf4", 1, (region, m, n, random) -> nf4(region, m, n, random, false)));
    forms.add(new Form("nf4 double", 1, (region, m, n, random) -> nf4(region, m, n, random, true)));
    for (var type : BlockType.values()) {
      forms.add(new Form(type.name(), type.weights(), (region, m, n, random) -> blocks(region, type, m, n, random)));
    }
    return forms;
  }

  private static Grouped grouped(Region region, int outputs, int inputs, SplittableRandom random, int bits, int group, DType scales, boolean ordered) {
    int size = group < 0 ? inputs : Math.min(group, inputs);
    int groups = Grouped.groups(inputs, size);
    var q = bytes(outputs * inputs, random);
    for (int i = 0; i < q.length; i++) q[i] &= (byte) ((1 << bits) - 1);
    var scale = floats(outputs * groups, random);
    var zero = new float[outputs * groups];
    for (int i = 0; i < zero.length; i++) zero[i] = random.nextInt(-1, (1 << bits) + 1);
    var order = new int[inputs];
    for (int i = 0; i < inputs; i++) order[i] = random.nextInt(groups);
    return new Grouped(
        bits, inputs, size, raw(region, Grouped.pack(bits, inputs, q)).reshape(outputs, Grouped.rowBytes(bits, inputs)),
        region.carve(scales, Shape.of(outputs, groups)).set(scale), region.carve(DType.F16, Shape.of(outputs, groups)).set(zero),
        ordered ? Optional.of(region.carve(DType.I32, Shape.of(inputs)).set(order)) : Optional.empty());
  }

  private static Nf4 nf4(Region region, int outputs, int inputs, SplittableRandom random, boolean nested) {
    int n = outputs * inputs;
    var codes = raw(region, bytes(Nf4.bytes(n), random));
    if (!nested) return new Nf4(outputs, inputs, codes, f32(region, floats(Nf4.blocks(n), random)), Optional.empty());
    var more = new Nf4.Nested(f32(region, floats(Nf4.nestedBlocks(n), random)), f32(region, 0.37f));
    return new Nf4(outputs, inputs, codes, raw(region, bytes(Nf4.blocks(n), random)), Optional.of(more));
  }

  private static Blocks blocks(Region region, BlockType type, int outputs, int inputs, SplittableRandom random) {
    var w = Blocks.carve(region, type, outputs, inputs);
    var content = bytes((int) w.codes().bytes(), random);
    for (int at = 0; at < content.length; at += type.bytes()) {
      int[] halves = switch (type) {
        case Q8_0, Q4_0, Q5_0 -> new int[] {0};
        case Q4_1, Q5_1, Q4_K, Q5_K -> new int[] {0, 2};
        case Q6_K -> new int[] {208};
      };
      for (int h : halves) {
        short half = Float.floatToFloat16((float) random.nextDouble(-0.1, 0.1));
        content[at + h] = (byte) half;
        content[at + h + 1] = (byte) (half >> 8);
      }
    }
    w.codes().set(content);
    return w;
  }

  private static byte[] bytes(int n, SplittableRandom random) {
    var b = new byte[n];
    random.nextBytes(b);
    return b;
  }

  private static float[] floats(int n, SplittableRandom random) {
    var f = new float[n];
    for (int i = 0; i < n; i++) f[i] = (float) random.nextDouble(0.01, 0.2);
    return f;
  }

  private static Tensor raw(Region region, byte[] content) {
    return region.carve(DType.U8, Shape.of(content.length)).set(content);
  }

  private static Tensor f32(Region region, float... values) {
    return region.carve(DType.F32, Shape.of(values.length)).set(values);
  }
}
