package org.llmcore.cpu;

import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;

import org.llmcore.tensor.Nf4;

import static org.llmcore.cpu.StreamForm.z;
import static org.llmcore.cpu.code.Gpr.*;

/// `Nf4` matrices whose rows are whole blocks: the levels times a block's largest magnitude are a table for its 64 codes. R15 is
/// the block in the first row, counted over the matrix; R14 where magnitudes begin; R13 and RBP the map and the scales that
/// double quantization adds.
record Nf4Stream(boolean nested) implements StreamForm {
  private static final int BLOCK = StreamCode.FORM;
  private static final int BLOCK_STEP = BLOCK + 8;
  private static final int MAGNITUDES = BLOCK + 16;
  private static final int SCALES = BLOCK + 24;
  private static final int OFFSET = BLOCK + 32;
  private static final int BLOCK_ROW = BLOCK + 40;

  static boolean handles(Nf4Right w) {
    return w.w().inputs() % Nf4.BLOCK == 0;
  }

  @Override
  public int unit() {
    return Nf4.BLOCK;
  }

  @Override
  public int bytes() {
    return Nf4.BLOCK / 2;
  }

  @Override
  public void constants(StreamCode s) {
    s.constant(z(28), Nf4.levels());
    // Element 2i is the high nibble of byte i; the first dword holds elements 0 … 7.
    var shifts = new int[16];
    for (int i = 0; i < 16; i++) shifts[i] = i % 8 / 2 * 8 + (i % 2 == 0 ? 4 : 0);
    s.constant(z(29), shifts);
    s.a.mov(RAX, 0xff00);
    s.a.kmovw(3, RAX);
    if (!nested) return;
    s.a.vbroadcastss(z(30), RDI.at(OFFSET));
    var map = Arena.global().allocateFrom(ValueLayout.JAVA_FLOAT, Nf4.map());
    s.a.mov(R13, map.address());
  }

  @Override
  public void start(StreamCode s) {
    s.a.mov(R15, RDI.at(BLOCK));
    s.a.mov(R14, RDI.at(MAGNITUDES));
    s.a.mov(RBP, RDI.at(SCALES));
  }

  @Override
  public void row(StreamCode s, int r) {
    if (r == 0) {
      s.a.mov(RBX, R15);
    } else {
      s.a.mov(RBX, RDI.at(BLOCK_ROW + 8 * (r - 1)));
      s.a.add(RBX, R15);
    }
    if (nested) { // map[q] · scale[block / 256] + offset, rounded twice
      s.a.movzx8(RAX, R14.at(RBX, 1, 0));
      s.a.shr(RBX, Integer.numberOfTrailingZeros(Nf4.NESTED_BLOCK));
      s.a.vbroadcastss(z(16), R13.at(RAX, 4, 0));
      s.a.vmulps(z(16), z(16), RBP.at(RBX, 4, 0).all());
      s.a.vaddps(z(16), z(16), z(30));
      s.a.vmulps(z(16), z(28), z(16));
    } else {
      s.a.vmulps(z(16), z(28), R14.at(RBX, 4, 0).all());
    }
    for (int v = 0; v < 4; v++) {
      s.a.vbroadcastss(z(24), s.w(r, 8 * v));
      s.a.vbroadcastss(z(24).keep(3), s.w(r, 8 * v + 4));
      s.a.vpsrlvd(z(24), z(24), z(29));
      s.a.vpermps(z(24), z(24), z(16));
      s.use(r, v, z(24));
    }
  }

  @Override
  public void step(StreamCode s) {
    s.a.inc(R15);
  }

  @Override
  public void next(StreamCode s) {
    s.advance(BLOCK, BLOCK_STEP);
  }

  @Override
  public void bind(Job frame, Right b, long row, int width, int apart) {
    var w = (Nf4Right) b;
    long blocks = w.w().inputs() / Nf4.BLOCK;
    StreamGemm.rows(frame, w.codes() + row * w.w().inputs() / 2, w.w().inputs() / 2, width, apart);
    frame.set(BLOCK, row * blocks);
    frame.set(BLOCK_STEP, blocks);
    frame.set(MAGNITUDES, w.absmax());
    frame.set(SCALES, w.scale());
    frame.set(OFFSET, Integer.toUnsignedLong(Float.floatToRawIntBits(w.offset())));
    StreamForm.offsets(frame, BLOCK_ROW, width, apart * blocks);
  }
}
