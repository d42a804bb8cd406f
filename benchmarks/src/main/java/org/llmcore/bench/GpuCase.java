package org.llmcore.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.BiFunction;
import java.util.stream.IntStream;

import org.llmcore.checkpoint.LlamaConfig;
import org.llmcore.op.AdamW;
import org.llmcore.op.Attention;
import org.llmcore.op.Binary;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Dropout;
import org.llmcore.op.GradientNorm;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.Move;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Rope;
import org.llmcore.op.Sink;
import org.llmcore.op.SwiGlu;
import org.llmcore.op.TopK;
import org.llmcore.tensor.BlockType;
import org.llmcore.tensor.Blocks;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Nf4;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

import static org.llmcore.tensor.DType.F32;
import static org.llmcore.tensor.DType.I32;

/// One kernel at the shape a model of some size gives it.
///
/// @param flops of one call, 0 where bytes are the measure
/// @param bytes one call must move
/// @param copies kernels on memory of their own that take turns, so that weights a model reads once a step do not stay in the GPU's cache here
record GpuCase(String name, double flops, double bytes, int copies, BiFunction<Region, Noise, Kernel> kernel) {
  private static final double OUT_OF_CACHE = 256e6; // bytes: five times the cache of an H100

  GpuCase(String name, double flops, double bytes, BiFunction<Region, Noise, Kernel> kernel) {
    this(name, flops, bytes, 1, kernel);
  }

  /// The same with so many copies that the cache does not hold them all; toys, of which that would be more than 64, stay as they are.
  private GpuCase outOfCache() {
    double enough = Math.ceil(OUT_OF_CACHE / bytes);
    return enough > 64 ? this : new GpuCase(name, flops, bytes, (int) enough, kernel);
  }

  /// The kernels, each on memory of its own.
  List<Kernel> kernels(Region region, Noise noise) {
    return IntStream.range(0, copies).mapToObj(_ -> kernel.apply(region, noise)).toList();
  }

  private static final int DECODE_CONTEXT = 2048;

  /// All cases of a size: the products of a layer forward and backward, attention, the row-wise kernels, AdamW, and products of
  /// few and of many rows with weights in few bits.
  static List<GpuCase> of(GpuSize s) {
    var out = new ArrayList<GpuCase>();
    var c = s.config();
    int t = s.tokens();
    var d = s.dtype();
    products(out, d, t, c.hidden(), c.hidden());
    products(out, d, t, c.intermediate(), c.hidden());
    for (int rows : new int[] {1, 8, 32, 64}) {
      out.add(product("decode " + rows, d, rows, c.intermediate(), c.hidden(), 0).outOfCache());
      out.add(product("decode " + rows, d, rows, c.hidden(), c.hidden(), 0).outOfCache());
    }
    adapters(out, s, 8);
    attention(out, s);
    rows(out, s);
    for (var form : List.of("4 bits", "3 bits", "8 bits", "nf4", "nf4 double", "Q8_0", "Q4_0", "Q4_K", "Q6_K")) {
      for (int rows : new int[] {1, 8, 32, Math.min(t, 4096)}) out.add(quantized(form, d, rows, align(c.intermediate()), align(c.hidden())));
    }
    return out;
  }

  private static int align(int n) {
    return (n + 255) / 256 * 256;
  }

  private static void products(List<GpuCase> out, DType d, int t, int n, int k) {
    out.add(product("forward", d, t, n, k, 0));
    out.add(product("dx", d, t, n, k, 1));
    out.add(product("dw", d, t, n, k, 2));
  }

