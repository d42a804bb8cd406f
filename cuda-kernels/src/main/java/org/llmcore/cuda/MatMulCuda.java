package org.llmcore.cuda;

import java.util.function.BiFunction;

import org.llmcore.op.MatMul;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Which kernel multiplies two matrices, by dtype, shape, alignment and GPU; one launch line each. From the top, the first
/// that fits:
///
/// | kernel              | a, b                       | when                                                                     |
/// |---------------------|----------------------------|--------------------------------------------------------------------------|
/// | `matmul_few_hopper` | bf16 · bf16                | a·bᵀ, one of them has 64 rows at most (decoding), compute capability 9.0 |
/// | `matmul_stream`     | bf16, and bf16 or f32      | a·bᵀ, and the other operand has 64 rows at most (decoding, LoRA)         |
/// | `matmul_update`     | bf16 · f32                 | a·b of at most 64 terms, y in bf16 (LoRA)                                |
/// | `matmul_outer`      | bf16 · bf16                | aᵀ·b with 64 rows of y at most (gradients of LoRA)                       |
/// | `matmul_hopper`     | bf16 · bf16                | compute capability 9.0                                                   |
/// | `matmul_mma`        | bf16 · bf16, f16 · f16     |                                                                          |
/// | `matmul_mixed`      | f32 · bf16, bf16 · f32     | a is not transposed                                                      |
/// | `matmul_plain`      | f32 · f32, f16 · others, … | no tensor cores: an f32 operand is never rounded                         |
///
/// A product with a low-rank term takes `matmul_hopper` with a step over k more, where that kernel runs; elsewhere it is two products.
///
/// All but `matmul_mma`, `matmul_mixed` and `matmul_plain` need rows and addresses of multiples of 16 bytes, and no batch.
/// Which kernel runs depends on shapes, so a sum may have another order at 64 rows than at 65.
final class MatMulCuda {
  private static final int FEW = 64;
  private static final int TILE = 128;
  private static final int DEEP = 64; // k of a step of matmul_hopper and matmul_few_hopper
  private static final int RANKS = 16; // of a low-rank term, a step
  private static final int PLANE_THREADS = 64;
  private static final int PLAIN_TILE = 64;
  private static final int STRIP = 32; // rows of the large operand that a block of matmul_stream takes
  private static final int LEAST_STRIP = 16; // rows of the large operand that a block of matmul_few_hopper takes: below, the small one is most of what it reads
  private static final int MOST_STRIP = 256; // of wgmma's n
  private static final int OUTER_COLUMNS = 128; // that a block of matmul_outer makes
  private static final int OUTER_BLOCKS = 256;
  private static final int OUTER_TOKENS = 512; // of a part, at least: its rings hold a quarter of them
  private static final int UPDATE_COLUMNS = 256; // of y, a turn of a block of matmul_update
  private static final int UPDATE_ROWS = 64;
  private static final int MOST_BATCHES = 65535; // of a grid's third dimension
  private static final int VECTOR = 16; // bytes
  private static final int STAGES = 64 << 10; // shared memory of matmul_mma, then of matmul_mixed, matmul_few_hopper, matmul_hopper
  private static final int MIXED_STAGES = 72 << 10;
  private static final int FEW_RING = (192 << 10) + 256;
  private static final int RING = (192 << 10) + (20 << 10) + 128;

  private MatMulCuda() {}

  static void run(Launch l, MatMul.Product p) {
    if (p.y().tensor().elements() == 0) return;
    var a = p.a();
    var b = p.b();
    boolean bf16 = a.dtype() == DType.BF16 && b.dtype() == DType.BF16;
    boolean mixed = a.dtype() == DType.F32 && b.dtype() == DType.BF16 || a.dtype() == DType.BF16 && b.dtype() == DType.F32;
    boolean half = a.dtype() != DType.F32 && a.dtype() == b.dtype();
    boolean wide = wide(a) && wide(b) && p.batch() == 1;
    boolean rows = wide && (bf16 || mixed) && !p.ta() && p.tb(); // both operands along k
    if (rows && p.m() <= FEW && b.dtype() == DType.BF16) few(l, p, b, a, 1, p.n());
    else if (rows && p.n() <= FEW && a.dtype() == DType.BF16) few(l, p, a, b, p.n(), 1);
    else if (wide && bf16 && p.ta() && !p.tb() && p.m() <= FEW) outer(l, p);
    else if (update(p)) update(l, p);
    else if (wide && bf16 && many(l, p)) hopper(l, p, "", (kernel, _) -> kernel);
    else if (half && p.batch() <= MOST_BATCHES) tiles(l.of("matmul_mma", "matmul_mma_" + name(a) + form(p)).shared(STAGES), p);
    else if (mixed && !p.ta() && p.batch() <= MOST_BATCHES) tiles(
        l.of("matmul_mixed", "matmul_mixed_" + name(a) + "_" + name(b) + form(p)).shared(MIXED_STAGES), p);
    else plain(l, p);
  }

