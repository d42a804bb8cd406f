package org.llmcore.cpu;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.function.IntFunction;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.Label;
import org.llmcore.cpu.code.MachineCode;
import org.llmcore.cpu.code.Mem;
import org.llmcore.cpu.code.Vec;

import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.zmm;

/// Machine code of y (+)= alpha·x·Wᵀ for up to 8 rows of x, by rule 3 of `Kernel`: the 16 partial sums of an element are the 16
/// lanes of a register; of pairs of bf16 four partial sums are a quarter of one (`StreamForm.shared`). A round decodes `unit` columns of each of a strip of rows of W (4, or 2 for more than 4 rows of x), 16 weights
/// at a time, and multiplies them with all rows of x; at the end of the rows the trees of four elements are done together.
///
/// Rows of a strip lie far apart and the next strip has the rows that follow them, so that each register's rows are one long stream
/// of memory: what prefetchers of processors are made for.
///
/// One function holds the variants for 1 … 8 rows of x. What a form of W adds, it writes through this class. What becomes of the
/// weights that it decodes is a `Use`: those that are multiplied in pairs are rounded to bf16 and rest in the frame until their round is
/// whole; others only go to memory, where X is where they go.
///
/// | registers     | hold                                                            |
/// |---------------|-----------------------------------------------------------------|
/// | zmm0 … 15     | partial sums, row of x times rows of W plus row of W; where rows share registers 8 … 15 are what is multiplied |
/// | zmm16 … 31    | the form's; not for what must outlive a strip: 16, 17, 24 … 27  |
/// | k1            | columns of the last vector; or, with k3 and k4, the quarters of rows 1, 2 and 3 |
/// | k2, k5, k6, k7 | lane i, if the strip has a row i                               |
/// | RDI           | the frame: what the call is about, and room for a few vectors   |
/// | RSI, R8       | this round in x and in W                                        |
/// | RDX, RCX      | bytes between rows of x, and three times that                   |
/// | R9, R10, R11  | rows of W after the first; for more than 4 rows of x, R10 and R11 are 5 and 7 rows of x, but R13 and R14 where a form shares registers |
/// | R12           | rounds left                                                     |
/// | R13, R14, R15, RBX, RBP, RAX | the form's                                       |
final class StreamCode {
  /// What becomes of decoded weights.
  enum Use {
    /// They are multiplied with rows of f32, or as the form does it.
    MULTIPLY,
    /// They are rounded to bf16 and multiplied with rows of bf16 by pairs of terms.
    MULTIPLY_PAIRS,
    /// They go to memory as bf16, denormals as 0; up to 15 elements after a row are overwritten.
    STORE
  }

  // The frame, in bytes.
  static final int ROWS = 0; // of x
  static final int X = 8;
  static final int X_PITCH = 16;
  static final int W = 24;
  static final int W_PITCH = 32;
  static final int W_ROW = 40; // offsets of rows 1, 2, 3
  static final int STRIPS = 64;
  static final int Y = 72;
  static final int Y_PITCH = 80;
  static final int Y_MASKS = 88; // 4 × 16 bits: lane i, or nothing if the strip has no row i
  static final int ALPHA = 96;
  static final int ADD = 104;
  static final int ROUNDS = 112;
  static final int TAIL = 120; // columns after whole rounds
  static final int TAIL_VECTORS = 128; // whole vectors among them
  static final int TAIL_MASK = 136;
  static final int AHEAD = 144; // bytes from what is read to what is fetched
  static final int Y_ROW = 152; // offsets of elements 1, 2, 3, less those of lanes
  static final int FORM = 176; // what the form needs
  static final int VECTORS = 256; // room for four vectors
  static final int PAIRS = VECTORS + 4 * 64; // room for the bf16 of a round
  static final int BYTES = PAIRS + StreamPairs.BYTES;

  private static final int MANY = 8;
  private static final int LINE = 64; // bytes
  private static final Gpr[] SAVED = {RBX, RBP, R12, R13, R14, R15};
  private static final int[] LANE = {2, 5, 6, 7};
  private static final int[] QUARTER = {0, 1, 3, 4};
  private static final Gpr[] ROW = {null, R9, R10, R11};

  final Assembler a = new Assembler();
  private final StreamForm form;
  private final Use use;
  private final boolean shared; // whether rows share registers
  private final StreamPairs pairs;
  private int m;
  private int rows;
  private Label tail; // where the tail of the current row of W ends; null outside

