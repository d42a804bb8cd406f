package org.llmcore.cpu;

import java.util.Optional;

import org.llmcore.cpu.code.GemmPacks;
import org.llmcore.cpu.code.GemmTiles;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Memory;

/// Matrix products by machine code of our own (`GemmTiles`), in the order of sums that `MatMul` fixes: rule 3 for `a·bᵀ`, rule 2
/// for the others.
///
/// | operand | is read                | where                                                                                     |
/// |---------|------------------------|-------------------------------------------------------------------------------------------|
/// | a       | where it lies          | f32, unscaled, and six rows of what a sum runs through fit a first-level cache             |
/// | a       | packed, by all workers | else; in slabs of rows if it is large                                                      |
/// | b       | packed once            | if several blocks above each other want it and it is small                                 |
/// | b       | packed by each block   | else                                                                                      |
///
/// Two bf16 matrices may be multiplied without becoming f32 (`pairs`), and a b in few bits may become bf16 for it: then a term, in
/// this class, is a pair of terms, as wide as an f32, and both orders are over pairs (`GemmTiles`). What rule 2 says of splits of a sum
/// holds for those into even numbers of terms.
///
/// A chain is cut into at most 768 terms, so that the panels of a block (768 × 256 floats) stay in a second-level cache and six rows
/// of a in the first; between cuts it rests in y, which is exact: if y is not f32, in scratch. A bf16 y of one cut needs none.
///
/// A low-rank term u·v is a chain of f32 that follows in the registers of a tile: its u is packed as a is, its v by each block.
final class Avx512Gemm {
  private static final int ROWS = GemmTiles.ROWS;
  private static final int COLUMNS = GemmTiles.COLUMNS;
  private static final int GROUPS = 96; // of a block at most
  private static final int BREADTH = 4 * COLUMNS;
  private static final int DEPTH = 768;
  private static final int PANELS = 96 * 1024; // floats of a tree's panels: they stay in a second-level cache
  private static final int DIRECT = 768; // terms of a tree with which six rows and a leaf of b stay in a first-level cache
  private static final long MOST_A = 8L << 20; // floats of packed a: 32 MB
  private static final long MOST_B = 4L << 20;
  private static final int STAGED = 16; // rows of b that are turned, or decoded, together
  private static final long TERM = 4L * GemmTiles.PITCH; // bytes of a term of a packed group

  private static final long PAIRS = pairs();

  private final Lanes lanes;
  private final Workers workers;
  private final Gemm c;
  private final Scratch shared;
  private final int m;
  private final int n;
  private final int k;
  private final boolean pairs;
  private final boolean tree;
  private final boolean direct;
  private final int depth; // terms of a cut
  private final boolean narrow; // y is bf16, and written as such
  private final int leaves; // of a tree, or the one chain
  private final int[] first; // terms before leaf t
  private final Job tiles; // what all blocks' jobs share
  private final Job terms; // the same for packing sixteens of terms of a
  private final RightRows rows; // of b
  private final Optional<Avx512Gemm> update;
  private long left; // packed a
  private long right; // packed b, 0 if blocks pack their own

  /// @param inPlace whether a may be read where it lies
  private Avx512Gemm(Lanes lanes, Workers workers, Gemm c, Scratch shared, boolean pairs, boolean inPlace) {
    this.lanes = lanes;
    this.workers = workers;
    this.c = c;
    this.shared = shared;
    m = c.m();
    n = c.n();
    this.pairs = pairs;
    k = pairs ? (c.k() + 1) / 2 : c.k();
    tree = !c.ta() && c.tb();
    direct = inPlace && (pairs ? !c.ta() : c.a().dtype() == DType.F32 && (tree || c.alpha() == 1) && (!c.ta() || strided())) && (!tree || k <= DIRECT);
    int cuts = tree ? 1 : (k + DEPTH - 1) / DEPTH;
    depth = (k + cuts - 1) / cuts;
    narrow = cuts == 1 && c.y().tensor().dtype() == DType.BF16;
    leaves = tree ? GemmTiles.leaves(pairs) : 1;
    first = new int[leaves + 1];
    for (int t = 0; t < leaves; t++) first[t + 1] = first[t] + k / leaves + (partial(t) < k % leaves ? 1 : 0);
    rows = new RightRows(lanes, c, pairs ? DType.BF16 : DType.F32);
    tiles = tiles();
    terms = terms(k, TERM);
    update = c.update().map(u -> new Avx512Gemm(lanes, workers, u, shared, false, false));
  }

