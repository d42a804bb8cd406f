package org.llmcore.cpu.code;

import static org.llmcore.cpu.code.Condition.*;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.*;

/// The multiplying loop of bf16 matrix products on AMX tiles (Intel SDM vol. 1, ch. 18): rows of y from packed panels.
///
/// A tile has 16 rows of 64 bytes. One `tdpbf16ps` adds 16 × 16 × 32 products to a tile of f32 sums in 16 cycles; 2 × 2 tiles of sums
/// (32 × 32 of y) use each loaded tile twice, so that four loads feed four products.
///
/// | panel | layout                                                                                       | made by    |
/// |-------|----------------------------------------------------------------------------------------------|------------|
/// | a     | 32 rows: `[step of 32 terms][row][32]` bf16                                                    | `AmxPacks` |
/// | b     | 32 columns: `[step][half of 16 columns][pair of terms][column][2]` bf16                        | `AmxPacks` |
///
/// Terms are cut so that a cut of a panel of b (36 KB at 18 steps) stays in the first-level cache while the row panels of a pass by;
/// between cuts the sums rest in f32 scratch. What tiles have summed is scaled and added to y by rows.
///
/// Order of a sum: the processor's, two chains of 16 products in every step and their sum added to what was there: 0, or y where `START` says
/// so. It is the same for every row, however rows are grouped, and another one than rules 2 and 3 of `Kernel`. Denormals count as 0.
public final class AmxTiles {
  /// Rows and columns of a panel.
  public static final int PANEL = 32;

  /// Terms of a step.
  public static final int TERMS = 32;

  /// Bytes of a step of a panel.
  public static final int STEP = 2048;

  /// Bytes of the sums of a row panel.
  public static final int SUMS_PANEL = PANEL * PANEL * 4;

  // Fields of the job whose address is the argument: 64 bits each.
  public static final int A = 0;
  public static final int A_PANEL = 8; // bytes between row panels
  public static final int B = 16;
  public static final int B_PANEL = 24; // bytes between column panels
  public static final int STEPS = 32;
  public static final int CUT = 40; // steps of a cut
  public static final int A_PANELS = 48;
  public static final int B_PANELS = 56;
  public static final int SUMS = 64; // scratch for all row panels
  public static final int Y = 72;
  public static final int Y_PITCH = 80; // bytes between rows of y
  public static final int M = 88; // rows of y
  public static final int ADD = 96; // 0: y is replaced; else what was summed is added to it
  public static final int ALPHA = 104; // factor, bits of an f32
  public static final int CONFIG = 112; // address of `configuration`
  public static final int LAST_LOW = 120; // which of the last panel's first 16 columns exist
  public static final int LAST_HIGH = 128; // and of its other 16
  public static final int START = 136; // 0: sums start from 0; else from y
  private static final int DONE = 144; // steps
  private static final int PANELS_LEFT = 152;

  /// Bytes of a job.
  public static final int JOB = 160;

  private static final Gpr[] SAVED = {RBX, RBP, R12, R13, R14, R15};
  private static final int[] QUARTERS = {0, 64, 16 * 128, 16 * 128 + 64}; // of the sums of a panel

  private static final Gpr TILE_PITCH = RAX;
  private static final Gpr SUMS_PITCH = RBX;
  private static final Gpr B_AT = R12;
  private static final Gpr Y_AT = R13;
  private static final Gpr A_CUT = R14;
  private static final Gpr B_CUT = RBP;
  private static final Gpr STEPS_IN_CUT = R15;
  private static final Gpr SUMS_AT = R10;
  private static final Gpr A_LEFT = R11;
  private static final int LOW = 1;
  private static final int HIGH = 2;

  private final Assembler a = new Assembler();

  private AmxTiles() {}

  /// All eight tiles with 16 rows of 64 bytes: 64 bytes for `ldtilecfg`.
  public static byte[] configuration() {
    var c = new byte[64];
    c[0] = 1; // palette
    for (int t = 0; t < 8; t++) {
      c[16 + 2 * t] = 64;
      c[48 + t] = 16;
    }
    return c;
  }

  /// y (+)= alpha · a·b for up to as many rows as there is scratch for.
  public static Assembler block() {
    return new AmxTiles().emit();
  }

  private Assembler emit() {
    a.push(SAVED);
    a.mov(RSI, RDI.at(CONFIG));
    a.ldtilecfg(RSI.at(0));
    a.mov(TILE_PITCH, 64);
    a.mov(SUMS_PITCH, 4 * PANEL);
    a.mov(B_AT, RDI.at(B));
    a.mov(Y_AT, RDI.at(Y));
    a.mov(R8, RDI.at(B_PANELS));
    a.mov(RDI.at(PANELS_LEFT), R8);
    a.vbroadcastss(zmm(31), RDI.at(ALPHA));
    var panels = a.here();
    start();
    cuts();
    finish();
    a.add(B_AT, RDI.at(B_PANEL));
    a.add(Y_AT, 4 * PANEL);
    a.mov(R8, RDI.at(PANELS_LEFT));
    a.dec(R8);
    a.mov(RDI.at(PANELS_LEFT), R8);
    a.j(NOT_EQUAL, panels);
    a.tilerelease();
    a.vzeroupper();
    a.pop(SAVED);
    a.ret();
    return a;
  }

