package org.llmcore.gguf;

import java.util.Arrays;
import java.util.Optional;

/// Types of GGML that a file may hold and nothing here computes with; sizes as in `ggml.c`.
enum ForeignType {
  Q2_K(10, 256, 84),
  Q3_K(11, 256, 110),
  IQ2_XXS(16, 256, 66),
  IQ2_XS(17, 256, 74),
  IQ3_XXS(18, 256, 98),
  IQ1_S(19, 256, 50),
  IQ4_NL(20, 32, 18),
  IQ3_S(21, 256, 110),
  IQ2_S(22, 256, 82),
  IQ4_XS(23, 256, 136),
  I8(24, 1, 1),
  I16(25, 1, 2),
  I32(26, 1, 4),
  I64(27, 1, 8),
  F64(28, 1, 8),
  IQ1_M(29, 256, 56),
  TQ1_0(34, 256, 54),
  TQ2_0(35, 256, 66),
  MXFP4(39, 32, 17);

  private final int number;
  private final int unit;
  private final int bytes;

  ForeignType(int number, int unit, int bytes) {
    this.number = number;
    this.unit = unit;
    this.bytes = bytes;
  }

  static Optional<ForeignType> of(int number) {
    return Arrays.stream(values()).filter(t -> t.number == number).findFirst();
  }

  /// Elements that are stored together.
  int unit() {
    return unit;
  }

  /// Bytes of a unit.
  int bytes() {
    return bytes;
  }
}