  /// @param which 0 y = x·Wᵀ, 1 dx = dy·W, 2 dW = dyᵀ·x in f32
  private static GpuCase product(String name, DType d, int t, int n, int k, int which) {
    double size = d.bytes() * ((double) t * k + (double) n * k + (double) t * n);
    var title = String.format(Locale.ROOT, "matmul %s %s %dx%dx%d", name, d, t, n, k);
    return new GpuCase(title, 2.0 * t * n * k, size, (r, noise) -> {
      var x = noise.carve(r, d, t, k);
      var w = which == 2 ? noise.carve(r, F32, n, k) : noise.carve(r, d, n, k);
      var y = noise.carve(r, d, t, n);
      return switch (which) {
        case 0 -> new MatMul.Product(Sink.write(y), x, w, false, true, 1);
        case 1 -> new MatMul.Product(Sink.write(x), y, w, false, false, 1);
        default -> new MatMul.Product(Sink.write(w), y, x, true, false, 1);
      };
    });
  }

  /// What an adapter of rank r adds to a linear layer: u = x·Aᵀ, y += u·Bᵀ by itself or with its product, forward and backward, and the gradient of A.
  private static void adapters(List<GpuCase> out, GpuSize s, int r) {
    int t = s.tokens();
    int h = s.config().hidden();
    var d = s.dtype();
    double x = (double) d.bytes() * t * h;
    out.add(new GpuCase("adapter down", 0, x, (g, n) -> new MatMul.Product(Sink.write(n.carve(g, d, t, r)), n.carve(g, d, t, h), n.carve(g, F32, r, h), false, true, 1)));
    out.add(new GpuCase("adapter up", 0, 2 * x, (g, n) -> new MatMul.Product(Sink.add(n.carve(g, d, t, h)), n.carve(g, d, t, r), n.carve(g, F32, r, h), false, false, 2e-3f)));
    for (boolean forward : new boolean[] {true, false}) {
      out.add(new GpuCase(forward ? "adapted forward" : "adapted dx", 2.0 * t * h * (h + r), 2 * x + (double) d.bytes() * h * h,
          (g, n) -> new MatMul.LowRank(Sink.write(n.carve(g, d, t, h)), n.carve(g, d, t, h), n.carve(g, d, h, h), forward, n.carve(g, d, t, r), n.carve(g, F32, r, h), 2)));
    }
    out.add(new GpuCase("adapter gradient", 0, x, (g, n) -> new MatMul.Product(Sink.write(n.carve(g, F32, r, h)), n.carve(g, d, t, r), n.carve(g, d, t, h), true, false, 1)));
  }

  private static Tensor starts(Region r, GpuSize s) {
    var starts = new int[s.batch() + 1];
    for (int i = 0; i <= s.batch(); i++) starts[i] = i * s.length();
    return r.carve(I32, Shape.of(starts.length)).set(starts);
  }

  private static void attention(List<GpuCase> out, GpuSize s) {
    var c = s.config();
    int t = s.tokens();
    int width = c.headDim();
    var d = s.dtype();
    float scale = (float) (1 / Math.sqrt(width));
    double pairs = (double) s.batch() * s.length() * (s.length() + 1) / 2 * c.heads();
    double moved = (double) d.bytes() * t * width * (2 * c.heads() + 2 * c.kvHeads());
    out.add(new GpuCase("attention forward " + s.batch() + "x" + s.length(), 4 * pairs * width, moved,
        (r, noise) -> new Attention.Forward(noise.carve(r, d, t, c.heads(), width), noise.carve(r, F32, t, c.heads()),
            noise.carve(r, d, t, c.heads(), width), noise.carve(r, d, t, c.kvHeads(), width), noise.carve(r, d, t, c.kvHeads(), width), starts(r, s),
            scale, true)));
    out.add(new GpuCase("attention backward " + s.batch() + "x" + s.length(), 10 * pairs * width, 2 * moved, (r, noise) -> {
      var o = noise.carve(r, d, t, c.heads(), width);
      var lse = r.carve(F32, Shape.of(t, c.heads())); // 0: the scores are small, so are the probabilities
      return new Attention.Backward(Sink.write(noise.carve(r, d, t, c.heads(), width)), Sink.write(noise.carve(r, d, t, c.kvHeads(), width)),
          Sink.write(noise.carve(r, d, t, c.kvHeads(), width)), noise.carve(r, d, t, c.heads(), width), o, lse,
          noise.carve(r, d, t, c.heads(), width), noise.carve(r, d, t, c.kvHeads(), width), noise.carve(r, d, t, c.kvHeads(), width), starts(r, s),
          scale, true);
    }));
    for (int sequences : new int[] {1, 32}) {
      int n = Math.min(DECODE_CONTEXT, c.contextLength());
      int page = Math.min(64, n);
      int pages = n / page;
      double cache = 2.0 * d.bytes() * sequences * n * c.kvHeads() * width;
      out.add(new GpuCase("attention decode " + sequences + " sequences of " + n, 0, cache, (r, noise) -> {
        var blocks = new int[sequences * pages];
        var begins = new int[sequences + 1];
        var lengths = new int[sequences];
        for (int i = 0; i < blocks.length; i++) blocks[i] = i;
        for (int i = 0; i <= sequences; i++) begins[i] = i;
        Arrays.fill(lengths, n);
        return new Attention.Decode(noise.carve(r, d, sequences, c.heads(), width), noise.carve(r, d, sequences, c.heads(), width),
            noise.carve(r, d, sequences * pages, page, c.kvHeads(), width), noise.carve(r, d, sequences * pages, page, c.kvHeads(), width),
            ints(r, blocks).reshape(sequences, pages), ints(r, begins), ints(r, lengths), scale);
      }));
    }
  }