  /// The sums of a column panel with all row panels, cut by cut.
  private void cuts() {
    a.mov(R8, 0);
    a.mov(RDI.at(DONE), R8);
    var cuts = a.here();
    // what this cut has: CUT steps, or what is left
    a.mov(R8, RDI.at(DONE));
    a.mov(STEPS_IN_CUT, RDI.at(STEPS));
    a.sub(STEPS_IN_CUT, R8);
    a.mov(R9, RDI.at(CUT));
    a.cmp(STEPS_IN_CUT, R9);
    a.cmov(ABOVE, STEPS_IN_CUT, R9);
    // where it begins
    a.shl(R8, 11);
    a.mov(A_CUT, RDI.at(A));
    a.add(A_CUT, R8);
    a.mov(B_CUT, B_AT);
    a.add(B_CUT, R8);
    a.mov(SUMS_AT, RDI.at(SUMS));
    a.mov(A_LEFT, RDI.at(A_PANELS));
    var rowPanels = a.here();
    var more = new Label();
    var go = new Label();
    a.mov(R9, RDI.at(START));
    a.add(R9, R8);
    a.j(NOT_EQUAL, more);
    for (int t = 0; t < 4; t++) a.tilezero(t);
    a.jmp(go);
    a.bind(more);
    for (int t = 0; t < 4; t++) a.tileloadd(t, SUMS_AT.at(SUMS_PITCH, 1, QUARTERS[t]));
    a.bind(go);
    multiply();
    for (int t = 0; t < 4; t++) a.tilestored(SUMS_AT.at(SUMS_PITCH, 1, QUARTERS[t]), t);
    a.add(SUMS_AT, SUMS_PANEL);
    a.add(A_CUT, RDI.at(A_PANEL));
    a.dec(A_LEFT);
    a.j(NOT_EQUAL, rowPanels);
    a.mov(R8, RDI.at(DONE));
    a.add(R8, STEPS_IN_CUT);
    a.mov(RDI.at(DONE), R8);
    a.cmp(R8, RDI.at(STEPS));
    a.j(BELOW, cuts);
  }

  /// Tiles 0 … 3 += the products of a cut: 4 and 5 are rows of a, 6 and 7 columns of b.
  private void multiply() {
    a.mov(RSI, A_CUT);
    a.mov(RDX, B_CUT);
    a.mov(RCX, STEPS_IN_CUT);
    var steps = a.here();
    a.tileloaddt1(4, RSI.at(TILE_PITCH, 1, 0)); // a passes by, b stays
    a.tileloadd(6, RDX.at(TILE_PITCH, 1, 0));
    a.tdpbf16ps(0, 4, 6);
    a.tileloadd(7, RDX.at(TILE_PITCH, 1, 1024));
    a.tdpbf16ps(1, 4, 7);
    a.tileloaddt1(5, RSI.at(TILE_PITCH, 1, 1024));
    a.tdpbf16ps(2, 5, 6);
    a.tdpbf16ps(3, 5, 7);
    a.add(RSI, STEP);
    a.add(RDX, STEP);
    a.dec(RCX);
    a.j(NOT_EQUAL, steps);
  }

  /// s = y where sums start from it.
  private void start() {
    var zero = new Label();
    a.mov(R9, RDI.at(START));
    a.test(R9, R9);
    a.j(EQUAL, zero);
    rows(() -> {
      a.vmovups(zmm(0).zero(LOW), RDX.at(0));
      a.vmovups(zmm(1).zero(HIGH), RDX.at(64));
      a.vmovups(RSI.at(0), zmm(0));
      a.vmovups(RSI.at(64), zmm(1));
    });
    a.bind(zero);
  }

  /// y = alpha·s, or fma(alpha, s, y).
  private void finish() {
    var replace = new Label();
    var next = new Label();
    a.mov(R9, RDI.at(ADD));
    rows(() -> {
      a.vmovups(zmm(0), RSI.at(0));
      a.vmovups(zmm(1), RSI.at(64));
      a.test(R9, R9);
      a.j(EQUAL, replace);
      a.vmovups(zmm(2).zero(LOW), RDX.at(0));
      a.vmovups(zmm(3).zero(HIGH), RDX.at(64));
      a.vfmadd213ps(zmm(0), zmm(31), zmm(2));
      a.vfmadd213ps(zmm(1), zmm(31), zmm(3));
      a.jmp(next);
      a.bind(replace);
      a.vmulps(zmm(0), zmm(0), zmm(31));
      a.vmulps(zmm(1), zmm(1), zmm(31));
      a.bind(next);
      a.vmovups(RDX.at(0), zmm(0).keep(LOW));
      a.vmovups(RDX.at(64), zmm(1).keep(HIGH));
    });
  }

  /// A body for 32 columns of every row: its sums at RSI, its y at RDX.
  private void rows(Runnable body) {
    var masked = new Label();
    a.mov(R8, 0xffff);
    a.mov(R10, R8);
    a.mov(RCX, RDI.at(PANELS_LEFT));
    a.cmp(RCX, 1);
    a.j(NOT_EQUAL, masked);
    a.mov(R8, RDI.at(LAST_LOW));
    a.mov(R10, RDI.at(LAST_HIGH));
    a.bind(masked);
    a.kmovw(LOW, R8);
    a.kmovw(HIGH, R10);
    a.mov(RSI, RDI.at(SUMS));
    a.mov(RDX, Y_AT);
    a.mov(R8, RDI.at(Y_PITCH));
    a.mov(RCX, RDI.at(M));
    var loop = a.here();
    body.run();
    a.add(RSI, 4 * PANEL);
    a.add(RDX, R8);
    a.dec(RCX);
    a.j(NOT_EQUAL, loop);
  }
}
