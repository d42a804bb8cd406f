package org.llmcore.cpu.code;

import org.llmcore.tensor.DType;

import static org.llmcore.cpu.code.Condition.*;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.*;

/// What brings operands of matrix products into the panels of `GemmTiles`, converting f32, bf16 and f16 to f32 on the way.
///
/// | function    | operand                         | goes to          | how                              |
/// |-------------|---------------------------------|------------------|----------------------------------|
/// | `rows`      | rows of a, terms side by side   | groups of 6 rows | 6 × 16 floats turned in registers |
/// | `columns`   | a transposed, rows side by side | groups of 6 rows | six floats a term                |
/// | `turned`    | rows of bᵀ, terms side by side  | panel of b       | 16 × 16 floats turned in registers |
/// | `lines`     | rows of b, columns side by side | panel of b       | up to four vectors a term        |
///
/// `rowPairs`, `columnPairs` and `linePairs` are `rows`, `columns` and `lines` for bf16 that stays bf16. Where terms lie side by side,
/// pairs do already, and are moved as floats that nothing multiplies; below each other, two rows become one of pairs, and a last row
/// without a partner is paired with 0.
///
/// Where terms lie side by side a table of 16 offsets says where term 0 … 15 goes; every 16 terms, all advance by `STEP`. So one
/// function packs for both orders of summation.
public final class GemmPacks {
  // Fields of the job whose address is the argument: 64 bits each.
  public static final int FROM = 0;
  public static final int FROM_PITCH = 8; // bytes between rows
  public static final int TO = 16;
  public static final int COUNT = 24; // rows and turned: whole sixteens of terms; columns and lines: terms, before they are paired
  public static final int REST = 32; // rows and turned: terms left over
  public static final int REST_MASK = 40; // those as bits; columns and lines: what exists of six rows, of the last vector
  public static final int STEP = 48; // rows and turned: bytes to advance after 16 terms
  public static final int M = 56; // rows: rows of a; columns: groups; turned: rows of bᵀ if fewer than 16
  public static final int GROUP = 64; // rows and columns: bytes between groups
  public static final int ALPHA = 72; // rows and columns: factor, bits of an f32
  public static final int PAIRS = 80; // rows: address of `pairs`
  public static final int OFFSETS = 128; // rows and turned: where terms 0 … 15 go, from TO

  /// Bytes of a job.
  public static final int JOB = OFFSETS + 16 * 8;

  private static final Gpr[] SAVED = {RBX, RBP, R12, R13, R14, R15};
  private static final int MASK = 1;

  private final Assembler a = new Assembler();
  private final DType dtype;
  private final int size;
  private final boolean scales; // by alpha

  private GemmPacks(DType dtype) {
    this(dtype, true);
  }

  private GemmPacks(DType dtype, boolean scales) {
    this.dtype = dtype;
    this.scales = scales;
    size = dtype.bytes();
  }

  /// Which 128-bit lanes of two registers stand side by side in `rows`: places for `vpermt2ps`, two vectors of 16.
  public static int[] pairs() {
    var places = new int[32];
    for (int i = 0; i < 32; i++) {
      int lane = i / 8; // of the first register or the second, in turn
      places[i] = 4 * lane + i % 4 + (i / 4 % 2 == 1 ? 16 : 0);
    }
    return places;
  }

  private void load(Vec to, Mem from) {
    Loads.load(a, to, from, dtype);
  }

  // ---- rows of a

  /// Groups of six rows, turned. Rows beyond the last repeat it; they are packed, never stored to y.
  public static Assembler rows(DType dtype) {
    return new GemmPacks(dtype).rows();
  }

  /// `rows` of bf16, whose pairs of terms are its terms.
  public static Assembler rowPairs() {
    return new GemmPacks(DType.F32, false).rows();
  }

