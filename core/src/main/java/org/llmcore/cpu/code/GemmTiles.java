package org.llmcore.cpu.code;

import java.util.function.IntFunction;

import org.llmcore.tensor.DType;

import static org.llmcore.cpu.code.Condition.*;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.*;

/// The multiplying loops of matrix products for AVX-512: a block of y from packed panels (Goto & van de Geijn 2008), in one of the
/// two orders of summation of `Kernel`.
///
/// A tile is up to 6 rows by 4 vectors of 16 columns: 24 sums, 4 registers for b and one for a broadcast of a. A step feeds 24
/// multiply-adds with 10 loads, and 24 chains hide an fma's latency of 4 cycles at two a cycle.
///
/// | operand | layout                                                                                             |
/// |---------|----------------------------------------------------------------------------------------------------|
/// | a       | where it lies, any pitches of rows and terms; or packed in groups of 6 rows, `[term][8]` floats     |
/// | b       | packed in panels of 64 columns, the last one narrower, `[term][columns]` floats                     |
///
/// `GemmPacks` packs. y is f32, or bf16 that is widened when it is read and rounded once when it is written. Both orders exist for bf16 too: there a float of the layout is a pair of terms, which one `vdpbf16ps` multiplies
/// and adds; the terms of a pair in turn, the odd one first, and denormals count as 0.
/// `chain` (rule 2) runs through the terms in order, its sums starting from y or 0. `tree` (rule 3) finds the terms sorted by k mod
/// 16, the 16 leaves in the order 0 8 4 12 2 10 … (bits reversed), so that both halves of every subtree follow each other; waiting
/// subtrees lie on a stack in memory. Pairs of bf16 have four leaves, sorted by the number of the pair mod 4: half as many terms, and
/// at twice the rate, would not be worth sixteen.
///
/// A low-rank term u·v follows the product while its sums are in registers: one more chain, of f32 in both orders, u packed as a is and v as b.
public final class GemmTiles {
  /// Rows of a tile.
  public static final int ROWS = 6;

  /// Vectors of a tile.
  public static final int VECTORS = 4;

  /// Columns of a full panel of b.
  public static final int COLUMNS = 16 * VECTORS;

  /// Floats of a term of a packed group of rows of a.
  public static final int PITCH = 8;

  /// Bytes of the tree's stack: five places, as many as levels and the result.
  public static final int STACK = 5 * ROWS * COLUMNS * 4;

  // Fields of the job whose address is the argument: 64 bits each.
  public static final int Y = 0;
  public static final int Y_PITCH = 8; // bytes between rows of y
  public static final int A = 16;
  public static final int A_PITCH = 24; // bytes between rows of a
  public static final int A_STEP = 32; // bytes between terms of a
  public static final int A_GROUP = 40; // bytes between groups of a
  public static final int B = 48;
  public static final int B_PANEL = 56; // bytes between panels of b
  public static final int PANELS = 64; // full panels
  public static final int LAST = 72; // vectors of the last panel, 0 for none
  public static final int LAST_B = 80;
  public static final int LAST_MASK = 88; // columns of its last vector
  public static final int M = 96; // rows
  public static final int TERMS = 104; // chain: terms
  public static final int ADD = 112; // 0: sums start from 0, or replace y
  public static final int ALPHA = 120; // tree: factor, bits of an f32
  public static final int SUMS = 128; // tree: the stack
  public static final int RANK = 136; // terms of u·v, 0 for none
  public static final int U = 144;
  public static final int U_GROUP = 152; // bytes between groups of u
  public static final int V = 160;
  public static final int V_PANEL = 168; // bytes between panels of v
  public static final int LAST_V = 176;
  private static final int PANELS_LEFT = 184;
  private static final int V_NOW = 192; // the panel of v beside the tile
  public static final int LEAVES = 200; // tree: for each leaf (terms, subtrees that end here, bytes from the row to its first term)

  /// Bytes of a job; Y, A, U and M move while it runs.
  public static final int JOB = LEAVES + 16 * 24;

  private static final Gpr JOB_AT = RDI;
  private static final Gpr Y_AT = RSI;
  private static final Gpr PITCH_AT = RDX;
  private static final Gpr Y3_AT = R14; // three rows further
  private static final Gpr A_AT = R8;
  private static final Gpr B_AT = R9;
  private static final Gpr A3_AT = R13; // three rows further
  private static final Gpr A_PITCH_AT = RBX;
  private static final Gpr LEFT = RCX; // terms
  private static final Gpr PANEL_AT = R12;
  private static final Gpr STACK_AT = R15;
  private static final Gpr LEAF = RBP; // three times its number
  private static final Gpr[] SAVED = {RBX, RBP, R12, R13, R14, R15};

