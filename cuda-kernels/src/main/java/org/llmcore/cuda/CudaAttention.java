package org.llmcore.cuda;

import java.util.List;

import org.llmcore.op.Attention;
import org.llmcore.op.Sink;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Tensor;

/// The launch table of attention. Tensor cores where every operand has one dtype of 16 bits and the head width suits 16-byte
/// copies; f32 is never rounded to fit them: it, mixtures and odd widths take the plain kernels. bf16 heads of 64 or 128 columns have kernels of
/// their own on compute capability 9.0, forward and backward, unless `LLM_CUDA_ATTENTION` asks for the others.
final class CudaAttention {
  private static final int THREADS = 128;
  private static final int WIDEST = 128; // columns of the largest tile
  private static final int QUERIES = 128; // rows of a block forward
  private static final int ROWS = 64; // rows of a block backward
  private static final int PASSING = 32; // rows of a tile that passes by them
  private static final int BOX = 64; // columns of a bulk copy
  private static final int SLOTS = 6; // tiles of 128 keys of the ring forward on Hopper
  private static final int OWN = 128; // rows of a block backward there
  private static final int TILE = 64; // rows of a tile there
  private static final int STAGES = 4; // of two tiles each, beside the four of the block's own
  private static final int NUMBERS = 1024; // bytes of a stage for what is known of its queries
  private static final int BARRIERS = 128; // bytes
  private static final int KEYS = 64; // of a tile of the pages
  private static final int PARTITION = 256; // keys whose sum is one term of the fold over the context
  private static final int NARROW = 16; // (query, head) pairs of a block over the pages
  private static final int WIDE = 32;
  private static final int ENOUGH_BLOCKS = 264; // two for each multiprocessor of an H200: more need no split of the context
  private static final long MOST_SCRATCH = 64L << 20;

  private CudaAttention() {}

  static void run(Launch l, Attention kernel) {
    switch (kernel) {
      case Attention.Forward k -> {
        boolean fits = tensorCores(k.scale(), k.q(), k.k(), k.v(), k.o());
        if (fits && asynchronous(l, k.q())) hopper(l, k);
        else if (fits) forward(l, k);
        else plain(l, k);
      }
      case Attention.Backward k -> {
        boolean fits = tensorCores(k.scale(), k.q(), k.k(), k.v(), k.o(), k.dout());
        if (fits && like(k.dq(), k.q()) && like(k.dk(), k.q()) && like(k.dv(), k.q())) backward(l, k);
        else plain(l, k);
      }
      case Attention.Decode k -> {
        if (tensorCores(k.scale(), k.q(), k.keys(), k.values(), k.o())) decode(l, k);
        else plain(l, k);
      }
      case Attention.Store k -> l.of("attention_plain", "attention_store").over(k.x().elements()).tensor(k.pages()).tensor(k.x())
          .pointer(k.slots()).i64(k.x().elements()).i32(k.x().dim(1) * k.x().dim(2)).run();
    }
  }

  private static boolean tensorCores(float scale, Tensor first, Tensor... others) {
    boolean fits = first.dtype() == DType.BF16 || first.dtype() == DType.F16;
    fits &= first.columns() % 8 == 0 && first.columns() <= WIDEST && first.address() % 16 == 0 && scale > 0;
    for (var t : others) fits &= t.dtype() == first.dtype() && t.address() % 16 == 0;
    return fits;
  }

  private static boolean like(Sink gradient, Tensor x) {
    return !gradient.wanted() || gradient.tensor().dtype() == x.dtype() && gradient.tensor().address() % 16 == 0;
  }

  /// Columns of the tiles for heads of this width.
  private static int tile(Tensor q) {
    return q.columns() <= 64 ? 64 : WIDEST;
  }

  private static String named(String kernel, Tensor q) {
    return kernel + "_d" + tile(q);
  }

  /// Tiles of `size` items at most, when rows of `share` items lie in sequences and each is cut on its own.
  private static int tiles(int rows, Tensor starts, int size, int share) {
    return (rows * share - sequences(starts)) / size + sequences(starts);
  }

  private static int sequences(Tensor starts) {
    return (int) starts.elements() - 1;
  }

  private static void forward(Launch l, Attention.Forward k) {
    l.of("attention_mma", named("attention_forward_mma", k.q())).grid(tiles(k.q().dim(0), k.starts(), QUERIES, 1), k.q()
        .dim(1), 1)
        .threads(THREADS).shared(2 * (QUERIES + 2 * KEYS) * tile(k.q())).pointer(k.o()).pointer(k.lse()).tensor(k.q())
        .pointer(k.k())
        .pointer(k.v()).pointer(k.starts()).i32(sequences(k.starts())).i32(k.q().dim(1)).i32(k.k().dim(1)).i32(k.q().dim(2))
        .f32(k.scale()).flag(k.causal()).run();
  }