  private Assembler rows() {
    Gpr[] row = {RSI, RDX, RCX, R8, R9, R10};
    a.push(SAVED);
    a.mov(RSI, RDI.at(FROM));
    a.mov(R15, RDI.at(TO));
    a.mov(R14, RDI.at(M));
    a.mov(R13, RDI.at(STEP));
    a.mov(RAX, RDI.at(REST_MASK));
    a.kmovw(MASK, RAX);
    a.vbroadcastss(zmm(29), RDI.at(ALPHA));
    a.mov(RAX, RDI.at(PAIRS));
    a.vmovups(zmm(30), RAX.at(0));
    a.vmovups(zmm(31), RAX.at(64));
    var groups = a.here();
    // addresses of six rows, or of the last again
    a.mov(RBP, RDI.at(FROM_PITCH));
    for (int r = 1; r < 6; r++) {
      a.lea(row[r], row[r - 1].at(RBP, 1, 0));
      a.cmp(R14, r);
      a.cmov(BELOW_OR_EQUAL, row[r], row[r - 1]);
    }
    a.mov(R11, R15);
    a.mov(RAX, 0); // bytes along the rows
    a.mov(R12, RDI.at(COUNT));
    var rest = new Label();
    var next = new Label();
    a.test(R12, R12);
    a.j(EQUAL, rest);
    var loop = a.here();
    for (int r = 0; r < 6; r++) load(zmm(r), row[r].at(RAX, 1, 0));
    turnSix();
    for (int t = 0; t < 16; t++) storeSix(t);
    a.add(RAX, 16 * size);
    a.add(R11, R13);
    a.dec(R12);
    a.j(NOT_EQUAL, loop);
    a.bind(rest);
    a.mov(R12, RDI.at(REST));
    a.test(R12, R12);
    a.j(EQUAL, next);
    for (int r = 0; r < 6; r++) load(zmm(r).zero(MASK), row[r].at(RAX, 1, 0));
    turnSix();
    for (int t = 0; t < 15; t++) {
      a.cmp(R12, t);
      a.j(EQUAL, next);
      storeSix(t);
    }
    a.bind(next);
    a.add(R15, RDI.at(GROUP));
    a.lea(RSI, row[5].at(RBP, 1, 0)); // six rows on; not used after the last group
    a.sub(R14, 6);
    a.j(GREATER, groups);
    a.vzeroupper();
    a.pop(SAVED);
    a.ret();
    return a;
  }

  /// Rows in zmm0 … 5, times alpha; then term t is half t/4 % 2 of register 8 + t % 4, or of 12 + t % 4 from term 8 on.
  private void turnSix() {
    for (int r = 0; scales && r < 6; r++) a.vmulps(zmm(r), zmm(r), zmm(29));
    for (int i = 0; i < 3; i++) { // pairs of rows, two terms in every 128 bits
      a.vunpcklps(zmm(16 + i), zmm(2 * i), zmm(2 * i + 1));
      a.vunpckhps(zmm(20 + i), zmm(2 * i), zmm(2 * i + 1));
    }
    a.vunpcklpd(zmm(8), zmm(16), zmm(17)); // rows 0 … 3 of terms 0, 4, 8, 12
    a.vunpckhpd(zmm(9), zmm(16), zmm(17)); // 1, 5, 9, 13
    a.vunpcklpd(zmm(10), zmm(20), zmm(21)); // 2, 6, 10, 14
    a.vunpckhpd(zmm(11), zmm(20), zmm(21)); // 3, 7, 11, 15
    a.vmovaps(zmm(24), zmm(18)); // rows 4 and 5 of the same terms
    a.vunpckhpd(zmm(25), zmm(18), zmm(18));
    a.vmovaps(zmm(26), zmm(22));
    a.vunpckhpd(zmm(27), zmm(22), zmm(22));
    for (int i = 0; i < 4; i++) {
      a.vmovaps(zmm(12 + i), zmm(8 + i));
      a.vpermt2ps(zmm(8 + i), zmm(30), zmm(24 + i));
      a.vpermt2ps(zmm(12 + i), zmm(31), zmm(24 + i));
    }
  }