  private static final Vec FACTOR = zmm(31);
  private static final Vec SPARE = zmm(27); // free between two products, as all from 24 on
  private static final Vec READ = zmm(28);
  private static final Vec NARROWED = zmm(29);
  private static final Rounding ROUNDING = new Rounding(zmm(24), zmm(25), zmm(26), 2);
  private static final int EDGE = 1; // the mask of a tile's last vector

  private final Assembler a = new Assembler();
  private final boolean tree;
  private final boolean pairs;
  private final boolean narrow; // y is bf16

  private GemmTiles(boolean tree, boolean pairs, DType y) {
    this.tree = tree;
    this.pairs = pairs;
    narrow = y == DType.BF16;
  }

  /// y (+)= a·b by rule 2.
  /// @param pairs whether the operands are pairs of bf16
  /// @param y     F32 or BF16
  public static Assembler chain(boolean pairs, DType y) {
    return new GemmTiles(false, pairs, y).block();
  }

  /// y = alpha·s or fma(alpha, s, y) with s = a·bᵀ by rule 3.
  /// @param pairs whether the operands are pairs of bf16
  /// @param y     F32 or BF16
  public static Assembler tree(boolean pairs, DType y) {
    return new GemmTiles(true, pairs, y).block();
  }

  /// How many leaves a tree has.
  public static int leaves(boolean pairs) {
    return pairs ? 4 : 16;
  }

  /// All rows: groups of six, then the rest.
  private Assembler block() {
    a.push(SAVED);
    a.mov(PITCH_AT, JOB_AT.at(Y_PITCH));
    a.mov(A_PITCH_AT, JOB_AT.at(A_PITCH));
    if (tree) a.vbroadcastss(FACTOR, JOB_AT.at(ALPHA));
    var done = new Label();
    var rest = new Label();
    var groups = a.here();
    a.mov(RAX, JOB_AT.at(M));
    a.cmp(RAX, ROWS);
    a.j(BELOW, rest);
    stripe(ROWS);
    a.lea(RAX, PITCH_AT.at(PITCH_AT, 2, 0)); // six rows down
    a.mov(Y_AT, JOB_AT.at(Y));
    a.lea(Y_AT, Y_AT.at(RAX, 2, 0));
    a.mov(JOB_AT.at(Y), Y_AT);
    a.mov(RAX, JOB_AT.at(A));
    a.add(RAX, JOB_AT.at(A_GROUP));
    a.mov(JOB_AT.at(A), RAX);
    a.mov(RAX, JOB_AT.at(U));
    a.add(RAX, JOB_AT.at(U_GROUP));
    a.mov(JOB_AT.at(U), RAX);
    a.mov(RAX, JOB_AT.at(M));
    a.sub(RAX, ROWS);
    a.mov(JOB_AT.at(M), RAX);
    a.jmp(groups);
    a.bind(rest);
    for (int rows = 1; rows < ROWS; rows++) {
      var next = new Label();
      a.mov(RAX, JOB_AT.at(M));
      a.cmp(RAX, rows);
      a.j(NOT_EQUAL, next);
      stripe(rows);
      a.jmp(done);
      a.bind(next);
    }
    a.bind(done);
    a.vzeroupper();
    a.pop(SAVED);
    a.ret();
    return a;
  }

