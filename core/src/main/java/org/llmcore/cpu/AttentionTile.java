package org.llmcore.cpu;

import java.util.function.Consumer;
import java.util.function.IntConsumer;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Label;
import org.llmcore.cpu.code.Loop;
import org.llmcore.cpu.code.Mem;
import org.llmcore.cpu.code.Routine;
import org.llmcore.cpu.code.Vec;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// The parts of attention's machine code that forward and backward share: eight queries against all keys they see.
///
/// | register   | use                                                             |
/// |------------|-----------------------------------------------------------------|
/// | RBX        | bytes of a row of scores                                        |
/// | RBP        | rows left, those of the tile included                           |
/// | R12        | keys that the first row of the tile sees                        |
/// | k7         | lanes of the last vector of a head                              |
/// | RAX RCX RSI R10 R11 | overwritten                                            |
final class AttentionTile {
  /// Queries of a tile: with up to three vectors each, their sums fill 24 registers.
  static final int ROWS = 8;

  private static final Gpr[] SAVED = {RBX, RBP, R12, R13, R14, R15};
  private static final int LOCALS = 8;

  static final Mem FIRST_PITCH = RSP.at(0);
  static final Mem SECOND_PITCH = RSP.at(8);
  static final Mem GROWTH = RSP.at(16);
  static final Mem ROWS_HERE = RSP.at(24);
  static final Mem COUNTER = RSP.at(32);
  static final Mem SAVED_STATS = RSP.at(40);
  static final Mem GROWING = RSP.at(48);
  static final Mem SPARE = RSP.at(56);

  /// Vectors [first, first+count) of a head, whose sums lie in registers row · count + i.
  record Group(int first, int count) {
    Vec sum(int row, int i) {
      return zmm(row * count + i);
    }
  }

  final Assembler a;
  private final Loop c;
  private final int w;
  private final int mask;

  /// @param w vectors of a head
  AttentionTile(Loop c, int w) {
    this(c, w, 7);
  }

  /// @param mask the register of the lanes of the last vector
  AttentionTile(Loop c, int w, int mask) {
    this.c = c;
    this.w = w;
    this.mask = mask;
    a = c.a;
  }

  /// Saves registers and the third and fourth of the tile's pitches.
  void enter(Gpr firstPitch, Gpr secondPitch) {
    a.push(SAVED);
    a.sub(RSP, 8 * LOCALS);
    a.mov(FIRST_PITCH, firstPitch);
    a.mov(SECOND_PITCH, secondPitch);
  }

  void leave() {
    a.add(RSP, 8 * LOCALS);
    a.pop(SAVED);
  }

  /// Argument i ≥ 6, between `enter` and `leave`.
  Mem argument(int i) {
    return Routine.argument(i, SAVED.length + LOCALS);
  }

  /// The mask of the last vector's lanes, for a head of `d` dimensions.
  void tailMask(Gpr d) {
    a.sub(d, 16 * (w - 1));
    c.mask(mask, d);
  }

  /// How many rows the tile has, and how many of them see keys of their own behind those that all see.
  void rows() {
    a.mov(RAX, ROWS);
    a.cmp(RBP, RAX);
    a.cmov(Condition.LESS, RAX, RBP);
    a.mov(ROWS_HERE, RAX);
    a.mov(RCX, 1);
    a.cmp(RCX, GROWTH);
    a.cmov(Condition.NOT_EQUAL, RAX, RCX);
    a.mov(GROWING, RAX);
  }

  /// Copies the tile's rows to `to`, padded with zeros; rows that do not exist repeat the last.
  void stage(Gpr from, Mem pitch, Gpr to, int disp) {
    a.mov(RAX, from);
    for (int r = 0; r < ROWS; r++) {
      for (int v = 0; v < w; v++) {
        a.vmovups(v == w - 1 ? zmm(0).zero(mask) : zmm(0), RAX.at(64 * v));
        a.vmovups(to.at(disp + 64 * (r * w + v)), zmm(0));
      }
      if (r == ROWS - 1) break;
      a.mov(R10, pitch);
      a.add(R10, RAX);
      a.cmp(RBP, r + 1);
      a.cmov(Condition.GREATER, RAX, R10);
    }
  }

  /// Scores (ROWS, …) at `to` = queries at `q` · the panels, times `scale`, for every key that a row of the tile sees.
  void dots(Gpr q, int disp, Gpr panels, Gpr to, Vec scale) {
    a.mov(RCX, GROWING);
    a.dec(RCX);
    a.add(RCX, R12);
    a.mov(R10, panels);
    a.mov(R11, to);
    a.lea(RAX, RBX.at(RBX, 2, 0));
    var four = new Label();
    var panel = a.here();
    dots4(q, disp, R11, scale);
    a.mov(RSI, ROWS_HERE);
    a.cmp(RSI, 4);
    a.j(Condition.LESS_OR_EQUAL, four);
    a.lea(RSI, R11.at(RBX, 4, 0));
    dots4(q, disp + 4 * 64 * w, RSI, scale);
    a.bind(four);
    a.add(R10, 1024 * w);
    a.add(R11, 64);
    a.sub(RCX, 16);
    a.j(Condition.GREATER, panel);
  }