  private StreamCode(StreamForm form, Use use) {
    this.form = form;
    this.use = use;
    shared = shared(form, use);
    pairs = new StreamPairs(this);
  }

  private static boolean shared(StreamForm form, Use use) {
    return use == Use.MULTIPLY_PAIRS || form.shared();
  }

  /// Rows of W that are read side by side for m rows of x.
  static int rows(StreamForm form, Use use, int m) {
    return m > 4 && !shared(form, use) ? 2 : 4;
  }

  /// The next of `left` rows of x to take together.
  static int take(int left) {
    int calls = (left + MANY - 1) / MANY;
    return (left + calls - 1) / calls;
  }

  /// The function of a form: its argument is the address of a frame.
  static MethodHandle of(StreamForm form, Use use) {
    return MachineCode.function(new StreamCode(form, use).all(), 1);
  }

  private Assembler all() {
    a.push(SAVED);
    if (use == Use.STORE) {
      rows = 4;
      variant();
      return a;
    }
    a.mov(RAX, RDI.at(ROWS));
    var variants = new Label[MANY];
    for (int i = 0; i < MANY - 1; i++) {
      variants[i] = new Label();
      a.cmp(RAX, i + 1);
      a.j(Condition.EQUAL, variants[i]);
    }
    variants[MANY - 1] = a.here();
    for (int i = MANY - 1; i >= 0; i--) {
      if (i < MANY - 1) a.bind(variants[i]);
      m = i + 1;
      rows = rows(form, use, m);
      variant();
    }
    return a;
  }

  private void variant() {
    a.mov(RDX, RDI.at(X_PITCH));
    a.lea(RCX, RDX.at(RDX, 2, 0));
    a.mov(R9, RDI.at(W_ROW));
    if (rows == 4) {
      a.mov(R10, RDI.at(W_ROW + 8));
      a.mov(R11, RDI.at(W_ROW + 16));
    }
    for (int i = 0; i < 4; i++) a.kmovw(LANE[i], RDI.at(Y_MASKS + 2 * i));
    form.constants(this);
    var strip = a.here();
    a.mov(RSI, RDI.at(X));
    a.mov(R8, RDI.at(W));
    if (m > 4 && use == Use.MULTIPLY) {
      a.lea(fifth(), RCX.at(RDX, 2, 0));
      a.lea(seventh(), fifth().at(RDX, 2, 0));
    }
    for (int i = 0; i < (shared ? m : m * rows); i++) a.vpxord(zmm(i), zmm(i), zmm(i));
    form.start(this);
    form.rounds(this);
    form.rest(this);
    if (use == Use.STORE) {
      advance(X, Y_PITCH);
    } else {
      finish();
      a.mov(RAX, RDI.at(Y));
      a.add(RAX, 4);
      a.mov(RDI.at(Y), RAX);
    }
    form.next(this);
    advance(W, W_PITCH);
    a.mov(RAX, RDI.at(STRIPS));
    a.dec(RAX);
    a.mov(RDI.at(STRIPS), RAX);
    a.j(Condition.NOT_EQUAL, strip);
    a.vzeroupper();
    a.pop(SAVED);
    a.ret();
  }

  /// Adds what the frame holds at `step` to what it holds at `to`.
  void advance(int to, int step) {
    a.mov(RAX, RDI.at(to));
    a.add(RAX, RDI.at(step));
    a.mov(RDI.at(to), RAX);
  }

  /// A loop of R12 rounds, which may be none: as many at once as a line of memory holds, so that each line is asked for once.
  void loop(int unit, int bytes) {
    int many = Math.max(1, LINE / bytes);
    if (many > 1) loop(unit, bytes, many);
    loop(unit, bytes, 1);
  }

  private void loop(int unit, int bytes, int together) {
    var done = new Label();
    var again = a.here();
    a.cmp(R12, together);
    a.j(Condition.BELOW, done);
    fetch(together * bytes);
    for (int i = 0; i < together; i++) {
      form.strip(this);
      if (use == Use.MULTIPLY_PAIRS) pairs.round();
      form.step(this);
      a.add(RSI, size() * unit);
      a.add(R8, bytes);
    }
    a.sub(R12, together);
    a.jmp(again);
    a.bind(done);
  }

