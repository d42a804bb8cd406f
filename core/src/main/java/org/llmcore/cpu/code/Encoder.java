package org.llmcore.cpu.code;

import java.util.Arrays;

/// Prefixes, operand bytes and displacements of x86-64 (Intel SDM vol. 2, ch. 2: 2.1 ModRM and SIB, 2.2 REX, 2.3 VEX, 2.7 EVEX).
/// The shortest form is chosen, as assemblers do.
///
/// An opcode's `map` is 1 for `0F`, 2 for `0F 38`, 3 for `0F 3A`, 5 and 6 for half precision; `pp` is the implied prefix: 0 none,
/// 1 `66`, 2 `F3`, 3 `F2`.
final class Encoder {
  private byte[] code = new byte[4096];
  private int size;

  int size() {
    return size;
  }

  byte[] bytes() {
    return Arrays.copyOf(code, size);
  }

  void u8(int... values) {
    if (size + values.length > code.length) code = Arrays.copyOf(code, 2 * code.length);
    for (int v : values) code[size++] = (byte) v;
  }

  void i32(int v) {
    u8(v, v >> 8, v >> 16, v >> 24);
  }

  void i64(long v) {
    i32((int) v);
    i32((int) (v >> 32));
  }

  /// Fills the 32-bit distance that ends at `end` with the way to `target`.
  void patch(int end, int target) {
    int distance = target - end;
    for (int i = 0; i < 4; i++) code[end - 4 + i] = (byte) (distance >> 8 * i);
  }

  /// A general instruction on 64-bit operands: REX.W, opcode, two registers.
  void general(int reg, Gpr rm, int... opcode) {
    u8(0x48 | (reg >> 3) << 2 | rm.ordinal() >> 3);
    u8(opcode);
    u8(0xc0 | (reg & 7) << 3 | rm.ordinal() & 7);
  }

  /// A general instruction with a memory operand; `wide` for 64 bits.
  void general(boolean wide, int reg, Mem m, int... opcode) {
    int rex = (wide ? 8 : 0) | (reg >> 3) << 2 | high(m.index()) << 1 | high(m.base());
    if (rex != 0) u8(0x40 | rex);
    u8(opcode);
    memory(reg, m, 1);
  }

  /// VEX with a register operand.
  void vex(int map, int pp, int w, int length, int opcode, int reg, int v, int rm) {
    vexPrefix(map, pp, w, length, reg, v, 0, rm >> 3);
    u8(opcode, 0xc0 | (reg & 7) << 3 | rm & 7);
  }

  /// VEX with a memory operand. `tiles` need an index byte whatever the base is.
  void vex(int map, int pp, int w, int length, int opcode, int reg, int v, Mem m) {
    vexPrefix(map, pp, w, length, reg, v, high(m.index()), high(m.base()));
    u8(opcode);
    memory(reg, m, 1);
  }

  private void vexPrefix(int map, int pp, int w, int length, int reg, int v, int x, int b) {
    int last = (~v & 15) << 3 | length << 2 | pp;
    if (map == 1 && w == 0 && x == 0 && b == 0) {
      u8(0xc5, (~reg >> 3 & 1) << 7 | last);
    } else {
      u8(0xc4, (~reg >> 3 & 1) << 7 | (~x & 1) << 6 | (~b & 1) << 5 | map, w << 7 | last);
    }
  }

  /// EVEX with a register operand; the width and the mask are those of `shape`.
  void evex(int map, int pp, int w, int opcode, Vec shape, int reg, int v, int rm) {
    evexPrefix(map, pp, w, shape, reg, v, rm >> 4, rm >> 3, false);
    u8(opcode, 0xc0 | (reg & 7) << 3 | rm & 7);
  }

  /// EVEX with a memory operand of which `unit` bytes are read or written: displacements that are multiples of it take a byte.
  void evex(int map, int pp, int w, int opcode, Vec shape, int reg, int v, Mem m, int unit) {
    evexPrefix(map, pp, w, shape, reg, v, high(m.index()), high(m.base()), m.broadcast());
    u8(opcode);
    memory(reg, m, m.broadcast() ? 4 << w : unit);
  }

  private void evexPrefix(int map, int pp, int w, Vec shape, int reg, int v, int x, int b, boolean broadcast) {
    int length = shape.bits() == 512 ? 2 : shape.bits() == 256 ? 1 : 0;
    u8(
        0x62,
        (~reg >> 3 & 1) << 7 | (~x & 1) << 6 | (~b & 1) << 5 | (~reg >> 4 & 1) << 4 | map,
        w << 7 | (~v & 15) << 3 | 4 | pp,
        (shape.zeroing() ? 0x80 : 0) | length << 5 | (broadcast ? 0x10 : 0) | (~v >> 4 & 1) << 3 | shape.mask());
  }

  /// ModRM, SIB and displacement.
  private void memory(int reg, Mem m, int unit) {
    int base = m.base().ordinal() & 7;
    boolean small = m.disp() % unit == 0 && m.disp() / unit >= -128 && m.disp() / unit <= 127;
    int mode = m.disp() == 0 && base != 5 ? 0 : small ? 1 : 2;
    if (m.index() == null && base != 4) {
      u8(mode << 6 | (reg & 7) << 3 | base);
    } else {
      int index = m.index() == null ? 4 : m.index().ordinal() & 7;
      u8(mode << 6 | (reg & 7) << 3 | 4, Integer.numberOfTrailingZeros(m.scale()) << 6 | index << 3 | base);
    }
    if (mode == 1) u8(m.disp() / unit);
    else if (mode == 2) i32(m.disp());
  }

  private static int high(Gpr r) {
    return r == null ? 0 : r.ordinal() >> 3;
  }
}