  private void storeSix(int term) {
    var from = zmm((term < 8 ? 8 : 12) + term % 4);
    a.mov(RBX, RDI.at(OFFSETS + 8 * term));
    if (term / 4 % 2 == 0) a.vmovups(R11.at(RBX, 1, 0), ymm(from.index()));
    else a.vextractf64x4(R11.at(RBX, 1, 0), from, 1);
  }

  // ---- columns of a

  /// `M` groups of six columns (or what the mask says of them) of COUNT rows.
  public static Assembler columns(DType dtype) {
    return new GemmPacks(dtype).columns();
  }

  private Assembler columns() {
    a.push(SAVED);
    a.mov(RAX, RDI.at(REST_MASK));
    a.kmovw(MASK, RAX);
    a.vbroadcastss(ymm(1), RDI.at(ALPHA));
    a.mov(R8, RDI.at(FROM));
    a.mov(R9, RDI.at(TO));
    a.mov(R10, RDI.at(FROM_PITCH));
    a.mov(R11, RDI.at(M));
    var groups = a.here();
    a.mov(RSI, R8);
    a.mov(RDX, R9);
    a.mov(RCX, RDI.at(COUNT));
    var loop = a.here();
    load(ymm(0).zero(MASK), RSI.at(0));
    a.vmulps(ymm(0), ymm(0), ymm(1));
    a.vmovups(RDX.at(0), ymm(0));
    a.add(RSI, R10);
    a.add(RDX, 4 * GemmTiles.PITCH);
    a.dec(RCX);
    a.j(NOT_EQUAL, loop);
    a.add(R8, 6 * size);
    a.add(R9, RDI.at(GROUP));
    a.dec(R11);
    a.j(NOT_EQUAL, groups);
    a.vzeroupper();
    a.pop(SAVED);
    a.ret();
    return a;
  }

  /// `columns` of bf16, by pairs of rows.
  public static Assembler columnPairs() {
    return new GemmPacks(DType.BF16).sixPairs();
  }

  private Assembler sixPairs() {
    a.mov(RAX, RDI.at(REST_MASK));
    a.kmovw(MASK, RAX);
    a.mov(R8, RDI.at(FROM));
    a.mov(R9, RDI.at(TO));
    a.mov(R10, RDI.at(FROM_PITCH));
    a.mov(R11, RDI.at(M));
    var groups = a.here();
    a.mov(RSI, R8);
    a.mov(RDX, R9);
    a.mov(RCX, RDI.at(COUNT));
    RowPairs.each(
        a, RCX, RSI, R10,
        alone -> {
          RowPairs.load(a, ymm(0), ymm(1), MASK, RSI.at(0), alone ? null : RSI.at(R10, 1, 0));
          a.vmovups(RDX.at(0), ymm(0));
          a.add(RDX, 4 * GemmTiles.PITCH);
        });
    a.add(R8, 6 * size);
    a.add(R9, RDI.at(GROUP));
    a.dec(R11);
    a.j(NOT_EQUAL, groups);
    a.vzeroupper();
    a.ret();
    return a;
  }

  // ---- rows of bᵀ

  /// Sixteen columns of a panel from sixteen rows; with `edge` from M < 16 rows, the other columns being 0.
  public static Assembler turned(DType dtype, boolean edge) {
    return new GemmPacks(dtype).turned(edge);
  }

