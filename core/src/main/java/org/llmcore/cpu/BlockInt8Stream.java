package org.llmcore.cpu;

import org.llmcore.tensor.BlockType;

import static org.llmcore.cpu.StreamForm.z;

/// `Q4_0` and `Q8_0`, whose codes become unsigned by an offset of 8 or 128 that x's packed sums take back.
record BlockInt8Stream(BlockType type) implements Int8Stream {
  @Override
  public Int8Code.Layout layout() {
    return Int8Code.Layout.INTEGERS;
  }

  @Override
  public int zero() {
    return type == BlockType.Q8_0 ? 128 : 8;
  }

  @Override
  public int bytes() {
    return type.bytes();
  }

  @Override
  public void constants(StreamCode s) {
    s.constant(z(28), StreamForm.all(type == BlockType.Q8_0 ? 0x8080_8080 : 0x0f0f_0f0f));
    s.quarterMasks();
  }

  @Override
  public void strip(StreamCode s) {
    s.quarters(z(16), r -> s.w(r, 2));
    if (type == BlockType.Q8_0) {
      s.quarters(z(17), r -> s.w(r, 18));
      s.a.vpxord(z(16), z(16), z(28));
      s.a.vpxord(z(17), z(17), z(28));
    } else {
      Int8Stream.nibbles(s, z(16), z(17), z(28));
    }
    s.halfPerRow(z(18), r -> s.w(r, 0));
    Int8Stream.block(s, 0, true, z(18), 0, z(16), z(17));
  }

  @Override
  public void bind(Job frame, Right b, long row, int width, int apart) {
    StreamGemm.blocks(frame, (BlocksRight) b, row, width, apart);
  }
}