  /// A product in the orders that `MatMul` fixes.
  static void run(Lanes lanes, Workers workers, Gemm c, Scratch shared) {
    new Avx512Gemm(lanes, workers, c, shared, false, true).run();
  }

  /// A product that `takesPairs`.
  static void pairs(Lanes lanes, Workers workers, Gemm c, Scratch shared) {
    new Avx512Gemm(lanes, workers, c, shared, true, true).run();
  }

  /// Adds a product of one matrix by rule 2 to blocks of f32 that have all rows.
  static MatMulCpu.Body adding(Lanes lanes, Workers workers, Gemm c, Scratch shared) {
    var product = new Avx512Gemm(lanes, workers, c, shared, false, true);
    if (!product.direct) product.left = product.left(0, 1, 0, product.m);
    return (block, y, pitch, scratch) -> product.block(block, block, groups(product.m), 0, DType.F32, y, pitch, scratch);
  }

  /// Whether this is a product of two matrices in bf16, or of one with few bits, whose terms come in pairs: where they lie side by side
  /// in both, in fours of pairs; in one, in pairs.
  static boolean takesPairs(Gemm c) {
    return c.k() > 0 && c.bf16()
        && (c.ta() ? c.alpha() == 1 && (!c.tb() || c.k() % 2 == 0) : c.tb() ? c.k() % 8 == 0 : c.alpha() == 1 && c.k() % 2 == 0);
  }

  /// Whether a transposed a, six floats a term, is better read with its stride than packed: if a few panels of b meet it, and its rows
  /// do not all fall into a few sets of the caches.
  private boolean strided() {
    return n <= 5 * COLUMNS && m % 512 != 0;
  }

  /// Which partial sum leaf t is: bits reversed.
  private int partial(int t) {
    return leaves == 1 ? 0 : Integer.reverse(t) >>> 32 - Integer.numberOfTrailingZeros(leaves);
  }

  private void run() {
    long perRow = (long) GemmTiles.PITCH * k / ROWS + 1;
    if (direct || (long) c.batch() * m * perRow <= MOST_A) {
      slab(0, c.batch(), 0, m);
      return;
    }
    int rows = (int) Math.max(1, MOST_A / perRow / (GROUPS * ROWS)) * GROUPS * ROWS;
    for (int batch = 0; batch < c.batch(); batch++) {
      for (int row = 0; row < m; row += rows) slab(batch, 1, row, Math.min(rows, m - row));
    }
  }

  /// Rows [row, row+rows) of products [batch, batch+batches).
  private void slab(int batch, int batches, int row, int rows) {
    shared.reset();
    var grid = grid(batches, rows);
    left = direct ? 0 : left(batch, batches, row, rows);
    update.ifPresent(u -> u.left = u.left(batch, batches, row, rows));
    boolean once = rows > grid.height() && (long) batches * k * padded(n) <= MOST_B;
    right = once ? right(batch, batches) : 0;
    workers.run(
        grid.blocks(),
        (task, scratch) -> {
          var b = grid.block(task);
          var block = new Block(batch + b.batch(), row + b.row(), b.column(), b.rows(), b.columns());
          if (narrow) block(block, b, groups(rows), batch, DType.BF16, RowCode.at(c.y().tensor(), block.y(m, n)), 2L * n, scratch);
          else MatMulCpu.block(lanes, c, block, (_, y, pitch, s) -> block(block, b, groups(rows), batch, DType.F32, y, pitch, s), scratch);
        });
  }

