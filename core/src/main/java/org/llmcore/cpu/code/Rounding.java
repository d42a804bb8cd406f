package org.llmcore.cpu.code;

/// f32 to bf16 as `Bf16.of` rounds: to nearest even, NaN quiet. `vcvtneps2bf16` would take denormals for 0.
///
/// @param one   `ONE` in every lane
/// @param half  `HALF` in every lane: what is added before the lower bits are cut off
/// @param quiet `QUIET` in every lane
/// @param nan   a mask register to overwrite
record Rounding(Vec one, Vec half, Vec quiet, int nan) {
  static final int ONE = 1;
  static final int HALF = 0x7fff;
  static final int QUIET = 0x40;

  /// The bf16 of v in the lower half of each lane of `rounded`; `high` is overwritten.
  void narrow(Assembler a, Vec rounded, Vec v, Vec high) {
    a.vpsrld(high, v, 16);
    a.vpandd(rounded, high, one); // ties to even
    a.vpaddd(rounded, rounded, v);
    a.vpaddd(rounded, rounded, half);
    a.vpsrld(rounded, rounded, 16);
    a.vcmpps(nan, v, v, 3);
    a.vpord(rounded.keep(nan), high, quiet);
  }
}
