package org.llmcore.cpu.code;

/// What a conditional jump asks of the flags, in the order of the codes. `BELOW` and `ABOVE` compare without sign, `LESS` and
/// `GREATER` with it.
public enum Condition {
  OVERFLOW,
  NO_OVERFLOW,
  BELOW,
  ABOVE_OR_EQUAL,
  EQUAL,
  NOT_EQUAL,
  BELOW_OR_EQUAL,
  ABOVE,
  NEGATIVE,
  NOT_NEGATIVE,
  PARITY,
  NO_PARITY,
  LESS,
  GREATER_OR_EQUAL,
  LESS_OR_EQUAL,
  GREATER
}