  /// Blocks as large as caches like them, smaller where there would be fewer than a few.
  private Block.Grid grid(int batches, int rows) {
    int breadth = tree ? Math.clamp(PANELS / k / COLUMNS, 1, 8) * COLUMNS : BREADTH;
    int down = (groups(rows) + GROUPS - 1) / GROUPS;
    int height = Math.max(1, (groups(rows) + down - 1) / Math.max(1, down)) * ROWS;
    while (true) {
      var g = new Block.Grid(batches, rows, n, height, breadth);
      if (g.blocks() >= Block.Grid.ENOUGH || height <= 5 * ROWS && breadth == COLUMNS) return g;
      if (breadth > COLUMNS) breadth = Math.max(COLUMNS, breadth / 2 / COLUMNS * COLUMNS);
      else height = Math.max(5 * ROWS, height / 2 / ROWS * ROWS);
    }
  }

  private static int groups(int rows) {
    return (rows + ROWS - 1) / ROWS;
  }

  private static int padded(int columns) {
    return columns + 15 & -16;
  }

  private static int vectors(int columns) {
    return (columns + 15) / 16;
  }

  /// The bits of the last `columns` mod 16 lanes, of all if there are none.
  private static long mask(int columns) {
    return columns % 16 == 0 ? 0xffff : (1 << columns % 16) - 1;
  }

  // ---- blocks

  /// @param dtype of the memory at y
  private void block(Block block, Block within, int groups, int firstBatch, DType dtype, long y, long pitch, Scratch scratch) {
    int columns = block.columns();
    int full = columns / COLUMNS;
    long at = scratch.floats(GemmTiles.JOB / 4);
    long panels = right == 0 ? scratch.floats((long) padded(columns) * depth) : 0;
    long a =
        direct
            ? c.a().address() + 4 * block.a(m, k, 0, c.ta())
            : left + TERM * ((long) within.batch() * groups + within.row() / ROWS) * k;
    var job = tiles.copy();
    job.set(GemmTiles.Y_PITCH, pitch);
    job.set(GemmTiles.PANELS, full);
    job.set(GemmTiles.LAST, vectors(columns % COLUMNS));
    job.set(GemmTiles.LAST_MASK, mask(columns));
    if (tree) job.set(GemmTiles.SUMS, scratch.floats(GemmTiles.STACK / 4));
    update.ifPresent(u -> u.bind(job, block.column(), columns, scratch));
    for (int from = 0; from < k; from += depth) {
      int terms = Math.min(depth, k - from);
      long b = panels;
      if (right == 0) pack(block.batch(), block.column(), columns, from, terms, panels, scratch);
      else b = right + 4 * ((long) (block.batch() - firstBatch) * k * padded(n) + (long) from * padded(n) + (long) block.column() * terms);
      job.set(GemmTiles.Y, y);
      job.set(GemmTiles.A, a + (!direct ? TERM : c.ta() ? 4L * m : 4) * from);
      job.set(GemmTiles.B, b);
      job.set(GemmTiles.B_PANEL, 4L * COLUMNS * terms);
      job.set(GemmTiles.LAST_B, b + 4L * COLUMNS * full * terms);
      job.set(GemmTiles.M, block.rows());
      job.set(GemmTiles.TERMS, terms);
      job.set(GemmTiles.ADD, c.y().add() || from > 0 ? 1 : 0);
      if (update.isPresent() && from + terms == k) update.get().rank(job, within.row());
      if (tree) GemmCode.tree(job.at(at), pairs, dtype);
      else GemmCode.chain(job.at(at), pairs, dtype);
    }
  }

  /// Packs this term's v for a block of columns.
  private void bind(Job job, int column, int columns, Scratch scratch) {
    long panels = scratch.floats((long) padded(columns) * k);
    pack(0, column, columns, 0, k, panels, scratch);
    job.set(GemmTiles.V, panels);
    job.set(GemmTiles.V_PANEL, 4L * COLUMNS * k);
    job.set(GemmTiles.LAST_V, panels + 4L * COLUMNS * (columns / COLUMNS) * k);
  }

