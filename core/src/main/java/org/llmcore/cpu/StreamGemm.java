package org.llmcore.cpu;

import java.lang.invoke.MethodHandle;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;

import org.llmcore.cpu.StreamCode.Use;
import org.llmcore.tensor.BlockType;
import org.llmcore.tensor.DType;

/// Blocks of y (+)= alpha·a·bᵀ for the few rows of a when decoding, by machine code that streams b (`StreamCode`): the bits of
/// `DotGemm`, which does what this does not (`of`); pairs of bf16 in the order of `Avx512Gemm`, b rounded to bf16 where it is in few bits.
final class StreamGemm {
  private static final int SHORT = DotGemm.BREADTH;
  private static final int LONG = 4 * SHORT; // from here on, streams are as fast as they get
  private static final int AHEAD = 2048; // bytes to fetch ahead in every stream

  /// Functions by form, written at first use; they live as long as the process.
  private static final ConcurrentHashMap<Variant, MethodHandle> FUNCTIONS = new ConcurrentHashMap<>();

  private record Variant(StreamForm form, Use use) {}

  private final Gemm c;
  private final long a;
  private final StreamForm form;
  private final Use use;
  private final int k; // elements of a row of a as the form counts them
  private final int step; // floats from row to row
  private final MethodHandle function;

  private StreamGemm(Gemm c, long a, StreamForm form, Use use, int k, int step) {
    this.c = c;
    this.a = a;
    this.form = form;
    this.use = use;
    this.k = k;
    this.step = step;
    function = function(form, use);
  }

  /// The function of a form and a use: its argument is the address of a frame.
  static MethodHandle function(StreamForm form, Use use) {
    return FUNCTIONS.computeIfAbsent(new Variant(form, use), v -> StreamCode.of(v.form, v.use));
  }

  /// Whether there is code for this product.
  static boolean takes(Lanes lanes, Gemm c) {
    return lanes.emitted() && c.k() > 0 && form(c.b()).isPresent();
  }

  /// The code for a product that it `takes`.
  /// @param a the left operand as f32
  static StreamGemm of(Gemm c, long a) {
    return new StreamGemm(c, a, form(c.b()).orElseThrow(), Use.MULTIPLY, c.k(), c.k());
  }

  /// The code for a product that `Avx512Gemm.takesPairs` and this `takes`, where a lies.
  static StreamGemm ofPairs(Gemm c) {
    int floats = c.k() / 2;
    if (c.b() instanceof Right.Dense) return new StreamGemm(c, c.a().address(), new PairStream(), Use.MULTIPLY, floats, floats);
    return new StreamGemm(c, c.a().address(), form(c.b()).orElseThrow(), Use.MULTIPLY_PAIRS, c.k(), floats);
  }

  /// The code of `form` for a packed by `Int8Code`.
  static StreamGemm ofInt8(Gemm c, long a, Int8Stream form) {
    return new StreamGemm(c, a, form, Use.MULTIPLY, Int8Code.bytes(form.layout(), c.k()) / 4, Int8Code.pitch(form.layout(), c.k()) / 4);
  }

  /// How code reads b, if there is some.
  static Optional<StreamForm> form(Right b) {
    return switch (b) {
      case Right.Dense d -> Optional.of(new DenseStream(d.t().dtype()));
      case GroupedRight g -> GroupedStream.handles(g) ? Optional.of(new GroupedStream(g.bits(), g.scaleType())) : Optional.empty();
      case Nf4Right f -> Nf4Stream.handles(f) ? Optional.of(new Nf4Stream(f.nested())) : Optional.empty();
      case BlocksRight q -> Optional.of(q.w().type().weights() == BlockType.Q4_K.weights() ? new SuperBlockStream(q.w().type()) : new BlockStream(q.w().type()));
    };
  }

  /// Columns of a block: two blocks for each worker, if they are not too short for streams to come up to speed.
  static int breadth(int n, int workers) {
    return Math.clamp(n / (2 * workers), SHORT, LONG) / 4 * 4;
  }

  /// One block, into f32 memory whose rows are `pitch` bytes apart.
  void run(Block block, long y, long pitch, Scratch scratch) {
    long at = scratch.floats(StreamCode.BYTES / 4);
    var frame = Job.ofBytes(StreamCode.VECTORS);
    long left = a + 4 * block.a(c.m(), step, 0, false);
    long first = block.b(c.n(), c.k(), 0, true) / c.k();
    for (int r = 0; r < block.rows(); ) {
      int m = StreamCode.take(block.rows() - r);
      int strip = StreamCode.rows(form, use, m);
      int strips = block.columns() / strip;
      int rest = block.columns() % strip;
      frame(frame, m, left + 4L * r * step, pitch);
      if (strips > 0) call(at, frame, y + r * pitch, first, strip, strips);
      if (rest > 0) call(at, frame, y + r * pitch + 4L * (block.columns() - rest), first + block.columns() - rest, rest, 1);
      r += m;
    }
  }

  private void frame(Job frame, int m, long x, long pitch) {
    frame.set(StreamCode.ROWS, m);
    frame.set(StreamCode.X, x);
    frame.set(StreamCode.X_PITCH, 4L * step);
    frame.set(StreamCode.Y_PITCH, pitch);
    frame.set(StreamCode.ALPHA, Integer.toUnsignedLong(Float.floatToRawIntBits(c.alpha())));
    frame.set(StreamCode.ADD, c.y().add() ? 1 : 0);
    columns(frame, form, k);
  }

  /// Sets how many rounds a row has, and what is left of it.
  static void columns(Job frame, StreamForm form, int k) {
    int tail = k % form.unit();
    frame.set(StreamCode.ROUNDS, k / form.unit());
    frame.set(StreamCode.TAIL, tail);
    frame.set(StreamCode.TAIL_VECTORS, tail / Rows.PARTIALS);
    frame.set(StreamCode.TAIL_MASK, (1 << tail % Rows.PARTIALS) - 1);
  }

  /// `strips` strips of `width` rows of b, the first of which has row `row`.
  private void call(long at, Job frame, long y, long row, int width, int strips) {
    frame.set(StreamCode.Y, y);
    long masks = 0;
    for (int i = 0; i < width; i++) masks |= 1L << 16 * i + i;
    frame.set(StreamCode.Y_MASKS, masks);
    for (int i = 1; i < 4; i++) frame.set(StreamCode.Y_ROW + 8 * (i - 1), 4L * i * strips - 4L * i);
    frame.set(StreamCode.STRIPS, strips);
    form.bind(frame, c.b(), row, width, strips);
    GemmCode.call(function, frame.at(at));
  }

  /// Sets where rows of a matrix lie.
  static void rows(Job frame, Right matrix, long row, int width, int apart) {
    var t = ((Right.Dense) matrix).t();
    long pitch = (long) t.dim(t.shape().rank() - 1) * t.dtype().bytes();
    rows(frame, t.address() + row * pitch, pitch, width, apart);
  }

  /// The same for blocks.
  static void blocks(Job frame, BlocksRight w, long row, int width, int apart) {
    rows(frame, w.codes() + row * w.rowBytes(), w.rowBytes(), width, apart);
  }

  /// Sets where rows of b lie: the first at `address`, in every strip `apart` rows from one another.
  static void rows(Job frame, long address, long pitch, int width, int apart) {
    frame.set(StreamCode.W, address);
    frame.set(StreamCode.W_PITCH, pitch);
    frame.set(StreamCode.AHEAD, AHEAD);
    StreamForm.offsets(frame, StreamCode.W_ROW, width, apart * pitch);
  }
}
