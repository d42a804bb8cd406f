package org.llmcore.quant;

import java.lang.foreign.MemorySegment;

import org.llmcore.op.Device;
import org.llmcore.tensor.Nf4;
import org.llmcore.tensor.Region;

/// The host form of an `Nf4` matrix, and its encoder, as bitsandbytes' kernel `dQuantizeNF4` decides:
///
///     absmax[b] = max |w| over block b        code = the level whose cell holds w·(1/absmax)
///
/// Cells end at the midpoints of levels; a weight exactly on a midpoint takes the lower level. A block of zeros gets the level 0
/// (the library takes −1 there, which double quantization would turn into noise).
///
/// Double quantization: offset = mean of all absmax (summed in f64, rounded once), then absmax − offset in blocks of 256, each
/// value to the nearest level of `Nf4.map` times the block's largest magnitude, ties to the lower level.
///
/// @param codes two per byte, the first in the high nibble
public record Nf4Codes(byte[] codes, float[] absmax) {
  /// Midpoints of neighbouring levels as the library's kernel writes them.
  private static final float[] CUTS = {
    -0.8480964004993439f, -0.6106329262256622f, -0.4599952697753906f, -0.33967943489551544f, -0.23460740596055984f,
    -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f, 0.1202552504837513f, 0.2035212516784668f,
    0.2920137718319893f, 0.3893125355243683f, 0.5016634166240692f, 0.6427869200706482f, 0.8614784181118011f
  };
  private static final int ZERO = 7;

  /// Encodes a matrix, flattened row-major.
  public static Nf4Codes encode(float[] w) {
    var codes = new byte[Nf4.bytes(w.length)];
    var absmax = new float[Nf4.blocks(w.length)];
    for (int b = 0; b < absmax.length; b++) {
      int from = b * Nf4.BLOCK;
      int to = Math.min(w.length, from + Nf4.BLOCK);
      float largest = 0;
      for (int i = from; i < to; i++) largest = Math.max(largest, Math.abs(w[i]));
      absmax[b] = largest;
      float inverse = 1 / largest;
      for (int i = from; i < to; i++) {
        int code = largest == 0 ? ZERO : code(w[i] * inverse);
        codes[i / 2] |= (byte) (i % 2 == 0 ? code << 4 : code);
      }
    }
    return new Nf4Codes(codes, absmax);
  }

  /// The code of a weight in units of its block's absmax.
  static int code(float x) {
    int code = x > CUTS[7] ? 8 : 0;
    if (x > CUTS[code + 3]) code += 4;
    if (x > CUTS[code + 1]) code += 2;
    if (x > CUTS[code]) code++;
    return code;
  }

  /// The absmaxima in 8 bits.
  record Nested(byte[] codes, float[] scale, float offset) {
    static Nested of(float[] absmax) {
      double sum = 0;
      for (float a : absmax) sum += a;
      float offset = (float) (sum / absmax.length);
      var map = Nf4.map();
      var codes = new byte[absmax.length];
      var scale = new float[(absmax.length + Nf4.NESTED_BLOCK - 1) / Nf4.NESTED_BLOCK];
      for (int b = 0; b < scale.length; b++) {
        int from = b * Nf4.NESTED_BLOCK;
        int to = Math.min(absmax.length, from + Nf4.NESTED_BLOCK);
        for (int i = from; i < to; i++) scale[b] = Math.max(scale[b], Math.abs(absmax[i] - offset));
        float inverse = scale[b] == 0 ? 0 : 1 / scale[b];
        for (int i = from; i < to; i++) codes[i] = (byte) nearest(map, (absmax[i] - offset) * inverse);
      }
      return new Nested(codes, scale, offset);
    }

    /// The nearest of ascending levels, the lower one of two.
    private static int nearest(float[] levels, float x) {
      int found = java.util.Arrays.binarySearch(levels, x);
      if (found >= 0) return found;
      int above = -found - 1;
      if (above == 0) return 0;
      if (above == levels.length) return above - 1;
      return levels[above] - x < x - levels[above - 1] ? above : above - 1;
    }
  }

  /// Uploads into a matrix of as many elements, quantizing the absmaxima if it nests.
  public void upload(Device device, Nf4 w) {
    device.upload(MemorySegment.ofArray(codes), w.codes());
    if (w.nested().isEmpty()) {
      device.upload(MemorySegment.ofArray(absmax), w.absmax());
      return;
    }
    var nested = Nested.of(absmax);
    device.upload(MemorySegment.ofArray(nested.codes), w.absmax());
    device.upload(MemorySegment.ofArray(nested.scale), w.nested().orElseThrow().scale());
    device.upload(MemorySegment.ofArray(new float[] {nested.offset}), w.nested().orElseThrow().offset());
  }

  /// Carves a matrix and uploads into it.
  public Nf4 upload(Device device, Region region, int outputs, int inputs, boolean doubleQuant) {
    var w = Nf4.carve(region, outputs, inputs, doubleQuant);
    upload(device, w);
    return w;
  }
}
