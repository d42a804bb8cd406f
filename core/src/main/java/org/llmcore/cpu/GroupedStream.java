package org.llmcore.cpu;

import org.llmcore.cpu.code.Condition;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.StreamForm.z;
import static org.llmcore.cpu.code.Gpr.*;

/// `Grouped` matrices whose groups are whole packs of neighbouring columns. Fewer than 8 bits look codes up in the values of their
/// group, zmm16 + row, which hold a code's value at every place that has it in the lower bits; 8 bits compute them from scale and
/// zero, zmm16 + row and zmm20 + row. R14 and R15 stand at the group's scale and zero in the first row, RBP counts rounds.
record GroupedStream(int bits, DType scales) implements StreamForm {
  static final int SCALES = StreamCode.FORM;
  static final int ZEROS = SCALES + 8;
  private static final int SCALE_STEP = SCALES + 16; // from row to row
  private static final int ZERO_STEP = SCALES + 24;
  static final int GROUPS = SCALES + 32;
  static final int GROUP_ROUNDS = SCALES + 40;
  static final int LEFT = SCALES + 48; // groups
  private static final int GROUP_ROW = SCALES + 56; // 16-bit elements of the grid before rows 1, 2, 3
  private static final float[] CODES = StreamForm.index(0);

  /// Whether this code reads w.
  static boolean handles(GroupedRight w) {
    return w.w().groupOf().isEmpty() && (w.groups() == 1 || w.groupSize() % unit(w.bits()) == 0);
  }

  private static int unit(int bits) {
    return switch (bits) {
      case 8 -> 16;
      case 4 -> 32;
      case 3 -> 128;
      default -> 64;
    };
  }

  @Override
  public int unit() {
    return unit(bits);
  }

  @Override
  public int bytes() {
    return bits == 3 ? 48 : 16;
  }

  @Override
  public void rest(StreamCode s) {
    s.tails();
  }

  @Override
  public void constants(StreamCode s) {
    var codes = CODES.clone();
    for (int i = 0; i < 16; i++) codes[i] %= 1 << Math.min(bits, 4);
    s.constant(z(28), codes);
    if (bits == 3) s.constant(z(29), StreamForm.all(3));
    s.halves(R13);
  }

  @Override
  public void start(StreamCode s) {
    s.a.mov(R14, RDI.at(SCALES));
    s.a.mov(R15, RDI.at(ZEROS));
    s.a.mov(RBP, RDI.at(StreamCode.ROUNDS));
    s.a.mov(RAX, RDI.at(GROUPS));
    s.a.mov(RDI.at(LEFT), RAX);
  }

  @Override
  public void rounds(StreamCode s) {
    var group = s.a.here();
    for (int r = 0; r < s.rows(); r++) grid(s, r);
    s.a.add(R14, scales.bytes());
    s.a.add(R15, 2);
    s.a.mov(R12, RDI.at(GROUP_ROUNDS)); // or what is left
    s.a.cmp(R12, RBP);
    s.a.cmov(Condition.GREATER, R12, RBP);
    s.a.sub(RBP, R12);
    s.loop(unit(), bytes());
    s.a.mov(RAX, RDI.at(LEFT));
    s.a.dec(RAX);
    s.a.mov(RDI.at(LEFT), RAX);
    s.a.j(Condition.NOT_EQUAL, group);
  }

  /// RBX = elements of the grid before row r.
  static void before(StreamCode s, int r) {
    if (r == 0) s.a.mov(RBX, 0);
    else s.a.mov(RBX, RDI.at(GROUP_ROW + 8 * (r - 1)));
  }

  /// Scale and zero of row r's group, and from them the values of its codes.
  private void grid(StreamCode s, int r) {
    var scale = z(16 + r);
    var zero = z(20 + r);
    before(s, r);
    s.a.movzx16(RAX, R15.at(RBX, 2, 0));
    s.a.vbroadcastss(zero, R13.at(RAX, 4, 0));
    if (scales == DType.F16) {
      s.a.movzx16(RAX, R14.at(RBX, 2, 0));
      s.a.vbroadcastss(scale, R13.at(RAX, 4, 0));
    } else {
      s.a.vbroadcastss(scale, R14.at(RBX, 4, 0));
    }
    if (bits == 8) return;
    s.a.vsubps(zero, z(28), zero);
    s.a.vmulps(scale, zero, scale);
  }

  @Override
  public void row(StreamCode s, int r) {
    switch (bits) {
      case 8 -> eight(s, r);
      case 3 -> three(s, r);
      default -> fields(s, r);
    }
  }

  private static void eight(StreamCode s, int r) {
    s.vector(0);
    s.a.vpmovzxbd(z(24 + r), s.w(r, 0));
    s.a.vcvtdq2ps(z(24 + r), z(24 + r));
    s.a.vsubps(z(24 + r), z(24 + r), z(20 + r));
    s.a.vmulps(z(24 + r), z(24 + r), z(16 + r));
    s.use(r, 0, z(24 + r));
  }

  /// 2 and 4 bits: every byte holds a code of each vector, and a lookup sees the lower 4 bits of a lane.
  private void fields(StreamCode s, int r) {
    s.a.vpmovzxbd(z(24), s.w(r, 0));
    for (int v = 0; v < 8 / bits; v++) {
      s.vector(v);
      if (v > 0) s.a.vpsrld(z(24), z(24), bits);
      s.a.vpermps(z(25), z(24), z(16 + r));
      s.use(r, v, z(25));
    }
  }

  /// 3 bits: two from one of two pieces, the third from the last piece.
  private static void three(StreamCode s, int r) {
    s.a.vpmovzxbd(z(25), s.w(r, 32));
    for (int v = 0; v < 8; v++) {
      s.vector(v);
      if (v % 4 == 0) s.a.vpmovzxbd(z(24), s.w(r, 16 * (v / 4)));
      else s.a.vpsrld(z(24), z(24), 2);
      if (v < 2) s.a.vpslld(z(26), z(25), 2 - v);
      else s.a.vpsrld(z(26), z(25), v - 2);
      s.a.vpternlogd(z(26), z(24), z(29), CHOOSE);
      s.a.vpermps(z(26), z(26), z(16 + r));
      s.use(r, v, z(26));
    }
  }

  @Override
  public void next(StreamCode s) {
    nextRows(s);
  }

  static void nextRows(StreamCode s) {
    s.advance(SCALES, SCALE_STEP);
    s.advance(ZEROS, ZERO_STEP);
  }

  @Override
  public void bind(Job frame, Right b, long row, int width, int apart) {
    bind(frame, (GroupedRight) b, unit(), row, width, apart);
  }

  /// @param columns of a round
  static void bind(Job frame, GroupedRight w, int columns, long row, int width, int apart) {
    StreamGemm.rows(frame, w.codes() + row * w.rowBytes(), w.rowBytes(), width, apart);
    frame.set(SCALES, w.scales() + row * w.groups() * w.scaleType().bytes());
    frame.set(ZEROS, w.zeros() + row * w.groups() * 2);
    frame.set(SCALE_STEP, (long) w.groups() * w.scaleType().bytes());
    frame.set(ZERO_STEP, w.groups() * 2L);
    frame.set(GROUPS, w.groups());
    frame.set(GROUP_ROUNDS, w.groups() == 1 ? Integer.MAX_VALUE : w.groupSize() / columns);
    StreamForm.offsets(frame, GROUP_ROW, width, (long) apart * w.groups());
  }
}