  private static void backward(Launch l, Attention.Backward k) {
    int rows = k.q().dim(0);
    int heads = k.q().dim(1);
    if (rows == 0) return;
    long stats = l.scratch(8L * rows * heads);
    l.of("attention_backward_mma", "attention_backward_stats").over(16L * rows * heads).i64(stats).pointer(k.dout()).tensor(k.o())
        .pointer(k.lse()).i32(rows).i32(heads).i32(k.q().dim(2)).run();
    if (asynchronous(l, k.q())) hopper(l, k, stats);
    else mma(l, k, stats);
  }

  /// Whether the kernels by wgmma take these operands, of which `tensorCores` says that they fit.
  private static boolean asynchronous(Launch l, Tensor q) {
    return q.dtype() == DType.BF16 && q.columns() == tile(q) && q.dim(0) > 0 && l.device().asynchronousAttention();
  }

  private static void hopper(Launch l, Attention.Forward k) {
    l.of("attention_hopper", named("attention_forward_hopper", k.q()))
        .grid(tiles(k.q().dim(0), k.starts(), QUERIES, 1), k.q().dim(1), 1).threads(3 * THREADS)
        .shared((1 + SLOTS) * 2 * QUERIES * k.q().dim(2) + BARRIERS).pointer(k.o()).pointer(k.lse());
    for (var t : List.of(k.q(), k.k(), k.v())) l.map(matrix(t), BOX, QUERIES);
    l.pointer(k.starts()).i32(sequences(k.starts())).i32(k.q().dim(1)).i32(k.k().dim(1)).f32(k.scale()).flag(k.causal()).run();
  }

  /// All heads of a row side by side.
  private static Tensor matrix(Tensor t) {
    return t.reshape(t.dim(0), t.dim(1) * t.dim(2));
  }

  private static void hopper(Launch l, Attention.Backward k, long stats) {
    int blocks = tiles(k.q().dim(0), k.starts(), OWN, 1);
    int tile = 2 * TILE * k.q().dim(2); // bytes
    if (k.dq().wanted()) mapped(l.of("attention_backward_hopper", named("attention_backward_q_hopper", k.q()))
        .grid(blocks, k.q().dim(1), 1).shared((4 + 2 * STAGES) * tile + BARRIERS).pointer(k.dq()).flag(k.dq().add()), k, stats);
    if (k.dk().wanted() || k.dv().wanted()) mapped(
        l.of("attention_backward_hopper", named("attention_backward_kv_hopper", k.q())).grid(blocks, k.k().dim(1), 1)
            .shared((4 + 2 * STAGES) * tile + STAGES * NUMBERS + BARRIERS).pointer(k.dk()).flag(k.dk().add()).pointer(k.dv())
            .flag(k.dv().add()),
        k, stats);
  }

  /// The arguments that both passes end in.
  private static void mapped(Launch l, Attention.Backward k, long stats) {
    l.threads(3 * THREADS);
    for (var t : List.of(k.q(), k.dout(), k.k(), k.v())) l.map(matrix(t), BOX, TILE);
    l.i64(stats).pointer(k.starts()).i32(sequences(k.starts())).i32(k.q().dim(1)).i32(k.k().dim(1)).f32(k.scale()).flag(k.causal())
        .run();
  }

  private static void mma(Launch l, Attention.Backward k, long stats) {
    int rows = k.q().dim(0);
    int heads = k.q().dim(1);
    int shared = 2 * (2 * ROWS + 4 * PASSING) * tile(k.q());
    if (k.dq().wanted()) l.of("attention_backward_mma", named("attention_backward_q_mma", k.q()))
        .grid(tiles(rows, k.starts(), ROWS, 1), heads, 1).threads(THREADS).shared(shared).pointer(k.dq()).flag(k.dq().add())
        .pointer(k.dout()).i64(stats).tensor(k.q()).pointer(k.k()).pointer(k.v()).pointer(k.starts()).i32(sequences(k.starts()))
        .i32(heads).i32(k.k().dim(1)).i32(k.q().dim(2)).f32(k.scale()).flag(k.causal()).run();
    if (k.dk().wanted() || k.dv().wanted()) l.of("attention_backward_mma", named("attention_backward_kv_mma", k.q()))
        .grid(tiles(rows, k.starts(), ROWS, 1), k.k().dim(1), 1).threads(THREADS).shared(shared + 2 * PASSING * 8).pointer(k.dk())
        .flag(k.dk().add()).pointer(k.dv()).flag(k.dv().add()).pointer(k.dout()).i64(stats).tensor(k.q()).pointer(k.k())
        .pointer(k.v())
        .pointer(k.starts()).i32(sequences(k.starts())).i32(heads).i32(k.k().dim(1)).i32(k.q().dim(2)).f32(k.scale())
        .flag(k.causal())
        .run();
  }