  /// Up to six rows of y: the full panels, then the last.
  private void stripe(int rows) {
    a.mov(Y_AT, JOB_AT.at(Y));
    if (rows > 3) threeDown(Y3_AT, Y_AT, PITCH_AT);
    var last = new Label();
    var done = new Label();
    a.mov(RAX, 0xffff);
    a.kmovw(EDGE, RAX);
    a.mov(PANEL_AT, JOB_AT.at(B));
    a.mov(RAX, JOB_AT.at(V));
    a.mov(JOB_AT.at(V_NOW), RAX);
    a.mov(RAX, JOB_AT.at(PANELS));
    a.mov(JOB_AT.at(PANELS_LEFT), RAX);
    a.test(RAX, RAX);
    a.j(EQUAL, last);
    var panels = a.here();
    a.mov(B_AT, PANEL_AT);
    tile(rows, VECTORS);
    a.add(Y_AT, 4 * vector());
    if (rows > 3) a.add(Y3_AT, 4 * vector());
    a.add(PANEL_AT, JOB_AT.at(B_PANEL));
    a.mov(RAX, JOB_AT.at(V_NOW));
    a.add(RAX, JOB_AT.at(V_PANEL));
    a.mov(JOB_AT.at(V_NOW), RAX);
    a.mov(RAX, JOB_AT.at(PANELS_LEFT));
    a.dec(RAX);
    a.mov(JOB_AT.at(PANELS_LEFT), RAX);
    a.j(NOT_EQUAL, panels);
    a.bind(last);
    a.mov(RAX, JOB_AT.at(LAST_MASK));
    a.kmovw(EDGE, RAX);
    a.mov(B_AT, JOB_AT.at(LAST_B));
    a.mov(RAX, JOB_AT.at(LAST_V));
    a.mov(JOB_AT.at(V_NOW), RAX);
    a.mov(RAX, JOB_AT.at(LAST));
    for (int vectors = 1; vectors <= VECTORS; vectors++) {
      var next = new Label();
      a.cmp(RAX, vectors);
      a.j(NOT_EQUAL, next);
      tile(rows, vectors);
      a.jmp(done);
      a.bind(next);
    }
    a.bind(done);
  }

  private void threeDown(Gpr to, Gpr from, Gpr pitch) {
    a.lea(to, from.at(pitch, 2, 0));
    a.add(to, pitch);
  }

  private void tile(int rows, int vectors) {
    if (tree) {
      leaves(rows, vectors);
    } else {
      a.mov(A_AT, JOB_AT.at(A));
      var zero = new Label();
      var go = new Label();
      a.mov(LEFT, JOB_AT.at(TERMS));
      a.mov(RAX, JOB_AT.at(ADD));
      a.test(RAX, RAX);
      a.j(EQUAL, zero);
      each(rows, vectors, this::load);
      a.jmp(go);
      a.bind(zero);
      clear(rows, vectors);
      a.bind(go);
      multiply(rows, vectors);
    }
    update(rows, vectors);
    rounding();
    each(rows, vectors, this::store);
  }

  /// sums += a·b over LEFT ≥ 1 terms from A_AT and B_AT on; B_AT advances.
  private void multiply(int rows, int vectors) {
    if (rows > 3) threeDown(A3_AT, A_AT, A_PITCH_AT);
    a.mov(RAX, JOB_AT.at(A_STEP));
    var loop = a.here();
    term(rows, vectors, r -> row(r, A_AT, A3_AT, A_PITCH_AT, 0), pairs);
    a.add(A_AT, RAX);
    if (rows > 3) a.add(A3_AT, RAX);
    a.dec(LEFT);
    a.j(NOT_EQUAL, loop);
  }

  /// sums += u·v, RANK terms.
  private void update(int rows, int vectors) {
    var none = new Label();
    a.mov(LEFT, JOB_AT.at(RANK));
    a.test(LEFT, LEFT);
    a.j(EQUAL, none);
    a.mov(A_AT, JOB_AT.at(U));
    a.mov(B_AT, JOB_AT.at(V_NOW));
    var loop = a.here();
    term(rows, vectors, r -> A_AT.at(4 * r), false);
    a.add(A_AT, 4 * PITCH);
    a.dec(LEFT);
    a.j(NOT_EQUAL, loop);
    a.bind(none);
  }

  /// One term, a pair with `pairs`, of all sums; B_AT advances.
  private void term(int rows, int vectors, IntFunction<Mem> left, boolean pairs) {
    for (int v = 0; v < vectors; v++) a.vmovups(zmm(24 + v), B_AT.at(64 * v));
    for (int r = 0; r < rows; r++) {
      var x = zmm(28 + r % 2);
      a.vbroadcastss(x, left.apply(r));
      for (int v = 0; v < vectors; v++) {
        if (pairs) a.vdpbf16ps(sum(r, v, vectors), x, zmm(24 + v));
        else a.vfmadd231ps(sum(r, v, vectors), x, zmm(24 + v));
      }
    }
    a.add(B_AT, 64 * vectors);
  }

