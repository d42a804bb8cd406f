package org.llmcore.cpu.code;

import static org.llmcore.cpu.code.Condition.*;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.*;

/// What brings bf16 operands into the panels of `AmxTiles`.
///
/// | function | operand                                  | goes to                                             |
/// |----------|------------------------------------------|-----------------------------------------------------|
/// | `rows`   | up to 32 rows of a, terms side by side   | a panel of a                                        |
/// | `turned` | rows of aᵀ, 16 rows of a side by side    | half a panel of a: 32 terms of each, side by side   |
/// | `pairs`  | rows of b, 16 columns side by side       | half a panel of b: two terms of a column become a pair |
///
/// Rows of bᵀ, terms side by side, are turned by `GemmPacks.turned`: a pair of bf16 is as wide as an f32.
public final class AmxPacks {
  // Fields of the job whose address is the argument: 64 bits each.
  public static final int FROM = GemmPacks.FROM;
  public static final int FROM_PITCH = GemmPacks.FROM_PITCH; // bytes between rows
  public static final int TO = 16;
  public static final int M = 24; // rows
  public static final int STEPS = 32; // rows: steps of 32 terms, the last one under the mask
  public static final int MASK = 40; // rows: terms of the last step; pairs and turned: columns

  /// Bytes of a job.
  public static final int JOB = 48;

  private AmxPacks() {}

  /// Rows of a, one behind the other in every step. Terms that do not exist become 0.
  public static Assembler rows() {
    var a = new Assembler();
    a.mov(RAX, RDI.at(MASK));
    a.kmovd(1, RAX);
    a.mov(R8, RDI.at(FROM));
    a.mov(R9, RDI.at(TO));
    a.mov(R10, RDI.at(M));
    var rows = a.here();
    a.mov(RSI, R8);
    a.mov(RDX, R9);
    a.mov(RCX, RDI.at(STEPS));
    var last = new Label();
    var steps = a.here();
    a.dec(RCX);
    a.j(EQUAL, last);
    a.vmovups(zmm(0), RSI.at(0));
    a.vmovups(RDX.at(0), zmm(0));
    a.add(RSI, 64);
    a.add(RDX, AmxTiles.STEP);
    a.jmp(steps);
    a.bind(last);
    a.vmovdqu16(zmm(0).zero(1), RSI.at(0));
    a.vmovups(RDX.at(0), zmm(0));
    a.add(R8, RDI.at(FROM_PITCH));
    a.add(R9, 64);
    a.dec(R10);
    a.j(NOT_EQUAL, rows);
    a.vzeroupper();
    a.ret();
    return a;
  }

  /// Pairs of rows of b. A last row without a partner is paired with 0.
  public static Assembler pairs() {
    var a = enter();
    a.mov(R9, AmxTiles.TERMS / 2); // pairs left in this step
    var alone = new Label();
    var done = new Label();
    var pairs = a.here();
    a.cmp(RCX, 1);
    a.j(BELOW, done);
    a.vpmovzxwd(zmm(0).zero(1), RSI.at(0));
    a.j(EQUAL, alone); // the flags are still those of cmp
    a.vpmovzxwd(zmm(1).zero(1), RSI.at(R8, 1, 0));
    a.vpslld(zmm(1), zmm(1), 16);
    a.vpord(zmm(0), zmm(0), zmm(1));
    a.bind(alone);
    a.vmovups(RDX.at(0), zmm(0));
    a.lea(RSI, RSI.at(R8, 2, 0));
    a.add(RDX, 64);
    a.dec(R9);
    var same = new Label();
    a.j(NOT_EQUAL, same);
    a.add(RDX, AmxTiles.STEP / 2); // past the other half
    a.mov(R9, AmxTiles.TERMS / 2);
    a.bind(same);
    a.sub(RCX, 2);
    a.j(GREATER, pairs);
    a.bind(done);
    a.vzeroupper();
    a.ret();
    return a;
  }

  /// Columns of rows of aᵀ. Terms and columns that do not exist become 0.
  public static Assembler turned() {
    var a = enter();
    var rest = new Label();
    var done = new Label();
    a.cmp(RCX, AmxTiles.TERMS);
    a.j(BELOW, rest);
    var steps = a.here();
    for (int pair = 0; pair < AmxTiles.TERMS / 2; pair++) {
      RowPairs.load(a, zmm(pair), zmm(16), 1, RSI.at(0), RSI.at(R8, 1, 0));
      a.lea(RSI, RSI.at(R8, 2, 0));
    }
    turn(a);
    a.add(RDX, AmxTiles.STEP);
    a.sub(RCX, AmxTiles.TERMS);
    a.cmp(RCX, AmxTiles.TERMS);
    a.j(ABOVE_OR_EQUAL, steps);
    a.bind(rest);
    a.test(RCX, RCX);
    a.j(EQUAL, done);
    var loaded = new Label();
    for (int i = 0; i < AmxTiles.TERMS / 2; i++) a.vpxord(zmm(i), zmm(i), zmm(i));
    for (int i = 0; i < AmxTiles.TERMS / 2; i++) {
      a.cmp(RCX, 2 * i);
      a.j(BELOW_OR_EQUAL, loaded);
      a.vpmovzxwd(zmm(i).zero(1), RSI.at(0));
      a.cmp(RCX, 2 * i + 1);
      a.j(BELOW_OR_EQUAL, loaded);
      RowPairs.load(a, zmm(i), zmm(16), 1, RSI.at(0), RSI.at(R8, 1, 0));
      a.lea(RSI, RSI.at(R8, 2, 0));
    }
    a.bind(loaded);
    turn(a);
    a.bind(done);
    a.vzeroupper();
    a.ret();
    return a;
  }

  /// The mask of columns in k1, where rows come from and go, how many there are, and how far apart.
  private static Assembler enter() {
    var a = new Assembler();
    a.mov(RAX, RDI.at(MASK));
    a.kmovw(1, RAX);
    a.mov(RSI, RDI.at(FROM));
    a.mov(RDX, RDI.at(TO));
    a.mov(RCX, RDI.at(M));
    a.mov(R8, RDI.at(FROM_PITCH));
    return a;
  }

  private static void turn(Assembler a) {
    Turn.sixteen(a, row -> a.vmovups(RDX.at(64 * row), Turn.COLUMN));
  }
}
