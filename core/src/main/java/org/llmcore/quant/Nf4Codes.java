package org.llmcore.quant;

import java.lang.foreign.MemorySegment;

import org.llmcore.op.Device;
import org.llmcore.tensor.Nf4;
import org.llmcore.tensor.Region;

/// The host form of an `Nf4` matrix, and its encoder, as bitsandbytes' portable operator decides:
///
///     absmax[b] = max |w| over block b        code = the level whose cell holds w·(1/absmax)
///
/// Cells end at the f32 midpoints of levels (the library's CUDA kernel writes them with other last digits); a weight exactly on a midpoint takes the lower level. A block of zeros gets the level 0.
///
/// Double quantization: offset = mean of all absmax (summed in f64, rounded once), then absmax − offset in blocks of 256, each
/// value in units of the block's largest magnitude to the nearest level of `Nf4.map`, decided at the f32 midpoints, ties down.
///
/// @param codes two per byte, the first in the high nibble
public record Nf4Codes(byte[] codes, float[] absmax) {
  private static final float[] CUTS = cuts(Nf4.levels());
  private static final int ZERO = 7;

  /// Midpoints of neighbouring levels.
  private static float[] cuts(float[] levels) {
    var cuts = new float[levels.length - 1];
    for (int i = 0; i < cuts.length; i++) cuts[i] = (levels[i] + levels[i + 1]) / 2;
    return cuts;
  }

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
      var cuts = cuts(Nf4.map());
      var codes = new byte[absmax.length];
      var scale = new float[(absmax.length + Nf4.NESTED_BLOCK - 1) / Nf4.NESTED_BLOCK];
      for (int b = 0; b < scale.length; b++) {
        int from = b * Nf4.NESTED_BLOCK;
        int to = Math.min(absmax.length, from + Nf4.NESTED_BLOCK);
        for (int i = from; i < to; i++) scale[b] = Math.max(scale[b], Math.abs(absmax[i] - offset));
        float inverse = scale[b] == 0 ? 0 : 1 / scale[b];
        for (int i = from; i < to; i++) codes[i] = (byte) cell(cuts, (absmax[i] - offset) * inverse);
      }
      return new Nested(codes, scale, offset);
    }

    /// How many midpoints lie below x.
    private static int cell(float[] cuts, float x) {
      int low = 0;
      int high = cuts.length;
      while (low < high) {
        int middle = (low + high) / 2;
        if (x > cuts[middle]) low = middle + 1;
        else high = middle;
      }
      return low;
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