  /// The leaves and their tree; sums = alpha·s or fma(alpha, s, y).
  private void leaves(int rows, int vectors) {
    int bytes = 64 * rows * vectors;
    var leaf = new Label();
    var empty = new Label();
    var pop = new Label();
    var popped = new Label();
    var finish = new Label();
    var replace = new Label();
    var done = new Label();
    a.mov(STACK_AT, JOB_AT.at(SUMS));
    a.mov(LEAF, 0);
    a.bind(leaf);
    clear(rows, vectors);
    a.mov(LEFT, JOB_AT.at(LEAF, 8, LEAVES));
    a.test(LEFT, LEFT);
    a.j(EQUAL, empty);
    a.mov(A_AT, JOB_AT.at(A));
    a.add(A_AT, JOB_AT.at(LEAF, 8, LEAVES + 16));
    multiply(rows, vectors);
    a.bind(empty);
    // the subtrees that end with this leaf: what waits is the left half
    a.mov(RAX, JOB_AT.at(LEAF, 8, LEAVES + 8));
    a.bind(pop);
    a.test(RAX, RAX);
    a.j(EQUAL, popped);
    a.sub(STACK_AT, bytes);
    for (int i = 0; i < rows * vectors; i++) a.vaddps(zmm(i), zmm(i), STACK_AT.at(64 * i));
    a.dec(RAX);
    a.jmp(pop);
    a.bind(popped);
    a.add(LEAF, 3);
    a.cmp(LEAF, 3 * leaves(pairs));
    a.j(EQUAL, finish);
    for (int i = 0; i < rows * vectors; i++) a.vmovups(STACK_AT.at(64 * i), zmm(i));
    a.add(STACK_AT, bytes);
    a.jmp(leaf);
    a.bind(finish);
    a.mov(RAX, JOB_AT.at(ADD));
    a.test(RAX, RAX);
    a.j(EQUAL, replace);
    each(
        rows, vectors,
        (sum, y) -> {
          load(READ, y);
          a.vfmadd213ps(sum, FACTOR, READ);
        });
    a.jmp(done);
    a.bind(replace);
    for (int i = 0; i < rows * vectors; i++) a.vmulps(zmm(i), zmm(i), FACTOR);
    a.bind(done);
  }

  private static Vec sum(int row, int vector, int vectors) {
    return zmm(row * vectors + vector);
  }

  private void clear(int rows, int vectors) {
    for (int i = 0; i < rows * vectors; i++) a.vpxord(zmm(i), zmm(i), zmm(i));
  }

  /// Bytes of 16 elements of y.
  private int vector() {
    return narrow ? 32 : 64;
  }

  /// Loads what `store` of bf16 needs.
  private void rounding() {
    if (!narrow) return;
    constant(ROUNDING.one(), Rounding.ONE);
    constant(ROUNDING.half(), Rounding.HALF);
    constant(ROUNDING.quiet(), Rounding.QUIET);
  }

  private void constant(Vec d, int value) {
    a.mov(RAX, value);
    a.vpbroadcastd(d, RAX);
  }

  private void load(Vec d, Place y) {
    Loads.load(a, y.mask() == 0 ? d : d.zero(EDGE), y.at(), narrow ? DType.BF16 : DType.F32);
  }

  private void store(Vec v, Place y) {
    var from = v;
    if (narrow) {
      from = NARROWED;
      ROUNDING.narrow(a, from, v, SPARE);
    }
    if (y.mask() != 0) from = from.keep(EDGE);
    if (narrow) a.vpmovdw(y.at(), from);
    else a.vmovups(y.at(), from);
  }

  /// A vector of y, and the mask it is read and written under.
  private record Place(Mem at, int mask) {}

  private interface Body {
    void emit(Vec sum, Place y);
  }

  private void each(int rows, int vectors, Body body) {
    for (int r = 0; r < rows; r++) {
      for (int v = 0; v < vectors; v++) {
        body.emit(sum(r, v, vectors), new Place(row(r, Y_AT, Y3_AT, PITCH_AT, vector() * v), v == vectors - 1 ? EDGE : 0));
      }
    }
  }

  /// Row r of six, from the addresses of rows 0 and 3.
  private static Mem row(int r, Gpr first, Gpr fourth, Gpr pitch, int disp) {
    var base = r < 3 ? first : fourth;
    return r % 3 == 0 ? base.at(disp) : base.at(pitch, r % 3, disp);
  }
}