  /// y (+)= a·op(b) + scale·u·v. The term rides on the product: chunks of 16 of its ranks are a step of 64 k of their own, u beside scale·v
  /// as three bf16 that are exact (`split3`).
  static void run(Launch l, MatMul.LowRank p) {
    var base = p.base();
    boolean bf16 = p.a().dtype() == DType.BF16 && p.b().dtype() == DType.BF16 && p.u().dtype() == DType.BF16 && p.v().dtype() == DType.F32;
    if (!bf16 || !wide(p.a()) || !wide(p.b()) || !wide(p.u()) || base.n() % 8 != 0 || !many(l, base)) {
      run(l, base);
      run(l, p.update());
      return;
    }
    int r = p.u().columns();
    int chunks = (int) count(r, RANKS);
    var planes = p.tb() ? l.scratch(DType.BF16, Shape.of(base.n(), chunks * DEEP)) : l.scratch(DType.BF16, Shape.of(chunks * DEEP, base.n()));
    l.of("matmul_hopper", "matmul_planes").grid(count(base.n(), PLANE_THREADS), chunks, 1).threads(PLANE_THREADS).pointer(planes).pointer(p.v()).i32(r)
        .i32(base.n()).f32(p.scale()).flag(p.tb()).run();
    hopper(l, base, "_low", (kernel, width) -> kernel.map(p.u(), DEEP, TILE).map(planes, DEEP, p.tb() ? width : DEEP).i32(chunks));
  }

  /// Whether a product of bf16 in rows of multiples of 16 bytes is one for wgmma.
  private static boolean wgmma(Launch l, MatMul.Product p) {
    return p.k() > 0 && l.device().capability() == 90;
  }

  /// The same, in tiles of 128 rows.
  private static boolean many(Launch l, MatMul.Product p) {
    return p.m() > FEW && p.n() > FEW && wgmma(l, p);
  }

  private static String name(Tensor t) {
    return switch (t.dtype()) {
      case F32 -> "f32";
      case BF16 -> "bf16";
      case F16 -> "f16";
      default -> throw new IllegalArgumentException("no product of " + t.dtype());
    };
  }

  /// What vendors call the transposition: `_tn` for a·bᵀ, `_nn` for a·b, `_nt` for aᵀ·b, `_tt` for aᵀ·bᵀ.
  private static String form(MatMul.Product p) {
    if (p.ta()) return p.tb() ? "_tt" : "_nt";
    return p.tb() ? "_tn" : "_nn";
  }

  /// Whether all rows begin at multiples of 16 bytes.
  private static boolean wide(Tensor t) {
    return t.address() % VECTOR == 0 && (long) t.columns() * t.dtype().bytes() % VECTOR == 0;
  }

  /// Whether every 8 elements of a row begin at a multiple of 16 bytes.
  private static boolean eights(Tensor y) {
    return y.address() % VECTOR == 0 && y.columns() % 8 == 0;
  }

  private static long count(long n, int each) {
    return (n + each - 1) / each;
  }

  private static void plain(Launch l, MatMul.Product p) {
    l.of("matmul_plain", "matmul_plain")
        .grid(count(p.m(), PLAIN_TILE), count(p.n(), PLAIN_TILE), Math.min(p.batch(), MOST_BATCHES)).sink(p.y()).tensor(p.a())
        .tensor(p.b()).i32(p.m()).i32(p.n()).i32(p.k()).i32(p.batch()).flag(p.ta()).flag(p.tb())
        .f32(p.alpha()).run();
  }

  /// a·bᵀ with few rows on one side. How many does not choose the kernel, so that a row has the same bits alone and among 64.
  ///
  /// @param large the operand that is read once
  /// @param row elements of y from one row of `large` to the next, `column` of `small`
  private static void few(Launch l, MatMul.Product p, Tensor large, Tensor small, long row, long column) {
    if (small.dtype() == DType.BF16 && wgmma(l, p)) strips(l, p, large, small, row, column);
    else stream(l, p, large, small, row, column);
  }

  /// Strips of equal height, one for each multiprocessor, or as many for each as it takes.
  private static void strips(Launch l, MatMul.Product p, Tensor large, Tensor small, long row, long column) {
    int processors = l.device().multiprocessors();
    int blocks = Math.toIntExact(processors * count(large.rows(), MOST_STRIP * processors));
    int strip = Math.max(LEAST_STRIP, 8 * (int) count(large.rows(), 8 * blocks));
    int tile = Math.max(32, Integer.highestOneBit(2 * strip - 1));
    int width = 8 * (int) count(small.rows(), 8);
    l.of("matmul_few_hopper", "matmul_few_hopper_" + tile).grid(count(large.rows(), strip), 1, 1).threads(384).shared(FEW_RING).sink(p.y())
        .map(large, DEEP, strip).map(small, DEEP, width).i32(large.rows()).i32(small.rows()).i32(p.k()).i32(strip).i32(width).i64(row).i64(column)
        .f32(p.alpha()).run();
  }