  /// Lets the tiles that follow add this term, from a row of the slab on.
  private void rank(Job job, int row) {
    job.set(GemmTiles.U, left + TERM * (row / ROWS) * k);
    job.set(GemmTiles.U_GROUP, TERM * k);
    job.set(GemmTiles.RANK, k);
  }

  private Job tiles() {
    var job = Job.ofBytes(GemmTiles.JOB);
    job.set(GemmTiles.A_PITCH, direct && !c.ta() ? 4L * k : 4);
    job.set(GemmTiles.A_STEP, !direct ? TERM : tree ? 4L * leaves : c.ta() ? 4L * m : 4);
    job.set(GemmTiles.A_GROUP, !direct ? TERM * k : c.ta() ? 4L * ROWS : 4L * ROWS * k);
    job.set(GemmTiles.ALPHA, Float.floatToRawIntBits(c.alpha()));
    for (int t = 0; tree && t < leaves; t++) {
      int leaf = GemmTiles.LEAVES + 24 * t;
      job.set(leaf, first[t + 1] - first[t]);
      job.set(leaf + 8, Integer.numberOfTrailingZeros(~t)); // subtrees that end here
      job.set(leaf + 16, direct ? 4L * partial(t) : TERM * first[t]);
    }
    return job;
  }

  // ---- packing

  /// Sixteens of terms that lie side by side, for packed terms of so many bytes.
  private Job terms(int terms, long bytes) {
    var job = Job.ofBytes(GemmPacks.JOB);
    job.set(GemmPacks.COUNT, terms / 16);
    job.set(GemmPacks.REST, terms % 16);
    job.set(GemmPacks.REST_MASK, mask(terms));
    job.set(GemmPacks.STEP, 16 / leaves * bytes);
    for (int t = 0; t < leaves; t++) for (int i = 0; i < 16 / leaves; i++) job.set(GemmPacks.OFFSETS + 8 * (partial(t) + i * leaves), bytes * (first[t] + i));
    return job;
  }

  /// All groups of a slab of a.
  private long left(int batch, int batches, int row, int rows) {
    int groups = groups(rows);
    long to = shared.floats((long) batches * groups * k * GemmTiles.PITCH);
    Rows.split(
        workers, (long) batches * groups, (long) ROWS * k,
        (begin, end, scratch) -> {
          for (long g = begin; g < end; ) {
            int count = (int) Math.min(end - g, groups - g % groups); // of one product
            left(batch + (int) (g / groups), row + (int) (g % groups) * ROWS, Math.min(count * ROWS, rows - (int) (g % groups) * ROWS),
                to + TERM * g * k, scratch);
            g += count;
          }
        });
    return to;
  }

  private void left(int batch, int row, int rows, long to, Scratch scratch) {
    var a = c.a();
    var packs = pairs ? GemmCode.pairs() : GemmCode.packs(a.dtype());
    int size = pairs && !c.ta() ? 4 : a.dtype().bytes();
    long at = scratch.floats(GemmPacks.JOB / 4);
    var job = terms.copy();
    job.set(GemmPacks.TO, to);
    job.set(GemmPacks.GROUP, TERM * k);
    job.set(GemmPacks.ALPHA, Float.floatToRawIntBits(tree ? 1 : c.alpha()));
    if (!c.ta()) {
      job.set(GemmPacks.FROM, a.address() + size * ((long) batch * m + row) * k);
      job.set(GemmPacks.FROM_PITCH, (long) size * k);
      job.set(GemmPacks.M, rows);
      job.set(GemmPacks.PAIRS, PAIRS);
      packs.rows(job.at(at));
      return;
    }
    long from = a.address() + size * ((long) batch * c.k() * m + row);
    int whole = rows - rows % ROWS;
    job.set(GemmPacks.FROM, from);
    job.set(GemmPacks.FROM_PITCH, (long) size * m);
    job.set(GemmPacks.COUNT, c.k());
    if (whole > 0) {
      job.set(GemmPacks.M, whole / ROWS);
      job.set(GemmPacks.REST_MASK, (1 << ROWS) - 1);
      packs.columns(job.at(at));
    }
    if (whole < rows) {
      job.set(GemmPacks.FROM, from + (long) size * whole);
      job.set(GemmPacks.TO, to + TERM * (whole / ROWS) * k);
      job.set(GemmPacks.M, 1);
      job.set(GemmPacks.REST_MASK, (1 << rows - whole) - 1);
      packs.columns(job.at(at));
    }
  }

