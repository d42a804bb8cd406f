package org.llmcore.cpu.code;

import java.util.function.IntConsumer;

import static org.llmcore.cpu.code.Vec.*;

/// Transposition in registers.
final class Turn {
  /// Where `sixteen` leaves a column.
  static final Vec COLUMN = zmm(20);

  private Turn() {}

  /// 16 × 16 words of 32 bits, whose rows are zmm0 … 15: each column stands in `COLUMN` when `column` is called with its number. Overwrites
  /// zmm0 … 20 and, between two columns, nothing of theirs that is still wanted.
  static void sixteen(Assembler a, IntConsumer column) {
    for (int i = 0; i < 8; i++) { // pairs of rows, two columns in every 128 bits
      a.vunpcklps(zmm(16 + 2 * i), zmm(2 * i), zmm(2 * i + 1));
      a.vunpckhps(zmm(17 + 2 * i), zmm(2 * i), zmm(2 * i + 1));
    }
    for (int i = 0; i < 4; i++) { // four rows, one column in every 128 bits
      int from = 16 + 4 * i;
      a.vunpcklpd(zmm(4 * i), zmm(from), zmm(from + 2));
      a.vunpckhpd(zmm(4 * i + 1), zmm(from), zmm(from + 2));
      a.vunpcklpd(zmm(4 * i + 2), zmm(from + 1), zmm(from + 3));
      a.vunpckhpd(zmm(4 * i + 3), zmm(from + 1), zmm(from + 3));
    }
    for (int i = 0; i < 4; i++) { // 128 bits of four registers
      a.vshuff32x4(zmm(16), zmm(i), zmm(4 + i), 0x88);
      a.vshuff32x4(zmm(17), zmm(8 + i), zmm(12 + i), 0x88);
      a.vshuff32x4(zmm(18), zmm(i), zmm(4 + i), 0xdd);
      a.vshuff32x4(zmm(19), zmm(8 + i), zmm(12 + i), 0xdd);
      for (int part = 0; part < 4; part++) {
        a.vshuff32x4(COLUMN, zmm(16 + part % 2 * 2), zmm(17 + part % 2 * 2), part < 2 ? 0x88 : 0xdd);
        column.accept(4 * part + i);
      }
    }
  }
}
