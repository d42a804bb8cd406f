package org.llmcore.checkpoint;

/// How GPTQ checkpoints pack small unsigned integers into 32-bit words: value j of a run begins at bit b·j of the run's bits,
/// little end first. With 2, 4 and 8 bits no value straddles words; with 3, values 10 and 21 of every 32 do.
///
/// | tensor  | shape              | a run is                                    |
/// |---------|--------------------|---------------------------------------------|
/// | qweight | (inputs·b/32, outputs) | the codes of one output, along inputs   |
/// | qzeros  | (groups, outputs·b/32) | the zeros of one group, along outputs   |
///
/// (AutoGPTQ, `qlinear_cuda.py`.)
public final class GptqPacking {
  private GptqPacking() {}

  /// Words of a run of n values.
  /// @throws IllegalArgumentException if it does not fill whole words
  public static int words(int bits, int n) {
    long all = (long) bits * n;
    if (all % 32 != 0) throw new IllegalArgumentException(n + " values of " + bits + " bits fill no whole words");
    return Math.toIntExact(all / 32);
  }

  /// Codes (outputs, inputs), row-major, of a `qweight`.
  public static byte[] codes(int bits, int[] qweight, int outputs, int inputs) {
    if (qweight.length != Math.multiplyExact(words(bits, inputs), outputs)) {
      throw new IllegalArgumentException(qweight.length + " words for (" + outputs + ", " + inputs + ") in " + bits + " bits");
    }
    var q = new byte[Math.multiplyExact(outputs, inputs)];
    for (int i0 = 0; i0 < inputs; i0 += 32) {
      int end = Math.min(inputs, i0 + 32);
      for (int o = 0; o < outputs; o++) {
        for (int i = i0; i < end; i++) q[o * inputs + i] = (byte) get(bits, qweight, o, outputs, i);
      }
    }
    return q;
  }

  /// The `qweight` of codes (outputs, inputs), row-major.
  public static int[] qweight(int bits, byte[] q, int outputs, int inputs) {
    var words = new int[Math.multiplyExact(words(bits, inputs), outputs)];
    for (int o = 0; o < outputs; o++) {
      for (int i = 0; i < inputs; i++) put(bits, words, o, outputs, i, q[o * inputs + i] & 0xff);
    }
    return words;
  }

  /// Values (groups, outputs), row-major, of a `qzeros`: as stored, without the format's offset.
  public static int[] zeros(int bits, int[] qzeros, int groups, int outputs) {
    int width = words(bits, outputs);
    if (qzeros.length != Math.multiplyExact(width, groups)) {
      throw new IllegalArgumentException(qzeros.length + " words for " + groups + " groups of " + outputs + " zeros in " + bits
          + " bits");
    }
    var z = new int[Math.multiplyExact(groups, outputs)];
    for (int g = 0; g < groups; g++) for (int o = 0; o < outputs; o++) z[g * outputs + o] = get(bits, qzeros, g * width, 1, o);
    return z;
  }

  /// The `qzeros` of values (groups, outputs), row-major, each within `bits`.
  public static int[] qzeros(int bits, int[] z, int groups, int outputs) {
    int width = words(bits, outputs);
    var words = new int[Math.multiplyExact(width, groups)];
    for (int g = 0; g < groups; g++) for (int o = 0; o < outputs; o++) put(bits, words, g * width, 1, o, z[g * outputs + o]);
    return words;
  }

  private static int get(int bits, int[] words, int first, int step, int j) {
    long at = (long) bits * j;
    int w = first + (int) (at >> 5) * step;
    int shift = (int) at & 31;
    int v = words[w] >>> shift;
    if (shift + bits > 32) v |= words[w + step] << 32 - shift;
    return v & (1 << bits) - 1;
  }

  private static void put(int bits, int[] words, int first, int step, int j, int value) {
    if (value >>> bits != 0) throw new IllegalArgumentException(value + " does not fit into " + bits + " bits");
    long at = (long) bits * j;
    int w = first + (int) (at >> 5) * step;
    int shift = (int) at & 31;
    words[w] |= value << shift;
    if (shift + bits > 32) words[w + step] |= value >>> 32 - shift;
  }
}