  /// Four rows against the panel at R10; RAX is three rows of scores. The 16 partial sums come in the order in which the tree of
  /// rule 3 adds them, so that five registers a row suffice. A sum of nothing but −0 becomes 0, as sums that start from 0 do.
  private void dots4(Gpr q, int disp, Gpr to, Vec scale) {
    for (int one = 0; one < 2; one++) {
      for (int two = one; two < 4; two += 2) {
        for (int j = two; j < 8; j += 4) {
          partial(q, disp, j, 0);
          partial(q, disp, j + 8, 4);
          add(j == two ? 8 : 0, 0, 4);
          if (j != two) add(8, 8, 0);
        }
        if (two == one) move(12, 8);
        else add(12, 12, 8);
      }
      if (one == 0) move(16, 12);
      else add(16, 16, 12);
    }
    a.vpxord(zmm(20), zmm(20), zmm(20));
    for (int r = 0; r < 4; r++) {
      a.vaddps(zmm(16 + r), zmm(16 + r), zmm(20));
      if (scale != null) a.vmulps(zmm(16 + r), zmm(16 + r), scale);
      a.vmovups(row(to, r), zmm(16 + r));
    }
  }

  /// Row r < 4 of scores whose first row is at `to`; RAX is three rows.
  static Mem row(Gpr to, int r) {
    return switch (r) {
      case 0 -> to.at(0);
      case 3 -> to.at(RAX, 1, 0);
      default -> to.at(RBX, r, 0);
    };
  }

  /// Partial sum j of four rows, in registers from `sum` on.
  private void partial(Gpr q, int disp, int j, int sum) {
    for (int r = 0; r < 4; r++) a.vpxord(zmm(sum + r), zmm(sum + r), zmm(sum + r));
    for (int v = 0; v < w; v++) {
      int d = 16 * v + j;
      var keys = zmm(21 + (v + j) % 4);
      a.vmovups(keys, R10.at(64 * d));
      for (int r = 0; r < 4; r++) a.vfmadd231ps(zmm(sum + r), keys, q.at(disp + 4 * (16 * w * r + d)).all());
    }
  }

  private void add(int to, int x, int y) {
    for (int r = 0; r < 4; r++) a.vaddps(zmm(to + r), zmm(x + r), zmm(y + r));
  }

  private void move(int to, int x) {
    for (int r = 0; r < 4; r++) a.vmovaps(zmm(to + r), zmm(x + r));
  }

  /// y[r] = Σ_u coefficient[r,u] · x[u] for the tile's rows, one chain in ascending u over the keys that row r sees. x has
  /// rows of w vectors. `finish` puts the sums of a group of vectors.
  void chains(Gpr coefficients, Gpr x, Consumer<Group> finish) {
    int groups = (w + 2) / 3;
    for (int g = 0, first = 0; g < groups; g++) {
      var group = new Group(first, (w - first + groups - g - 1) / (groups - g));
      chain(coefficients, x, group);
      finish.accept(group);
      first += group.count;
    }
  }

  private void chain(Gpr coefficients, Gpr x, Group g) {
    for (int i = 0; i < ROWS * g.count; i++) a.vpxord(zmm(i), zmm(i), zmm(i));
    a.lea(RAX, RBX.at(RBX, 2, 0));
    a.mov(R10, coefficients);
    a.lea(RSI, coefficients.at(RBX, 4, 0));
    a.lea(R11, x.at(64 * g.first));
    a.mov(RCX, R12);
    var step = a.here();
    step(g, 0);
    a.dec(RCX);
    a.j(Condition.NOT_EQUAL, step);
    a.mov(RCX, GROWING);
    var done = new Label();
    for (int r = 1; r < ROWS; r++) { // keys that only rows from r on see
      a.cmp(RCX, r);
      a.j(Condition.LESS_OR_EQUAL, done);
      step(g, r);
    }
    a.bind(done);
  }

  /// One key for rows from `from` on: R11 is its row of x, R10 and RSI the coefficients of rows 0 and 4.
  private void step(Group g, int from) {
    for (int i = 0; i < g.count; i++) a.vmovups(zmm(24 + i), R11.at(64 * i));
    for (int r = from; r < ROWS; r++) {
      var coefficient = zmm(27 + r % 4);
      a.vbroadcastss(coefficient, row(r < 4 ? R10 : RSI, r % 4));
      for (int i = 0; i < g.count; i++) a.vfmadd231ps(g.sum(r, i), zmm(24 + i), coefficient);
    }
    a.add(R11, 64 * w);
    a.add(R10, 4);
    a.add(RSI, 4);
  }

  /// Stores the sums of the tile's rows, `pitch` apart; `prepare` readies a row, `change` each of its vectors.
  void put(Gpr to, Mem pitch, Group g, IntConsumer prepare, Consumer<Vec> change) {
    var done = new Label();
    a.mov(RCX, ROWS_HERE);
    a.mov(RAX, to);
    for (int r = 0; r < ROWS; r++) {
      prepare.accept(r);
      for (int i = 0; i < g.count; i++) {
        var v = g.sum(r, i);
        change.accept(v);
        a.vmovups(RAX.at(64 * (g.first + i)), g.first + i == w - 1 ? v.keep(mask) : v);
      }
      if (r == ROWS - 1) break;
      a.add(RAX, pitch);
      a.cmp(RCX, r + 1);
      a.j(Condition.LESS_OR_EQUAL, done);
    }
    a.bind(done);
  }

  /// The same column of the next tile's first row.
  void next(Gpr at, Mem pitch) {
    a.mov(RAX, pitch);
    a.shl(RAX, 3); // ROWS
    a.add(at, RAX);
  }

  /// On to the next tile, if there are rows left.
  void advance(Label tile) {
    a.mov(RAX, GROWTH);
    a.shl(RAX, 3);
    a.add(R12, RAX);
    a.sub(RBP, ROWS);
    a.j(Condition.GREATER, tile);
  }
}
