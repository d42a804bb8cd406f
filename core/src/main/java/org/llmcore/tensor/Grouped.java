package org.llmcore.tensor;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/// Weights on a uniform grid per group of columns, as GPTQ (Frantar et al. 2022, arXiv:2210.17323) and round-to-nearest make
/// them:
///
///     w[o,i] = scale[o,g] · (q[o,i] − zero[o,g])        g = groupOf[i], or i / groupSize        one rounding, of the product
///
/// | tensor  | shape               | dtype   | holds                                                            |
/// |---------|---------------------|---------|------------------------------------------------------------------|
/// | codes   | (outputs, rowBytes) | U8      | q in [0, 2ᵇ), packed as below                                    |
/// | scales  | (outputs, groups)   | F16 F32 | step of the grid                                                 |
/// | zeros   | (outputs, groups)   | F16     | integers −1 … 2ᵇ, exact in f16 (GPTQ files can hold z = 2ᵇ)      |
/// | groupOf | (inputs)            | I32     | only where columns were reordered (act-order): each column's group |
///
/// Codes are packed so that 16 neighbouring columns are 16 bytes under one shift and one mask: vector v of a row holds columns
/// 16v … 16v+15, column 16v+j in byte j of a piece of 16 bytes.
///
/// | bits | vectors per pack | bytes per pack | vector v of a pack                                               |
/// |------|------------------|----------------|------------------------------------------------------------------|
/// | 8    | 1                | 16             | the bytes                                                        |
/// | 4    | 2                | 16             | bits 4v … 4v+3                                                   |
/// | 2    | 4                | 16             | bits 2v, 2v+1                                                    |
/// | 3    | 8                | 48             | bits 2(v mod 4) … +1 of piece v/4, and bit v of piece 2 as the third |
///
/// Rows are padded to whole packs; padding is 0.
///
/// @param groupSize columns per group, `inputs` for one group; the last group may be shorter
public record Grouped(int bits, int inputs, int groupSize, Tensor codes, Tensor scales, Tensor zeros, Optional<Tensor> groupOf)
    implements QuantMatrix {
  private static final int LANES = 16;

  /// @throws IllegalArgumentException if a part has another shape or dtype than the table says
  public Grouped {
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8) throw new IllegalArgumentException(bits + " bits, expected 2, 3, 4 or 8");
    if (inputs < 1 || groupSize < 1 || groupSize > inputs) {
      throw new IllegalArgumentException("groups of " + groupSize + " among " + inputs + " columns");
    }
    int outputs = codes.rows();
    expect(codes, DType.U8, Shape.of(outputs, rowBytes(bits, inputs)), "codes");
    int groups = groupOf.isPresent() ? scales.columns() : groups(inputs, groupSize);
    if (scales.dtype() != DType.F32) expect(scales, DType.F16, Shape.of(outputs, groups), "scales");
    expect(scales, scales.dtype(), Shape.of(outputs, groups), "scales");
    expect(zeros, DType.F16, Shape.of(outputs, groups), "zeros");
    if (groupOf.isPresent()) expect(groupOf.get(), DType.I32, Shape.of(inputs), "groupOf");
  }

  private static void expect(Tensor t, DType dtype, Shape shape, String what) {
    if (t.dtype() != dtype || !t.shape().equals(shape)) {
      throw new IllegalArgumentException(what + " of a grouped matrix is " + t + ", expected " + dtype + shape);
    }
  }

  /// Carves all parts, content undefined.
  /// @param ordered whether there is a `groupOf`
  public static Grouped carve(Region region, int outputs, int inputs, int bits, int groupSize, DType scales, boolean ordered) {
    var groups = Shape.of(outputs, groups(inputs, groupSize));
    return new Grouped(
        bits, inputs, groupSize,
        region.carve(DType.U8, Shape.of(outputs, rowBytes(bits, inputs))),
        region.carve(scales, groups),
        region.carve(DType.F16, groups),
        ordered ? Optional.of(region.carve(DType.I32, Shape.of(inputs))) : Optional.empty());
  }

  /// Groups of a row.
  public static int groups(int inputs, int groupSize) {
    return (inputs + groupSize - 1) / groupSize;
  }

  /// Bytes of a packed row.
  public static int rowBytes(int bits, int inputs) {
    int pack = bits == 3 ? 8 * LANES : 8 / bits * LANES;
    return Math.multiplyExact((inputs + pack - 1) / pack, bits == 3 ? 3 * LANES : LANES);
  }

  /// Packs rows of codes, one per byte, row-major (rows, inputs), into the bytes of `codes`.
  /// @throws IllegalArgumentException if a code does not fit into `bits`
  public static byte[] pack(int bits, int inputs, byte[] q) {
    int rows = q.length / inputs;
    if (rows * inputs != q.length) throw new IllegalArgumentException(q.length + " codes in rows of " + inputs);
    int width = rowBytes(bits, inputs);
    var out = new byte[Math.multiplyExact(rows, width)];
    for (int r = 0; r < rows; r++) {
      for (int i = 0; i < inputs; i++) {
        int code = q[r * inputs + i] & 0xff;
        if (code >> bits != 0) throw new IllegalArgumentException("code " + code + " does not fit into " + bits + " bits");
        int at = r * width + low(bits, i);
        out[at] |= (byte) ((bits == 3 ? code & 3 : code) << shift(bits, i));
        if (bits == 3) out[r * width + high(i)] |= (byte) (code >> 2 << i / LANES % 8);
      }
    }
    return out;
  }

  /// Byte of a row that holds column i, or of its low two bits where there are three.
  private static int low(int bits, int i) {
    int v = i / LANES;
    int piece = switch (bits) {
      case 8 -> v;
      case 4 -> v / 2;
      case 2 -> v / 4;
      default -> v / 8 * 3 + v % 8 / 4;
    };
    return piece * LANES + i % LANES;
  }

  private static int shift(int bits, int i) {
    int v = i / LANES;
    return switch (bits) {
      case 8 -> 0;
      case 4 -> v % 2 * 4;
      default -> v % 4 * 2;
    };
  }

  /// Byte of a row whose bit v mod 8 is the third of column i.
  private static int high(int i) {
    return (i / LANES / 8 * 3 + 2) * LANES + i % LANES;
  }

  @Override
  public int outputs() {
    return codes.rows();
  }

  /// Number of groups.
  public int groups() {
    return scales.columns();
  }

  /// The group of a column. Host memory only.
  public int group(int input) {
    return groupOf.isPresent() ? Memory.i32(groupOf.get().address() + 4L * input) : input / groupSize;
  }

  /// The code of an element. Host memory only.
  public int code(int output, int input) {
    long row = codes.address() + (long) output * codes.columns();
    int value = Memory.u8(row + low(bits, input)) >> shift(bits, input) & (bits == 3 ? 3 : (1 << bits) - 1);
    return bits == 3 ? value | (Memory.u8(row + high(input)) >> input / LANES % 8 & 1) << 2 : value;
  }

  @Override
  public float get(int output, int input) {
    long at = (long) output * groups() + group(input);
    float zero = Memory.load(DType.F16, zeros.address(), at);
    return Memory.load(scales.dtype(), scales.address(), at) * (code(output, input) - zero);
  }

  @Override
  public List<Part> parts() {
    var parts = new ArrayList<>(List.of(new Part("codes", codes), new Part("scales", scales), new Part("zeros", zeros)));
    groupOf.ifPresent(g -> parts.add(new Part("groupOf", g)));
    return parts;
  }

  @Override
  public String describe() {
    return bits + " bits, " + (groups() == 1 ? "one group per row" : "groups of " + groupSize) + (groupOf.isPresent() ? ", reordered" : "");
  }
}