  private static void stream(Launch l, MatMul.Product p, Tensor large, Tensor small, long row, long column) {
    int width = Math.max(8, Integer.highestOneBit(2 * small.rows() - 1));
    boolean narrow = small.dtype() == DType.BF16 && count(large.rows(), STRIP) < 2L * l.device().multiprocessors();
    int strip = narrow ? STRIP / 2 : STRIP;
    l.of("matmul_skinny", "matmul_stream_" + name(small) + "_" + width + (narrow ? "_narrow" : "")).grid(count(large.rows(), strip), 1, 1)
        .shared(16 * strip * width).sink(p.y()).pointer(large).pointer(small).i32(large.rows()).i32(small.rows()).i32(p.k()).i64(row)
        .i64(column).f32(p.alpha()).run();
  }

  /// Blocks of 128 columns, and enough parts of the tokens for two blocks on each multiprocessor of the largest cards; how many does not depend on the card.
  private static void outer(Launch l, MatMul.Product p) {
    int width = Math.max(16, Integer.highestOneBit(2 * p.m() - 1));
    long across = count(p.n(), OUTER_COLUMNS);
    int parts = (int) Math.clamp(OUTER_BLOCKS / across, 1, Math.max(1, count(p.k(), OUTER_TOKENS)));
    long n = (long) p.m() * p.n();
    long sums = parts == 1 ? 0 : l.scratch(4 * parts * n);
    l.of("matmul_skinny", "matmul_outer_" + width).grid(across, parts, 1).shared(8 * (width < 64 ? 8 : 4) * (32 * width + 1024)).sink(p.y())
        .i64(sums).pointer(p.a()).pointer(p.b()).i32(p.m()).i32(p.n()).i32(p.k()).f32(p.alpha()).run();
    if (parts > 1) l.of("matmul_skinny", "matmul_outer_sum").over(n).sink(p.y()).i64(sums).i64(n).i32(parts).f32(p.alpha()).run();
  }

  private static boolean update(MatMul.Product p) {
    var y = p.y().tensor();
    return !p.ta() && !p.tb() && p.batch() == 1 && p.k() > 0 && p.k() <= FEW && p.a().dtype() == DType.BF16 && y.dtype() == DType.BF16
        && p.b().dtype() == DType.F32 && p.b().address() % VECTOR == 0 && eights(y);
  }

  /// As many blocks as fit at once, each of which walks down a share of the rows.
  private static void update(Launch l, MatMul.Product p) {
    long across = count(p.n(), UPDATE_COLUMNS);
    long down = Math.clamp(2L * l.device().multiprocessors() / across, 1, count(p.m(), UPDATE_ROWS));
    l.of("matmul_skinny", "matmul_update_bf16").grid(across, down, 1).shared(4 * p.k() * (UPDATE_COLUMNS + UPDATE_ROWS)).pointer(p.y()).flag(p.y().add())
        .pointer(p.a()).pointer(p.b()).i32(p.m()).i32(p.k()).i32(p.n()).f32(p.alpha()).run();
  }

  private static void tiles(Launch l, MatMul.Product p) {
    int wide = (wide(p.a()) ? 1 : 0) + (wide(p.b()) ? 2 : 0) + (eights(p.y().tensor()) ? 4 : 0);
    l.grid(count(p.m(), TILE) * count(p.n(), TILE), 1, p.batch()).sink(p.y()).pointer(p.a()).pointer(p.b()).i32(p.m()).i32(p.n())
        .i32(p.k()).i32(wide).f32(p.alpha()).run();
  }

  /// Tiles 256 wide, or 128 where that fills the last wave so much better that the tenth it costs is won back.
  /// @param kind the end of the kernel's name
  /// @param more appends arguments, for a tile of some width
  private static void hopper(Launch l, MatMul.Product p, String kind, BiFunction<Launch, Integer, Launch> more) {
    int processors = l.device().multiprocessors();
    long large = count(p.m(), TILE) * count(p.n(), 2 * TILE);
    long small = count(p.m(), TILE) * count(p.n(), TILE);
    boolean narrow = 11 * count(small, processors) < 20 * count(large, processors);
    int width = narrow ? TILE : 2 * TILE;
    l.of("matmul_hopper", "matmul_hopper" + form(p) + "_" + width + kind)
        .grid(Math.min(narrow ? small : large, processors), 1, 1).threads(384).shared(RING).sink(p.y())
        .map(p.a(), DEEP, p.ta() ? DEEP : TILE).map(p.b(), DEEP, p.tb() ? width : DEEP).i32(p.m()).i32(p.n()).i32(p.k())
        .flag(eights(p.y().tensor())).f32(p.alpha());
    more.apply(l, width).run();
  }
}
