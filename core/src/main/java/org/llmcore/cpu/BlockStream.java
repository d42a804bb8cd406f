package org.llmcore.cpu;

import org.llmcore.tensor.BlockType;

import static org.llmcore.cpu.StreamForm.z;
import static org.llmcore.cpu.code.Gpr.*;

/// GGML's blocks of 32 weights. What a code can be worth in its block is a table (two where codes have five bits: one for each
/// fifth bit, which arrives as a mask); scales times codes are exact in f32, so a table rounds where the definition does.
record BlockStream(BlockType type) implements StreamForm {
  @Override
  public int unit() {
    return type.weights();
  }

  @Override
  public int bytes() {
    return type.bytes();
  }

  @Override
  public void constants(StreamCode s) {
    switch (type) {
      case Q4_0 -> s.constant(z(28), StreamForm.index(-8));
      case Q5_0 -> {
        s.constant(z(28), StreamForm.index(-16));
        s.constant(z(29), StreamForm.index(0));
      }
      case Q5_1 -> {
        s.constant(z(28), StreamForm.index(0));
        s.constant(z(29), StreamForm.index(16));
      }
      default -> s.constant(z(28), StreamForm.index(0));
    }
    s.halves(R13);
  }

  @Override
  public void row(StreamCode s, int r) {
    s.a.movzx16(RAX, s.w(r, 0));
    var d = R13.at(RAX, 4, 0);
    switch (type) {
      case Q8_0 -> {
        s.a.vbroadcastss(z(26), d);
        for (int v = 0; v < 2; v++) {
          s.a.vpmovsxbd(z(24 + v), s.w(r, 2 + 16 * v));
          s.a.vcvtdq2ps(z(24 + v), z(24 + v));
          s.a.vmulps(z(24 + v), z(24 + v), z(26));
          s.use(r, v, z(24 + v));
        }
      }
      case Q4_0 -> {
        s.a.vmulps(z(16), z(28), d.all());
        nibbles(s, r, 2);
      }
      case Q4_1 -> {
        s.a.movzx16(RBX, s.w(r, 2));
        s.a.vbroadcastss(z(16), R13.at(RBX, 4, 0));
        s.a.vfmadd231ps(z(16), z(28), d.all());
        nibbles(s, r, 4);
      }
      case Q5_0 -> {
        s.a.vmulps(z(16), z(28), d.all());
        s.a.vmulps(z(17), z(29), d.all());
        fives(s, r, 2);
      }
      default -> { // Q5_1
        s.a.movzx16(RBX, s.w(r, 2));
        s.a.vbroadcastss(z(16), R13.at(RBX, 4, 0));
        s.a.vmovaps(z(17), z(16));
        s.a.vfmadd231ps(z(16), z(28), d.all());
        s.a.vfmadd231ps(z(17), z(29), d.all());
        fives(s, r, 4);
      }
    }
  }

  /// A lookup sees the lower 4 bits of a lane.
  private static void nibbles(StreamCode s, int r, int at) {
    s.a.vpmovzxbd(z(24), s.w(r, at));
    s.a.vpermps(z(25), z(24), z(16));
    s.use(r, 0, z(25));
    s.a.vpsrld(z(24), z(24), 4);
    s.a.vpermps(z(26), z(24), z(16));
    s.use(r, 1, z(26));
  }

  private static void fives(StreamCode s, int r, int at) {
    s.a.kmovw(3, s.w(r, at));
    s.a.kmovw(4, s.w(r, at + 2));
    s.a.vpmovzxbd(z(24), s.w(r, at + 4));
    s.a.vpermps(z(25), z(24), z(16));
    s.a.vpermps(z(25).keep(3), z(24), z(17));
    s.use(r, 0, z(25));
    s.a.vpsrld(z(24), z(24), 4);
    s.a.vpermps(z(26), z(24), z(16));
    s.a.vpermps(z(26).keep(4), z(24), z(17));
    s.use(r, 1, z(26));
  }

  @Override
  public void bind(Job frame, Right b, long row, int width, int apart) {
    StreamGemm.blocks(frame, (BlocksRight) b, row, width, apart);
  }
}