  /// All panels of b: for every cut all columns.
  private long right(int batch, int batches) {
    long to = shared.floats((long) batches * k * padded(n));
    int cuts = (k + depth - 1) / depth;
    int panels = (n + COLUMNS - 1) / COLUMNS;
    workers.run(
        batches * cuts * panels,
        (task, scratch) -> {
          int from = task / panels % cuts * depth;
          int terms = Math.min(depth, k - from);
          int column = task % panels * COLUMNS;
          long at = to + 4 * ((long) (task / panels / cuts) * k * padded(n) + (long) from * padded(n) + (long) column * terms);
          pack(batch + task / panels / cuts, column, Math.min(COLUMNS, n - column), from, terms, at, scratch);
        });
    return to;
  }

  /// Panels of columns [column, column+columns) and terms [from, from+terms).
  private void pack(int batch, int column, int columns, int from, int terms, long to, Scratch scratch) {
    long at = scratch.floats(GemmPacks.JOB / 4);
    var reader = rows.reader(STAGED, c.tb() ? elements(terms) : COLUMNS, scratch);
    for (int col = 0; col < columns; col += COLUMNS) {
      int width = Math.min(COLUMNS, columns - col);
      long panel = to + 4L * col * terms;
      if (c.tb()) turned(at, reader, (long) batch * n + column + col, width, from, terms, panel);
      else lines(at, reader, batch, column + col, width, from, terms, panel);
    }
  }

  private void turned(long at, RightRows.Reader reader, long row, int width, int from, int terms, long panel) {
    var job = terms(terms, 64L * vectors(width));
    for (int v = 0; v < width; v += STAGED) {
      int count = Math.min(STAGED, width - v);
      job.set(GemmPacks.TO, panel + 4L * v);
      job.set(GemmPacks.M, count);
      var dtype = reader.set(job, row + v, count, elements(from), elements(terms));
      GemmCode.packs(pairs ? DType.F32 : dtype).turned(job.at(at), count < STAGED); // a pair is moved as if it were an f32
    }
  }

  private void lines(long at, RightRows.Reader reader, int batch, int column, int width, int from, int terms, long panel) {
    int step = rows.inPlace() ? terms : STAGED / elements(1);
    var job = Job.ofBytes(GemmPacks.JOB);
    job.set(GemmPacks.REST_MASK, mask(width));
    for (int i = 0; i < terms; i += step) {
      int first = elements(from + i);
      int count = Math.min(elements(Math.min(step, terms - i)), c.k() - first);
      job.set(GemmPacks.TO, panel + 64L * vectors(width) * i);
      job.set(GemmPacks.COUNT, count);
      var dtype = reader.set(job, (long) batch * c.k() + first, count, column, width);
      var packs = pairs ? GemmCode.pairs() : GemmCode.packs(dtype);
      packs.lines(job.at(at), vectors(width));
    }
  }

  private int elements(int terms) {
    return pairs ? 2 * terms : terms;
  }

  private static long pairs() {
    var places = GemmPacks.pairs();
    long at = java.lang.foreign.Arena.global().allocate(4L * places.length, 64).address();
    for (int i = 0; i < places.length; i++) Memory.i32(at + 4L * i, places[i]);
    return at;
  }
}