  /// The sums have one order whatever is chosen here: how many pairs share a block, and whether partitions of the context have
  /// their own.
  private static void decode(Launch l, Attention.Decode k) {
    int rows = k.q().dim(0);
    int heads = k.q().dim(1);
    int groups = k.keys().dim(2);
    int width = k.q().dim(2);
    int share = heads / groups;
    int pairs = (long) rows * share >= (long) WIDE * sequences(k.starts()) ? WIDE : NARROW;
    int blocks = tiles(rows, k.starts(), pairs, share);
    int parts = (int) (((long) k.blocks().dim(1) * k.keys().dim(1) + PARTITION - 1) / PARTITION);
    long terms = (long) rows * heads * parts;
    long topBytes = 8 * (terms + terms % 2); // the sums lie behind them, at a multiple of 16
    long bytes = topBytes + 4 * terms * width;
    boolean split = parts > 1 && blocks * groups < ENOUGH_BLOCKS && bytes <= MOST_SCRATCH;
    long tops = split ? l.scratch(bytes) : 0;
    long sums = split ? tops + topBytes : 0;
    l.of("attention_pages_mma", named(pairs == WIDE ? "attention_pages_wide_mma" : "attention_pages_mma", k.q()))
        .grid(blocks, groups, split ? parts : 1).threads(THREADS)
        .shared(2 * (pairs + 4 * KEYS) * tile(k.q()) + 2 * pairs * KEYS + 4 * 4 * pairs).pointer(k.o()).i64(tops).i64(sums)
        .tensor(k.q()).pointer(k.keys()).pointer(k.values()).pointer(k.blocks()).pointer(k.starts()).pointer(k.lengths())
        .i32(sequences(k.starts())).i32(k.blocks().dim(1)).i32(k.keys().dim(1)).i32(heads).i32(groups).i32(width).f32(k.scale())
        .i32(split ? parts : 0).run();
    if (split) l.of("attention_pages_mma", "attention_pages_merge").grid(((long) rows * heads + 3) / 4, 1, 1).threads(THREADS)
        .tensor(k.o()).i64(tops).i64(sums).pointer(k.starts()).pointer(k.lengths()).i32(sequences(k.starts())).i32(heads)
        .i32(width)
        .i32(parts).run();
  }

  private static void plain(Launch l, Attention.Forward k) {
    l.of("attention_plain", "attention_forward").grid(k.q().dim(0), k.q().dim(1), 1).threads(THREADS)
        .shared(4 * (2 * k.q().dim(2) + THREADS)).tensor(k.o()).pointer(k.lse()).tensor(k.q()).tensor(k.k()).tensor(k.v())
        .pointer(k.starts()).i32(sequences(k.starts())).i32(k.q().dim(1)).i32(k.k().dim(1)).i32(k.q().dim(2)).f32(k.scale())
        .flag(k.causal()).run();
  }

  private static void plain(Launch l, Attention.Backward k) {
    int width = k.q().dim(2);
    if (k.dq().wanted()) l.of("attention_plain", "attention_backward_q").grid(k.q().dim(0), k.q().dim(1), 1).threads(THREADS)
        .shared(4 * (3 * width + THREADS)).sink(k.dq()).tensor(k.dout()).tensor(k.o()).pointer(k.lse()).tensor(k.q())
        .tensor(k.k())
        .tensor(k.v()).pointer(k.starts()).i32(sequences(k.starts())).i32(k.q().dim(1)).i32(k.k().dim(1)).i32(width)
        .f32(k.scale())
        .flag(k.causal()).run();
    if (k.dk().wanted() || k.dv().wanted()) l.of("attention_plain", "attention_backward_kv").grid(k.k().dim(0), k.k().dim(1), 1)
        .threads(THREADS).shared(4 * (4 * width + 2 * THREADS)).sink(k.dk()).sink(k.dv()).tensor(k.dout()).tensor(k.o())
        .pointer(k.lse()).tensor(k.q()).tensor(k.k()).tensor(k.v()).pointer(k.starts()).i32(sequences(k.starts())).i32(k.q()
        .dim(1))
        .i32(k.k().dim(1)).i32(width).f32(k.scale()).flag(k.causal()).run();
  }

  private static void plain(Launch l, Attention.Decode k) {
    l.of("attention_plain", "attention_decode").grid(k.q().dim(0), k.q().dim(1), 1).threads(THREADS)
        .shared(4 * (2 * k.q().dim(2) + THREADS)).tensor(k.o()).tensor(k.q()).tensor(k.keys()).tensor(k.values())
        .pointer(k.blocks())
        .pointer(k.starts()).pointer(k.lengths()).i32(sequences(k.starts())).i32(k.blocks().dim(1)).i32(k.keys().dim(1))
        .i32(k.q().dim(1)).i32(k.keys().dim(2)).i32(k.q().dim(2)).f32(k.scale()).run();
  }
}