  private static Tensor ints(Region r, int... values) {
    return r.carve(I32, Shape.of(values.length)).set(values);
  }

  private static void rows(List<GpuCase> out, GpuSize s) {
    LlamaConfig c = s.config();
    int t = s.tokens();
    int h = c.hidden();
    int f = c.intermediate();
    int v = c.vocabulary();
    int z = Math.min(t, 2048);
    var d = s.dtype();
    double one = (double) d.bytes() * t * h;
    double wide = (double) d.bytes() * t * f;
    for (int columns : new int[] {f, h, h / 2}) { // as many bytes as what is compared with it moves: a short kernel begins and ends as often as a long one
      out.add(new GpuCase("copy " + t + "x" + columns, 0, 2.0 * d.bytes() * t * columns, (r, n) -> new Move.Copy(Sink.write(n.carve(r, d, t, columns)), n.carve(r, d, t, columns))));
    }
    out.add(new GpuCase("sum", 0, 3 * one, (r, n) -> new Binary.Forward(n.carve(r, d, t, h), n.carve(r, d, t, h), n.carve(r, d, t, h), Binary.Function.ADD)));
    out.add(new GpuCase("sum backward, one side", 0, 2 * one, (r, n) -> {
      var a = n.carve(r, d, t, h);
      return new Binary.Backward(Sink.write(n.carve(r, d, t, h)), Sink.NONE, n.carve(r, d, t, h), a, a, Binary.Function.ADD);
    }));
    out.add(new GpuCase("dropout", 0, 2 * one, (r, n) -> new Dropout.Mask(Sink.write(n.carve(r, d, t, h)), n.carve(r, d, t, h), 0.05f, 1, 0)));
    out.add(new GpuCase("rms norm forward", 0, 2 * one, (r, n) -> new RmsNorm.Forward(n.carve(r, d, t, h), n.carve(r, F32, t), n.carve(r, d, t, h), n.carve(r, d, h), 1e-5f)));
    out.add(new GpuCase("rms norm backward", 0, 3 * one,
        (r, n) -> new RmsNorm.Backward(Sink.write(n.carve(r, d, t, h)), Sink.NONE, n.carve(r, d, t, h), n.carve(r, d, t, h), n.carve(r, d, h), n.carve(r, F32, t))));
    out.add(new GpuCase("rope", 0, 2 * one, (r, n) -> {
      var x = n.carve(r, d, t, c.heads(), c.headDim());
      return new Rope.Rotate(Sink.write(x), x, n.carve(r, I32, t), n.carve(r, F32, 64, c.headDim()), Rope.Pairing.HALVES, false);
    }));
    out.add(new GpuCase("swiglu forward", 0, 3 * wide, (r, n) -> new SwiGlu.Forward(n.carve(r, d, t, f), n.carve(r, d, t, f), n.carve(r, d, t, f))));
    out.add(new GpuCase("swiglu backward", 0, 5 * wide,
        (r, n) -> new SwiGlu.Backward(Sink.write(n.carve(r, d, t, f)), Sink.write(n.carve(r, d, t, f)), n.carve(r, d, t, f), n.carve(r, d, t, f), n.carve(r, d, t, f))));
    out.add(new GpuCase("cross entropy fused", 0, 3.0 * d.bytes() * z * v,
        (r, n) -> {
          var logits = n.carve(r, d, z, v);
          return new CrossEntropy.Fused(n.carve(r, F32, z), logits, logits, n.carve(r, I32, z), 1e-3f);
        }));
    for (int rows : new int[] {1, 32}) {
      out.add(new GpuCase("top " + TopK.MOST + " of " + rows + "x" + v, 0, 4.0 * rows * v,
          (r, n) -> new TopK.Forward(r.carve(F32, Shape.of(rows, TopK.MOST)), r.carve(I32, Shape.of(rows, TopK.MOST)), r.carve(F32, Shape.of(rows)),
              n.carve(r, F32, rows, v), ones(r, rows), v)));
    }
    out.add(new GpuCase("adamw", 0, 28.0 * h * f, (r, n) -> {
      var w = n.carve(r, F32, f, h);
      var m = r.carve(F32, Shape.of(f, h));
      var u = r.carve(F32, Shape.of(f, h));
      return new AdamW.Step(w, w, m, u, n.carve(r, F32, f, h), n.carve(r, F32, 1), 1e-6f, 0.9f, 0.999f, 1e-8f, 0, 1);
    }));
    out.add(new GpuCase("gradient norm", 0, 4.0 * h * f, (r, n) -> new GradientNorm.SumOfSquares(r.carve(F32, Shape.of(1)), 0, n.carve(r, F32, f, h))));
  }

