package org.llmcore.cpu.code;

/// General registers, 64 bits, in the order of their numbers. The System V convention passes arguments in RDI, RSI, RDX, RCX,
/// R8, R9 and lets a function use these, RAX, R10 and R11 freely; the others must be restored.
public enum Gpr {
  RAX,
  RCX,
  RDX,
  RBX,
  RSP,
  RBP,
  RSI,
  RDI,
  R8,
  R9,
  R10,
  R11,
  R12,
  R13,
  R14,
  R15;

  /// Memory at this register plus `disp` bytes.
  public Mem at(int disp) {
    return new Mem(this, null, 1, disp, false);
  }

  /// Memory at this register + index · scale + `disp` bytes; scale is 1, 2, 4 or 8.
  public Mem at(Gpr index, int scale, int disp) {
    return new Mem(this, index, scale, disp, false);
  }
}