  private Assembler turned(boolean edge) {
    Gpr[] third = {RSI, R8, R9, R10, R11, RCX}; // rows 0, 3, 6 … 15
    a.push(SAVED);
    a.mov(RAX, RDI.at(FROM_PITCH));
    a.mov(RSI, RDI.at(FROM));
    for (int i = 1; i < 6; i++) {
      a.lea(third[i], third[i - 1].at(RAX, 2, 0));
      a.add(third[i], RAX);
    }
    a.mov(RDX, RDI.at(TO));
    a.mov(R13, RDI.at(STEP));
    a.mov(R14, RDI.at(M));
    a.mov(RBX, RDI.at(REST_MASK));
    a.kmovw(MASK, RBX);
    a.mov(R12, RDI.at(COUNT));
    var rest = new Label();
    var done = new Label();
    a.test(R12, R12);
    a.j(EQUAL, rest);
    var loop = a.here();
    sixteen(third, edge, 0);
    Turn.sixteen(a, t -> store(t, RDX));
    for (var r : third) a.add(r, 16 * size);
    a.add(RDX, R13);
    a.dec(R12);
    a.j(NOT_EQUAL, loop);
    a.bind(rest);
    a.mov(R12, RDI.at(REST));
    a.test(R12, R12);
    a.j(EQUAL, done);
    sixteen(third, edge, MASK);
    Turn.sixteen(
        a,
        t -> {
          var beyond = new Label();
          a.cmp(R12, t);
          a.j(BELOW_OR_EQUAL, beyond);
          store(t, RDX);
          a.bind(beyond);
        });
    a.bind(done);
    a.vzeroupper();
    a.pop(SAVED);
    a.ret();
    return a;
  }

  private void sixteen(Gpr[] third, boolean edge, int mask) {
    for (int r = 0; r < 16; r++) {
      var from = r % 3 == 0 ? third[r / 3].at(0) : third[r / 3].at(RAX, r % 3, 0);
      var to = mask == 0 ? zmm(r) : zmm(r).zero(mask);
      if (!edge || r == 0) {
        load(to, from);
        continue;
      }
      var missing = new Label();
      a.vpxord(zmm(r), zmm(r), zmm(r));
      a.cmp(R14, r);
      a.j(BELOW_OR_EQUAL, missing);
      load(to, from);
      a.bind(missing);
    }
  }

  private void store(int term, Gpr to) {
    a.mov(RBX, RDI.at(OFFSETS + 8 * term));
    a.vmovups(to.at(RBX, 1, 0), Turn.COLUMN);
  }

  // ---- rows of b

  /// COUNT terms of a panel of so many vectors.
  public static Assembler lines(DType dtype, int vectors) {
    return new GemmPacks(dtype).lines(vectors);
  }

  private Assembler lines(int vectors) {
    a.mov(RAX, RDI.at(REST_MASK));
    a.kmovw(MASK, RAX);
    a.mov(RSI, RDI.at(FROM));
    a.mov(RDX, RDI.at(TO));
    a.mov(R10, RDI.at(FROM_PITCH));
    a.mov(RCX, RDI.at(COUNT));
    var loop = a.here();
    for (int v = 0; v < vectors; v++) load(v == vectors - 1 ? zmm(v).zero(MASK) : zmm(v), RSI.at(16 * size * v));
    for (int v = 0; v < vectors; v++) a.vmovups(RDX.at(64 * v), zmm(v));
    a.add(RSI, R10);
    a.add(RDX, 64 * vectors);
    a.dec(RCX);
    a.j(NOT_EQUAL, loop);
    a.vzeroupper();
    a.ret();
    return a;
  }

  /// `lines` of bf16, by pairs of rows.
  public static Assembler linePairs(int vectors) {
    return new GemmPacks(DType.BF16).pairs(vectors);
  }

  private Assembler pairs(int vectors) {
    a.mov(RAX, RDI.at(REST_MASK));
    a.kmovw(MASK, RAX);
    a.mov(RSI, RDI.at(FROM));
    a.mov(RDX, RDI.at(TO));
    a.mov(R10, RDI.at(FROM_PITCH));
    a.mov(RCX, RDI.at(COUNT));
    RowPairs.each(
        a, RCX, RSI, R10,
        alone -> {
          for (int v = 0; v < vectors; v++) {
            int mask = v == vectors - 1 ? MASK : 0;
            RowPairs.load(a, zmm(v), zmm(4 + v), mask, RSI.at(32 * v), alone ? null : RSI.at(R10, 1, 32 * v));
            a.vmovups(RDX.at(64 * v), zmm(v));
          }
          a.add(RDX, 64 * vectors);
        });
    a.vzeroupper();
    a.ret();
    return a;
  }
}