  private static GpuCase quantized(String form, DType d, int rows, int n, int k) {
    boolean few = rows <= 16;
    double weights = (double) n * k;
    double bits = switch (form) {
      case "4 bits" -> 4.25;
      case "3 bits" -> 3.25;
      case "8 bits" -> 8.25;
      case "nf4" -> 4.5;
      case "nf4 double" -> 4.127;
      default -> 8.0 * BlockType.valueOf(form).bytes() / BlockType.valueOf(form).weights();
    };
    var title = String.format(Locale.ROOT, "quantized %s %dx%dx%d", form, rows, n, k);
    return new GpuCase(title, few ? 0 : 2.0 * rows * weights, weights * bits / 8 + (double) d.bytes() * rows * (n + k),
        (r, noise) -> new QuantMatMul.Product(Sink.write(noise.carve(r, d, rows, n)), noise.carve(r, d, rows, k), matrix(form, r, noise, n, k), true))
        .outOfCache();
  }

  /// Random codes; scales are what bytes below 64 make of an f16: small and finite.
  private static QuantMatrix matrix(String form, Region r, Noise noise, int n, int k) {
    QuantMatrix w = switch (form) {
      case "4 bits", "3 bits", "8 bits" -> Grouped.carve(r, n, k, form.charAt(0) - '0', Math.min(128, k), DType.F16, false);
      case "nf4" -> Nf4.carve(r, n, k, false);
      case "nf4 double" -> Nf4.carve(r, n, k, true);
      default -> Blocks.carve(r, BlockType.valueOf(form), n, k);
    };
    w.parts().forEach(p -> noise.fill(p.tensor()));
    return w;
  }

  private static Tensor ones(Region region, int n) {
    var values = new float[n];
    Arrays.fill(values, 1);
    return region.carve(F32, Shape.of(n)).set(values);
  }
}