  /// Asks for the lines that lie `AHEAD` of these bytes.
  private void fetch(int bytes) {
    a.mov(RAX, RDI.at(AHEAD));
    a.add(RAX, R8);
    for (int r = 0; r < rows; r++) {
      for (int i = 0; i < bytes; i += LINE) a.prefetcht0(r == 0 ? RAX.at(i) : RAX.at(ROW[r], 1, i));
    }
  }

  /// The columns after the last whole round, vector by vector.
  void tails() {
    var done = new Label();
    a.mov(R12, RDI.at(TAIL));
    a.test(R12, R12);
    a.j(Condition.EQUAL, done);
    a.mov(R12, RDI.at(TAIL_VECTORS));
    a.mov(RBX, RDI.at(TAIL_MASK));
    for (int r = 0; r < rows; r++) {
      tail = new Label();
      form.row(this, r);
      a.bind(tail);
      tail = null;
    }
    if (use == Use.MULTIPLY_PAIRS) pairs.rest();
    a.bind(done);
  }

  /// Bytes of an element of x, or of what is stored.
  private int size() {
    return use == Use.MULTIPLY ? 4 : 2;
  }

  /// Must stand before vector v of a row is decoded: in the tail, leaves the row or sets k1 to the vector's columns.
  void vector(int v) {
    if (tail == null) return;
    a.cmp(R12, v);
    a.j(Condition.LESS, tail);
    a.mov(RAX, 0xffff);
    a.cmov(Condition.EQUAL, RAX, RBX);
    a.kmovw(1, RAX);
  }

  /// The register, in the tail under the vector's mask.
  Vec masked(Vec to) {
    return tail == null ? to : to.zero(1);
  }

  /// Multiplies the decoded vector v of row r of W with all rows of x, or does what else is to become of it.
  void use(int r, int v, Vec w) {
    switch (use) {
      case MULTIPLY -> multiply(r, v, w);
      case MULTIPLY_PAIRS -> pairs.keep(r, v, w);
      case STORE -> pairs.narrow(v, w, x(r));
    }
  }

  private void multiply(int r, int v, Vec w) {
    for (int i = 0; i < m; i++) {
      var sum = zmm(i * rows + r);
      a.vfmadd231ps(tail == null ? sum : sum.keep(1), w, x(i).plus(64 * v));
    }
  }

  /// Sets the masks of `quarters` and `perRow`.
  void quarterMasks() {
    for (int r = 1; r < 4; r++) {
      a.mov(RAX, 0xf << 4 * r);
      a.kmovw(QUARTER[r], RAX);
    }
  }

  /// to = 16 bytes of each row, a quarter each.
  void quarters(Vec to, IntFunction<Mem> row) {
    for (int r = 0; r < 4; r++) a.vbroadcastf32x4(quarter(to, r), row.apply(r));
  }

  /// to = a float of each row in all of its quarter.
  void perRow(Vec to, IntFunction<Mem> row) {
    for (int r = 0; r < 4; r++) a.vbroadcastss(quarter(to, r), row.apply(r));
  }

  /// The same of an f16.
  void halfPerRow(Vec to, IntFunction<Mem> row) {
    var halves = Vec.ymm(to.index());
    for (int r = 0; r < 4; r++) a.vpbroadcastw(quarter(halves, r), row.apply(r));
    a.vcvtph2ps(to, halves);
  }

  private static Vec quarter(Vec to, int r) {
    return r == 0 ? to : to.keep(QUARTER[r]);
  }

  /// 5 rows of x.
  private Gpr fifth() {
    return form.shared() ? R13 : R10;
  }

  /// 7 rows of x.
  private Gpr seventh() {
    return form.shared() ? R14 : R11;
  }

  /// This round in row i of x. Row 4 is at RAX while a round of pairs is multiplied.
  Mem x(int i) {
    if (i > 3 && use == Use.MULTIPLY_PAIRS) {
      return switch (i) {
        case 4 -> RAX.at(0);
        case 7 -> RAX.at(RCX, 1, 0);
        default -> RAX.at(RDX, i - 4, 0);
      };
    }
    return switch (i) {
      case 0 -> RSI.at(0);
      case 1, 2, 4 -> RSI.at(RDX, i, 0);
      case 3 -> RSI.at(RCX, 1, 0);
      case 5 -> RSI.at(fifth(), 1, 0);
      case 6 -> RSI.at(RCX, 2, 0);
      default -> RSI.at(seventh(), 1, 0);
    };
  }

