package org.llmcore.cpu;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;

import org.llmcore.tensor.BlockType;
import org.llmcore.tensor.Blocks;
import org.llmcore.tensor.Memory;

import static jdk.incubator.vector.VectorOperators.LSHL;
import static jdk.incubator.vector.VectorOperators.LSHR;

/// GGML's blocks, 16 weights at a time: in every type they share one scale and lie in 16 neighbouring bytes. Where a register
/// holds the values of 16 codes, 4-bit types look them up.
record BlocksRight(Blocks w, int inputs, long codes, int rowBytes) implements Right {
  private static final int UNIT = 16;

  static BlocksRight of(Blocks w) {
    return new BlocksRight(w, w.inputs(), w.codes().address(), w.codes().columns());
  }

  @Override
  public long read(Lanes lanes, long first, int n, long to) {
    int row = Math.toIntExact(first / inputs);
    int from = (int) (first - (long) row * inputs);
    if (!lanes.vector()) {
      for (int i = 0; i < n; i++) Memory.f32(to + 4L * i, w.get(row, from + i));
      return to;
    }
    var type = w.type();
    long line = codes + (long) row * rowBytes;
    switch (type) {
      case Q8_0 -> bytes(line, from, n, to);
      case Q4_0 -> {
        if (Codes.TABLES) zeros(line, from, n, to);
        else nibbles(type, line, from, n, to);
      }
      case Q4_1, Q5_0, Q5_1 -> nibbles(type, line, from, n, to);
      case Q4_K -> {
        if (Codes.TABLES) tables(line, from, n, to);
        else fours(line, from, n, to);
      }
      case Q5_K -> fives(line, from, n, to);
      case Q6_K -> sixes(line, from, n, to);
    }
    return to;
  }

  /// Q4_0 by lookup; pieces begin and end with whole blocks.
  private static void zeros(long line, int from, int n, long to) {
    var middle = Codes.floats(Codes.INDEX.sub(8));
    for (long block = line + (from >> 5) * 18L, end = line + (from + n >> 5) * 18L; block < end; block += 18, to += 128) {
      var table = middle.mul(half(block)).reinterpretAsInts();
      var q = Codes.unsigned(block + 2);
      Lanes.store(to, Codes.lookup(q.and(15), table));
      Lanes.store(to + 64, Codes.lookup(q.lanewise(LSHR, 4), table));
    }
  }

  private static float half(long address) {
    return Float.float16ToFloat(Memory.u16(address));
  }

  private static void bytes(long codes, int from, int n, long to) {
    for (int c = from; c < from + n; c += UNIT) {
      long block = codes + (c >> 5) * 34L;
      float d = half(block);
      long q = block + 2 + (c & UNIT);
      for (int i = 0; i < UNIT; i += Lanes.N, to += 4L * Lanes.N) Lanes.store(to, Codes.floats(Codes.signed(q + i)).mul(d));
    }
  }

  private static void nibbles(BlockType type, long codes, int from, int n, long to) {
    boolean five = type == BlockType.Q5_0 || type == BlockType.Q5_1;
    boolean shifted = type == BlockType.Q4_1 || type == BlockType.Q5_1;
    int head = shifted ? 4 : 2;
    int middle = shifted ? 0 : five ? 16 : 8;
    for (int c = from; c < from + n; c += UNIT) {
      long block = codes + (long) (c >> 5) * type.bytes();
      float d = half(block);
      float m = shifted ? half(block + 2) : 0;
      int fifth = five ? Memory.i32(block + head) >>> (c & UNIT) : 0;
      long q = block + head + (five ? 4 : 0);
      for (int i = 0; i < UNIT; i += Lanes.N, to += 4L * Lanes.N) {
        var v = Codes.field(q + i, (c & UNIT) >> 2, 15);
        if (five) v = v.or(IntVector.broadcast(Codes.INTS, fifth >>> i).lanewise(LSHR, Codes.INDEX).and(1).lanewise(LSHL, 4));
        var value = Codes.floats(v.sub(middle)).mul(d);
        Lanes.store(to, shifted ? value.add(m) : value);
      }
    }
  }

  /// Q4_K by lookup; pieces begin and end with whole sub-blocks of 32.
  private static void tables(long codes, int from, int n, long to) {
    for (int c = from; c < from + n; c += 2 * UNIT, to += 128) {
      long block = codes + (c >> 8) * 144L;
      var table = grid(Codes.INDEX, scale(block, c), min(block, c)).reinterpretAsInts();
      long q = block + 16 + (c >> 6 & 3) * 32;
      Lanes.store(to, Codes.lookup(Codes.field(q, c >> 3 & 4, 15), table));
      Lanes.store(to + 64, Codes.lookup(Codes.field(q + UNIT, c >> 3 & 4, 15), table));
    }
  }

  private static void fours(long codes, int from, int n, long to) {
    for (int c = from; c < from + n; c += UNIT) {
      long block = codes + (c >> 8) * 144L;
      float d = scale(block, c);
      float m = min(block, c);
      long q = block + 16 + (c >> 6 & 3) * 32 + (c & UNIT);
      for (int i = 0; i < UNIT; i += Lanes.N, to += 4L * Lanes.N) Lanes.store(to, grid(Codes.field(q + i, c >> 3 & 4, 15), d, m));
    }
  }

  private static void fives(long codes, int from, int n, long to) {
    for (int c = from; c < from + n; c += UNIT) {
      long block = codes + (c >> 8) * 176L;
      float d = scale(block, c);
      float m = min(block, c);
      long q = block + 48 + (c >> 6 & 3) * 32 + (c & UNIT);
      long fifth = block + 16 + (c & UNIT);
      for (int i = 0; i < UNIT; i += Lanes.N, to += 4L * Lanes.N) {
        var high = Codes.field(fifth + i, c >> 5 & 7, 1).lanewise(LSHL, 4);
        Lanes.store(to, grid(Codes.field(q + i, c >> 3 & 4, 15).or(high), d, m));
      }
    }
  }

  /// The scale of the 32 weights around column c.
  private static float scale(long block, int c) {
    return half(block) * BlockType.scale(block + 4, c >> 5 & 7);
  }

  private static float min(long block, int c) {
    return half(block + 2) * BlockType.min(block + 4, c >> 5 & 7);
  }

  private static FloatVector grid(IntVector q, float d, float m) {
    return Codes.floats(q).mul(d).sub(m);
  }

  private static void sixes(long codes, int from, int n, long to) {
    for (int c = from; c < from + n; c += UNIT) {
      long block = codes + (c >> 8) * 210L;
      int quarter = c >> 5 & 3;
      float d = half(block + 208) * (byte) Memory.u8(block + 192 + (c >> 4 & 15));
      long low = block + (c >> 7 & 1) * 64 + (quarter & 1) * 32 + (c & UNIT);
      long high = block + 128 + (c >> 7 & 1) * 32 + (c & UNIT);
      for (int i = 0; i < UNIT; i += Lanes.N, to += 4L * Lanes.N) {
        var q = Codes.field(low + i, quarter >> 1 << 2, 15).or(Codes.field(high + i, 2 * quarter, 3).lanewise(LSHL, 4));
        Lanes.store(to, Codes.floats(q.sub(32)).mul(d));
      }
    }
  }
}
