package org.llmcore.cpu;

import java.util.function.IntFunction;

import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Mem;
import org.llmcore.op.Int8;
import org.llmcore.tensor.DType;

import static org.llmcore.cpu.StreamForm.z;
import static org.llmcore.cpu.code.Gpr.*;

/// `Grouped` matrices of 4 or 8 bits whose groups are whole blocks of x. Of a group, zmm20 holds the rows' scales and zmm21 those times
/// their zeros, which take x's sums off. R15 and RBP stand at the group's scale and zero in the first row.
record GroupedInt8Stream(int bits, DType scales) implements Int8Stream {
  private static final int BEFORE = StreamCode.VECTORS; // rounds left before this group

  /// Whether this code reads w.
  static boolean handles(GroupedRight w) {
    return (w.bits() == 4 || w.bits() == 8) && w.w().groupOf().isEmpty() && w.inputs() > 0 && w.inputs() % Int8.BLOCK == 0 && (w.groups() == 1 || w.groupSize() % Int8.BLOCK == 0);
  }

  @Override
  public Int8Code.Layout layout() {
    return Int8Code.Layout.FLOATS;
  }

  @Override
  public int bytes() {
    return 4 * bits;
  }

  @Override
  public void constants(StreamCode s) {
    s.constant(z(28), StreamForm.all(0x0f0f_0f0f));
    s.quarterMasks();
  }

  @Override
  public void start(StreamCode s) {
    s.a.mov(R15, RDI.at(GroupedStream.SCALES));
    s.a.mov(RBP, RDI.at(GroupedStream.ZEROS));
    s.a.mov(RAX, RDI.at(StreamCode.ROUNDS));
    s.a.mov(RDI.at(BEFORE), RAX);
    s.a.mov(RAX, RDI.at(GroupedStream.GROUPS));
    s.a.mov(RDI.at(GroupedStream.LEFT), RAX);
  }

  @Override
  public void rounds(StreamCode s) {
    var group = s.a.here();
    grid(s);
    s.a.add(R15, scales.bytes());
    s.a.add(RBP, 2);
    s.a.mov(R12, RDI.at(GroupedStream.GROUP_ROUNDS)); // or what is left
    s.a.mov(RBX, RDI.at(BEFORE));
    s.a.cmp(R12, RBX);
    s.a.cmov(Condition.GREATER, R12, RBX);
    s.a.sub(RBX, R12);
    s.a.mov(RDI.at(BEFORE), RBX);
    s.loop(unit(), bytes());
    s.a.mov(RAX, RDI.at(GroupedStream.LEFT));
    s.a.dec(RAX);
    s.a.mov(RDI.at(GroupedStream.LEFT), RAX);
    s.a.j(Condition.NOT_EQUAL, group);
  }

  /// Scales and zeros of the rows' group.
  private void grid(StreamCode s) {
    s.halfPerRow(z(21), r -> {
      GroupedStream.before(s, r);
      return RBP.at(RBX, 2, 0);
    });
    IntFunction<Mem> scale = r -> {
      GroupedStream.before(s, r);
      return R15.at(RBX, scales.bytes(), 0);
    };
    if (scales == DType.F16) s.halfPerRow(z(20), scale);
    else s.perRow(z(20), scale);
    s.a.vmulps(z(21), z(21), z(20));
  }

  @Override
  public void strip(StreamCode s) {
    s.quarters(z(16), r -> s.w(r, 0));
    if (bits == 4) Int8Stream.nibbles(s, z(16), z(17), z(28));
    else s.quarters(z(17), r -> s.w(r, 16));
    Int8Stream.block(s, 0, false, z(20), 0, z(16), z(17));
    Int8Stream.less(s, Int8Code.SUMS, z(21));
  }

  @Override
  public void next(StreamCode s) {
    GroupedStream.nextRows(s);
  }

  @Override
  public void bind(Job frame, Right b, long row, int width, int apart) {
    GroupedStream.bind(frame, (GroupedRight) b, Int8.BLOCK, row, width, apart);
  }
}
