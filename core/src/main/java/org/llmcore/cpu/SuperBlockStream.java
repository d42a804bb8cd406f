package org.llmcore.cpu;

import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Mem;
import org.llmcore.cpu.code.Vec;
import org.llmcore.tensor.BlockType;

import static org.llmcore.cpu.StreamForm.z;
import static org.llmcore.cpu.code.Gpr.*;

/// GGML's blocks of 256 weights. The 16 scales (or 8 scales and 8 minima) of a block are made together, as one vector that rests in
/// the frame. Their products with codes are exact in f32, so fused operations round where the definition does.
record SuperBlockStream(BlockType type) implements StreamForm {
  private static final int MAGIC = 0x4b000000; // the bits of 2²³, whose lowest mantissa bits are a small integer

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
    s.halves(R13);
    s.constant(z(31), StreamForm.all(15));
    if (type == BlockType.Q6_K) {
      s.constant(z(28), StreamForm.all(0x30));
      s.constant(z(29), StreamForm.all(MAGIC));
      s.constant(z(30), StreamForm.all(MAGIC + 32));
      return;
    }
    s.constant(z(28), StreamForm.index(0));
    s.constant(z(29), StreamForm.index(16));
    scaleConstants(s);
  }

  /// What `scales` needs.
  static void scaleConstants(StreamCode s) {
    // Lanes 0 … 7 are scales, 8 … 15 minima; the last four of each are put together from nibbles and pairs of bits (BlockType.scale).
    s.constant(z(30), 0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 8, 9, 10, 11);
    s.constant(z(20), 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7);
    s.constant(z(21), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4);
    s.constant(z(22), 63, 63, 63, 63, 15, 15, 15, 15, 63, 63, 63, 63, 15, 15, 15, 15);
    s.constant(z(23), 0, 0, 0, 0, 48, 48, 48, 48, 0, 0, 0, 0, 48, 48, 48, 48);
  }

  /// Number i of row r's slot.
  static Mem slot(int r, int i) {
    return RDI.at(StreamCode.VECTORS + 64 * r + 4 * i);
  }

  @Override
  public void row(StreamCode s, int r) {
    if (type == BlockType.Q6_K) {
      sixScales(s, r, R13);
      sixes(s, r);
    } else {
      scales(s, r, R13);
      if (type == BlockType.Q4_K) fours(s, r);
      else fives(s, r);
    }
  }

  /// d·scale in lanes 0 … 7, dmin·min in lanes 8 … 15 of the row's slot.
  static void scales(StreamCode s, int r, Gpr halves) {
    s.a.vpmovzxbd(z(24), s.w(r, 4));
    s.a.vpermps(z(25), z(30), z(24));
    s.a.vpermps(z(26), z(20), z(24));
    s.a.vpsrlvd(z(25), z(25), z(21));
    s.a.vpandd(z(25), z(25), z(22));
    s.a.vpsrld(z(26), z(26), 2);
    s.a.vpandd(z(26), z(26), z(23));
    s.a.vpord(z(25), z(25), z(26));
    s.a.vcvtdq2ps(z(25), z(25));
    s.a.movzx16(RAX, s.w(r, 0));
    s.a.movzx16(RBX, s.w(r, 2));
    s.a.vbroadcastss(z(24), halves.at(RAX, 4, 0));
    s.a.vbroadcastss(z(26), halves.at(RBX, 4, 0));
    s.a.vshuff32x4(z(24), z(24), z(26), 0x44);
    s.a.vmulps(z(25), z(25), z(24));
    s.a.vmovups(slot(r, 0), z(25));
  }

  /// The values of codes first … first+15 of sub-block j.
  private static void table(StreamCode s, int r, int j, int to, int codes) {
    s.a.vbroadcastss(z(to), slot(r, 8 + j));
    s.a.vfmsub231ps(z(to), z(codes), slot(r, j).all());
  }

  /// Each 32 bytes hold two sub-blocks of 32 weights, low nibbles and high nibbles.
  private static void fours(StreamCode s, int r) {
    for (int j = 0; j < 8; j++) {
      table(s, r, j, 16, 28);
      for (int p = 0; p < 2; p++) {
        var q = z(24 + p);
        if (j % 2 == 0) s.a.vpmovzxbd(q, s.w(r, 16 + 16 * j + 16 * p));
        else s.a.vpsrld(q, q, 4);
        s.a.vpermps(z(26 + p), q, z(16));
        s.use(r, 2 * j + p, z(26 + p));
      }
    }
  }

  /// As `fours`, with bit j of 32 bytes as the fifth of sub-block j, and tables for it being 0 and 1.
  private static void fives(StreamCode s, int r) {
    for (int p = 0; p < 2; p++) s.a.vpmovzxbd(z(18 + p), s.w(r, 16 + 16 * p));
    for (int j = 0; j < 8; j++) {
      table(s, r, j, 16, 28);
      table(s, r, j, 17, 29);
      for (int p = 0; p < 2; p++) {
        var q = z(24 + p);
        var code = z(26 + p);
        if (j % 2 == 0) s.a.vpmovzxbd(q, s.w(r, 48 + 16 * j + 16 * p));
        else s.a.vpsrld(q, q, 4);
        shift(s, code, z(18 + p), 4 - j);
        s.a.vpternlogd(code, q, z(31), CHOOSE);
        s.a.vpermi2ps(code, z(16), z(17));
        s.use(r, 2 * j + p, code);
      }
    }
  }

  /// to = from shifted so many bits to the left, or to the right.
  static void shift(StreamCode s, Vec to, Vec from, int left) {
    if (left > 0) s.a.vpslld(to, from, left);
    else if (left < 0) s.a.vpsrld(to, from, -left);
    else s.a.vmovaps(to, from);
  }

  /// d·scale of all sixteens in the row's slot.
  static void sixScales(StreamCode s, int r, Gpr halves) {
    s.a.vpmovsxbd(z(24), s.w(r, 192));
    s.a.vcvtdq2ps(z(24), z(24));
    s.a.movzx16(RAX, s.w(r, 208));
    s.a.vmulps(z(24), z(24), halves.at(RAX, 4, 0).all());
    s.a.vmovups(slot(r, 0), z(24));
  }

  /// 128 weights are 64 bytes of nibbles (quarters 0 and 1 low, 2 and 3 high) and 32 bytes of pairs of bits, one for each quarter.
  private static void sixes(StreamCode s, int r) {
    for (int half = 0; half < 2; half++) {
      for (int i = 0; i < 4; i++) s.a.vpmovzxbd(z(16 + i), s.w(r, 64 * half + 16 * i));
      for (int p = 0; p < 2; p++) s.a.vpmovzxbd(z(20 + p), s.w(r, 128 + 32 * half + 16 * p));
      for (int quarter = 0; quarter < 4; quarter++) {
        for (int p = 0; p < 2; p++) {
          int v = 8 * half + 2 * quarter + p;
          var low = z(16 + 2 * (quarter % 2) + p);
          var q = z(24 + p);
          if (quarter > 1) s.a.vpsrld(low, low, 4);
          shift(s, q, z(20 + p), 4 - 2 * quarter);
          s.a.vpternlogd(q, z(28), z(29), 0xea); // q & 0x30 | 2²³
          s.a.vpternlogd(q, low, z(31), CHOOSE);
          s.a.vsubps(q, q, z(30));
          s.a.vmulps(q, q, slot(r, v).all());
          s.use(r, v, q);
        }
      }
    }
  }

  @Override
  public void bind(Job frame, Right b, long row, int width, int apart) {
    StreamGemm.blocks(frame, (BlocksRight) b, row, width, apart);
  }
}