  /// Byte `disp` of this round in row r of W.
  Mem w(int r, int disp) {
    return r == 0 ? R8.at(disp) : R8.at(ROW[r], 1, disp);
  }

  int rows() {
    return rows;
  }

  /// Columns of a round.
  int unit() {
    return form.unit();
  }

  /// Whether a row's last columns are decoded, vector by vector.
  boolean inTail() {
    return tail != null;
  }

  /// Rows of x.
  int m() {
    return m;
  }

  /// Loads 16 values that never change.
  void constant(Vec to, float... values) {
    load(to, MemorySegment.ofArray(values));
  }

  void constant(Vec to, int... values) {
    load(to, MemorySegment.ofArray(values));
  }

  private void load(Vec to, MemorySegment values) {
    a.mov(RAX, Arena.global().allocate(64, 64).copyFrom(values).address());
    a.vmovups(to, RAX.at(0));
  }

  /// Trees of up to four elements per row of x: lanes i and i+8 of all, then +4, +2, +1; sums into y.
  private void finish() {
    constant(zmm(16), 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    a.vbroadcastss(zmm(17), RDI.at(ALPHA));
    a.mov(RBX, RDI.at(Y));
    a.mov(RBP, RDI.at(ADD));
    a.mov(R12, RDI.at(Y_ROW));
    a.mov(R14, RDI.at(Y_ROW + 8));
    a.mov(R15, RDI.at(Y_ROW + 16));
    Mem[] y = {RBX.at(0), RBX.at(R12, 1, 0), RBX.at(R14, 1, 0), RBX.at(R15, 1, 0)};
    for (int i = 0; i < m; i++) {
      if (shared) {
        a.vmovaps(zmm(24), zmm(i));
      } else {
        var s = new Vec[4];
        for (int r = 0; r < 4; r++) s[r] = zmm(i * rows + r % rows);
        pair(24, s[0], s[1], 0x44, 0xee);
        pair(26, s[2], s[3], 0x44, 0xee);
        pair(24, zmm(24), zmm(26), 0x88, 0xdd); // 128 bits of four partial sums for each element
      }
      a.vshufps(zmm(25), zmm(24), zmm(24), 0x4e);
      a.vaddps(zmm(24), zmm(24), zmm(25));
      a.vshufps(zmm(25), zmm(24), zmm(24), 0xb1);
      a.vaddps(zmm(24), zmm(24), zmm(25));
      a.vpermps(zmm(24), zmm(16), zmm(24));
      var add = new Label();
      var store = new Label();
      a.test(RBP, RBP);
      a.j(Condition.NOT_EQUAL, add);
      a.vmulps(zmm(24), zmm(24), zmm(17));
      a.jmp(store);
      a.bind(add);
      for (int r = 0; r < rows; r++) a.vmovups(Vec.xmm(25).keep(LANE[r]), y[r]);
      a.vfmadd213ps(zmm(24), zmm(17), zmm(25));
      a.bind(store);
      for (int r = 0; r < rows; r++) a.vmovups(y[r], Vec.xmm(24).keep(LANE[r]));
      a.add(RBX, RDI.at(Y_PITCH));
    }
  }

  /// to = the lanes that `low` picks of u and v, plus those that `high` picks. Uses the register after `to`.
  private void pair(int to, Vec u, Vec v, int low, int high) {
    a.vshuff32x4(zmm(to + 1), u, v, high);
    a.vshuff32x4(zmm(to), u, v, low);
    a.vaddps(zmm(to), zmm(to), zmm(to + 1));
  }

  /// to = the address of a table `f16 → f32`, so that a scale is a load and no conversion.
  void halves(Gpr to) {
    a.mov(to, Halves.ADDRESS);
  }

  /// Every f16 as f32: 256 KB, of which a model's scales touch a few.
  private static final class Halves {
    static final long ADDRESS = table();

    private static long table() {
      var all = Arena.global().allocate(4L << 16, 64);
      for (int i = 0; i < 1 << 16; i++) all.setAtIndex(ValueLayout.JAVA_FLOAT, i, Float.float16ToFloat((short) i));
      return all.address();
    }
  }
}
