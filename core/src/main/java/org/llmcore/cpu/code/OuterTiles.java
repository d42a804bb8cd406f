package org.llmcore.cpu.code;

import org.llmcore.tensor.DType;

import static org.llmcore.cpu.code.Condition.*;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.*;

/// The multiplying loop of `y (+)= aᵀ·b` with few rows of y, for AVX-512: sums of outer products by rule 2 of `Kernel`.
///
/// A tile is up to 8 rows by 32 columns of y: 16 sums, which stay in registers while rows of a and b pass by. Every element of b meets all
/// of a at once, so b is read where it lies; what the next tile wants of its row is fetched meanwhile.
///
/// | operand | layout                                                          |
/// |---------|-----------------------------------------------------------------|
/// | a       | packed by `GemmPacks.columns` or `columnPairs`: `[term][8]` floats |
/// | b       | where it lies                                                   |
///
/// A term is a row, or in pairs of bf16 two rows, of which the last may lack its partner (`GemmTiles`).
public final class OuterTiles {
  /// Rows of y at most.
  public static final int ROWS = GemmTiles.PITCH;

  /// Columns of a tile.
  public static final int COLUMNS = 32;

  // Fields of the job whose address is the argument: 64 bits each.
  public static final int Y = 0;
  public static final int Y_PITCH = 8; // bytes between rows of y
  public static final int A = 16;
  public static final int B = 24;
  public static final int B_PITCH = 32; // bytes between rows of b
  public static final int COUNT = 40; // rows of b
  public static final int TILES = 48; // of 32 columns
  public static final int LAST_LOW = 56; // which of the first 16 columns of a narrower last tile exist, 0 for no such tile; cleared
  public static final int LAST_HIGH = 64; // and of its other 16
  public static final int ADD = 72; // 0: sums start from 0

  /// Bytes of a job.
  public static final int JOB = 80;

  private static final Gpr[] SAVED = {RBX, R12};
  private static final Gpr Y_AT = R8;
  private static final Gpr Y3_AT = R11; // three rows further
  private static final Gpr Y6_AT = RBX;
  private static final Gpr Y_STEP = RAX;
  private static final Gpr A_AT = RDX;
  private static final Gpr B_AT = RSI;
  private static final Gpr B_STEP = R10;
  private static final Gpr LEFT = RCX;
  private static final Gpr TILE = R9; // of b
  private static final Gpr TILES_LEFT = R12;
  private static final int[] MASKS = {1, 2};

  private final Assembler a = new Assembler();
  private final int rows;
  private final DType dtype;
  private final boolean pairs;

  private OuterTiles(int rows, DType dtype, boolean pairs) {
    this.rows = rows;
    this.dtype = dtype;
    this.pairs = pairs;
  }

  /// @param rows  of y
  /// @param dtype of b, F32 or BF16
  /// @param pairs whether a and b are pairs of bf16
  public static Assembler of(int rows, DType dtype, boolean pairs) {
    return new OuterTiles(rows, dtype, pairs).emit();
  }

  private Assembler emit() {
    a.push(SAVED);
    a.mov(Y_AT, RDI.at(Y));
    a.mov(Y_STEP, RDI.at(Y_PITCH));
    a.mov(TILE, RDI.at(B));
    a.mov(B_STEP, RDI.at(B_PITCH));
    a.mov(TILES_LEFT, RDI.at(TILES));
    a.mov(A_AT, 0xffff);
    for (int mask : MASKS) a.kmovw(mask, A_AT);
    var last = new Label();
    var done = new Label();
    a.test(TILES_LEFT, TILES_LEFT);
    a.j(EQUAL, last);
    var tiles = a.here();
    tile();
    a.add(Y_AT, 4 * COLUMNS);
    a.add(TILE, dtype.bytes() * COLUMNS);
    a.dec(TILES_LEFT);
    a.j(NOT_EQUAL, tiles);
    a.bind(last);
    a.mov(TILES_LEFT, RDI.at(LAST_LOW));
    a.test(TILES_LEFT, TILES_LEFT);
    a.j(EQUAL, done);
    a.kmovw(MASKS[0], TILES_LEFT);
    a.mov(TILES_LEFT, RDI.at(LAST_HIGH));
    a.kmovw(MASKS[1], TILES_LEFT);
    a.mov(TILES_LEFT, 0);
    a.mov(RDI.at(LAST_LOW), TILES_LEFT);
    a.mov(TILES_LEFT, 1);
    a.jmp(tiles);
    a.bind(done);
    a.vzeroupper();
    a.pop(SAVED);
    a.ret();
    return a;
  }

  private void tile() {
    var zero = new Label();
    var go = new Label();
    down(Y3_AT, Y_AT);
    down(Y6_AT, Y3_AT);
    a.mov(LEFT, RDI.at(ADD));
    a.test(LEFT, LEFT);
    a.j(EQUAL, zero);
    for (int r = 0; r < rows; r++) for (int v = 0; v < 2; v++) a.vmovups(sum(r, v).zero(MASKS[v]), y(r, v));
    a.jmp(go);
    a.bind(zero);
    for (int i = 0; i < 2 * rows; i++) a.vpxord(zmm(i), zmm(i), zmm(i));
    a.bind(go);
    a.mov(A_AT, RDI.at(A));
    a.mov(B_AT, TILE);
    a.mov(LEFT, RDI.at(COUNT));
    if (pairs) RowPairs.each(a, LEFT, B_AT, B_STEP, this::term);
    else rows();
    for (int r = 0; r < rows; r++) for (int v = 0; v < 2; v++) a.vmovups(y(r, v), sum(r, v).keep(MASKS[v]));
  }

  private void rows() {
    var loop = a.here();
    term(true);
    a.add(B_AT, B_STEP);
    a.dec(LEFT);
    a.j(NOT_EQUAL, loop);
  }

  /// @param alone whether a second row is missing
  private void term(boolean alone) {
    for (int v = 0; v < 2; v++) {
      var b = zmm(16 + v);
      int at = 16 * dtype.bytes() * v;
      if (pairs) RowPairs.load(a, b, zmm(18 + v), MASKS[v], B_AT.at(at), alone ? null : B_AT.at(B_STEP, 1, at));
      else Loads.load(a, b.zero(MASKS[v]), B_AT.at(at), dtype);
    }
    for (int at = COLUMNS * dtype.bytes(); at < 2 * COLUMNS * dtype.bytes(); at += 64) {
      a.prefetcht0(B_AT.at(at));
      if (!alone) a.prefetcht0(B_AT.at(B_STEP, 1, at));
    }
    for (int r = 0; r < rows; r++) {
      var x = zmm(20 + r % 4);
      a.vbroadcastss(x, A_AT.at(4 * r));
      for (int v = 0; v < 2; v++) {
        if (pairs) a.vdpbf16ps(sum(r, v), x, zmm(16 + v));
        else a.vfmadd231ps(sum(r, v), x, zmm(16 + v));
      }
    }
    a.add(A_AT, 4 * GemmTiles.PITCH);
  }

  private void down(Gpr to, Gpr from) {
    a.lea(to, from.at(Y_STEP, 2, 0));
    a.add(to, Y_STEP);
  }

  private static Vec sum(int row, int vector) {
    return zmm(2 * row + vector);
  }

  private static Mem y(int row, int vector) {
    var base = row < 3 ? Y_AT : row < 6 ? Y3_AT : Y6_AT;
    return row % 3 == 0 ? base.at(64 * vector) : base.at(Y_STEP, row % 3, 64 * vector);
  }
}
