package org.llmcore.tensor;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/// 4-bit NormalFloat (Dettmers et al. 2023, arXiv:2305.14314, §3 and appendix E) as bitsandbytes stores it: the matrix
/// flattened row-major, in blocks of 64, element 2i in the high nibble of byte i and element 2i+1 in the low one.
///
///     w[e] = level[code[e]] · absmax[e / 64]
///     absmax[b] = (map[q[b]] · scale[b / 256]) + offset        with double quantization; two roundings
///
/// | tensor | shape         | dtype  | holds                                                      |
/// |--------|---------------|--------|------------------------------------------------------------|
/// | codes  | (⌈n/2⌉)       | U8     | n = outputs·inputs codes                                   |
/// | absmax | (⌈n/64⌉)      | F32 U8 | largest magnitude of each block; U8 with double quantization |
/// | scale  | (⌈blocks/256⌉) | F32   | only double: largest magnitude of (absmax − offset)        |
/// | offset | (1)           | F32    | only double: mean of all absmax                            |
///
/// 4 + 32/64 = 4.5 bits per weight; double quantization takes 4 + 8/64 + 32/(64·256) = 4.127.
public record Nf4(int outputs, int inputs, Tensor codes, Tensor absmax, Optional<Nested> nested) implements QuantMatrix {
  /// Elements per absmax.
  public static final int BLOCK = 64;

  /// Absmaxima per nested scale.
  public static final int NESTED_BLOCK = 256;

  private static final float[] LEVELS = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
    -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f
  };

  private static final float[] MAP = dynamicMap();

  /// What double quantization adds: absmaxima are themselves 8-bit codes.
  public record Nested(Tensor scale, Tensor offset) {}

  /// @throws IllegalArgumentException if a part has another shape or dtype than the table says
  public Nf4 {
    long n = Math.multiplyExact((long) outputs, inputs);
    expect(codes, DType.U8, bytes(n), "codes");
    expect(absmax, nested.isPresent() ? DType.U8 : DType.F32, blocks(n), "absmax");
    if (nested.isPresent()) {
      expect(nested.get().scale, DType.F32, nestedBlocks(n), "scale");
      expect(nested.get().offset, DType.F32, 1, "offset");
    }
  }

  private static void expect(Tensor t, DType dtype, int n, String what) {
    if (t.dtype() != dtype || !t.shape().equals(Shape.of(n))) {
      throw new IllegalArgumentException(what + " of an NF4 matrix is " + t + ", expected " + dtype + "(" + n + ")");
    }
  }

  /// Carves all parts, content undefined.
  public static Nf4 carve(Region region, int outputs, int inputs, boolean doubleQuant) {
    long n = Math.multiplyExact((long) outputs, inputs);
    var codes = region.carve(DType.U8, Shape.of(bytes(n)));
    var absmax = region.carve(doubleQuant ? DType.U8 : DType.F32, Shape.of(blocks(n)));
    if (!doubleQuant) return new Nf4(outputs, inputs, codes, absmax, Optional.empty());
    var nested = new Nested(region.carve(DType.F32, Shape.of(nestedBlocks(n))), region.carve(DType.F32, Shape.of(1)));
    return new Nf4(outputs, inputs, codes, absmax, Optional.of(nested));
  }

  /// Bytes of the codes of n weights.
  public static int bytes(long n) {
    return Math.toIntExact((n + 1) / 2);
  }

  /// Blocks of n weights.
  public static int blocks(long n) {
    return Math.toIntExact((n + BLOCK - 1) / BLOCK);
  }

  /// Nested scales of n weights.
  public static int nestedBlocks(long n) {
    return (blocks(n) + NESTED_BLOCK - 1) / NESTED_BLOCK;
  }

  /// The 16 levels, ascending: quantiles of the normal distribution with an exact zero.
  public static float[] levels() {
    return LEVELS.clone();
  }

  /// The 256 levels of the 8-bit dynamic map (Dettmers et al. 2021, arXiv:2110.02861, §2.2), ascending: for each power of ten
  /// 10⁻⁶ … 1, the midpoints of 2⁰ … 2⁶ equal parts of [0.1, 1], both signs, with 0 and 1.
  public static float[] map() {
    return MAP.clone();
  }

  private static float[] dynamicMap() {
    var values = new float[256];
    int n = 0;
    for (int i = 0; i < 7; i++) {
      int parts = 1 << i;
      float power = (float) Math.pow(10, i - 6);
      float step = (1f - 0.1f) / parts;
      for (int p = 0; p < parts; p++) {
        float mean = (boundary(p, parts, step) + boundary(p + 1, parts, step)) / 2;
        values[n++] = power * mean;
        values[n++] = -power * mean;
      }
    }
    values[n++] = 0;
    values[n] = 1;
    Arrays.sort(values);
    return values;
  }

  /// Boundary of a part of [0.1, 1] counted from the nearer end, fused, as torch.linspace makes the library's table.
  private static float boundary(int i, int parts, float step) {
    return i < (parts + 1) / 2 ? Math.fma(step, i, 0.1f) : Math.fma(-step, parts - i, 1f);
  }

  /// The largest magnitude of block b, as it is decoded. Host memory only.
  public float absmax(int b) {
    if (nested.isEmpty()) return Memory.f32(absmax.address() + 4L * b);
    float scaled = MAP[Memory.u8(absmax.address() + b)] * Memory.f32(nested.get().scale.address() + 4L * (b / NESTED_BLOCK));
    return scaled + Memory.f32(nested.get().offset.address());
  }

  /// The code of element e of the flattened matrix. Host memory only.
  public int code(long e) {
    return Memory.u8(codes.address() + e / 2) >> (e % 2 == 0 ? 4 : 0) & 15;
  }

  @Override
  public float get(int output, int input) {
    long e = (long) output * inputs + input;
    return LEVELS[code(e)] * absmax(Math.toIntExact(e / BLOCK));
  }

  @Override
  public List<Part> parts() {
    var parts = new ArrayList<>(List.of(new Part("codes", codes), new Part("absmax", absmax)));
    nested.ifPresent(
        n -> {
          parts.add(new Part("scale", n.scale));
          parts.add(new Part("offset", n.offset));
        });
    return parts;
  }

  @Override
  public String describe() {
    return nested.isPresent() ? "nf4, double quantization" : "nf4";
  }
}
