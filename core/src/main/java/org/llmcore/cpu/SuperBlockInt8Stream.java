package org.llmcore.cpu;

import org.llmcore.tensor.BlockType;

import static org.llmcore.cpu.StreamForm.z;
import static org.llmcore.cpu.code.Gpr.RBP;

/// `Q4_K` and `Q6_K`: scales of a block of each row are made together (`SuperBlockStream`) and rest in the frame. What minima, or codes of 32
/// that stand for 0, take off is W's four factors at a time times x's sums.
record SuperBlockInt8Stream(BlockType type) implements Int8Stream {
  @Override
  public Int8Code.Layout layout() {
    return Int8Code.Layout.SUPER;
  }

  @Override
  public int bytes() {
    return type.bytes();
  }

  @Override
  public void constants(StreamCode s) {
    if (type == BlockType.Q4_K) SuperBlockStream.scaleConstants(s);
    s.constant(z(28), StreamForm.all(0x0f0f_0f0f));
    s.constant(z(29), StreamForm.all(0x3030_3030));
    s.quarterMasks();
  }

  @Override
  public void start(StreamCode s) {
    s.halves(RBP);
  }

  @Override
  public void strip(StreamCode s) {
    for (int r = 0; r < s.rows(); r++) {
      if (type == BlockType.Q4_K) SuperBlockStream.scales(s, r, RBP);
      else SuperBlockStream.sixScales(s, r, RBP);
    }
    if (type == BlockType.Q4_K) fours(s);
    else sixes(s);
  }

  private static void fours(StreamCode s) {
    for (int pair = 0; pair < 4; pair++) {
      for (int p = 0; p < 2; p++) {
        int at = 16 + 32 * pair + 16 * p;
        s.quarters(z(16 + p), r -> s.w(r, at));
        Int8Stream.nibbles(s, z(16 + p), z(18 + p), z(28));
      }
      for (int j = 2 * pair; j < 2 * pair + 2; j++) {
        int low = 16 + 2 * (j % 2);
        factor(s, j);
        Int8Stream.block(s, 64 * j, false, z(31), 0, z(low), z(low + 1));
      }
    }
    for (int h = 0; h < 2; h++) {
      factors(s, 8 + 4 * h);
      Int8Stream.less(s, Int8Code.BLOCKS + 16 * h, z(31));
    }
  }

  /// As `SuperBlockStream.sixes`: of each half, quarters 0 and 1 are low nibbles, 2 and 3 high ones, of 64 bytes.
  private static void sixes(StreamCode s) {
    for (int half = 0; half < 2; half++) {
      for (int i = 0; i < 4; i++) {
        int at = 64 * half + 16 * i;
        s.quarters(z(16 + i), r -> s.w(r, at));
      }
      for (int p = 0; p < 2; p++) {
        int at = 128 + 32 * half + 16 * p;
        s.quarters(z(20 + p), r -> s.w(r, at));
      }
      for (int quarter = 0; quarter < 4; quarter++) {
        for (int p = 0; p < 2; p++) {
          int v = 8 * half + 2 * quarter + p;
          var low = z(16 + 2 * (quarter % 2) + p);
          if (quarter > 1) s.a.vpsrld(low, low, 4);
          SuperBlockStream.shift(s, z(22), z(20 + p), 4 - 2 * quarter);
          s.a.vpandd(z(22), z(22), z(29));
          s.a.vpandd(z(23), low, z(28));
          s.a.vpord(z(22), z(22), z(23));
          factor(s, v);
          Int8Stream.block(s, 64 * (v / 2), false, z(31), p, z(22));
        }
      }
    }
    for (int h = 0; h < 4; h++) {
      factors(s, 4 * h);
      Int8Stream.less(s, Int8Code.SIXTEENS + 16 * h, z(31));
    }
  }

  /// zmm31 = number i of each row's slot, in all of the row's quarter.
  private static void factor(StreamCode s, int i) {
    s.perRow(z(31), r -> SuperBlockStream.slot(r, i));
  }

  /// zmm31 = numbers i … i+3 of each row's slot.
  private static void factors(StreamCode s, int i) {
    s.quarters(z(31), r -> SuperBlockStream.slot(r, i));
  }

  @Override
  public void bind(Job frame, Right b, long row, int width, int apart) {
    StreamGemm.blocks(frame, (BlocksRight) b, row, width, apart);
  }
}
