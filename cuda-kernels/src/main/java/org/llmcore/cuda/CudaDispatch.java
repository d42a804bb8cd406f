package org.llmcore.cuda;

import org.llmcore.InvalidInput;
import org.llmcore.op.AdamW;
import org.llmcore.op.Attention;
import org.llmcore.op.Binary;
import org.llmcore.op.CrossEntropy;
import org.llmcore.op.Custom;
import org.llmcore.op.Dropout;
import org.llmcore.op.Embedding;
import org.llmcore.op.GradientNorm;
import org.llmcore.op.Kernel;
import org.llmcore.op.MatMul;
import org.llmcore.op.Move;
import org.llmcore.op.QuantMatMul;
import org.llmcore.op.Reduce;
import org.llmcore.op.RmsNorm;
import org.llmcore.op.Rope;
import org.llmcore.op.Sink;
import org.llmcore.op.Softmax;
import org.llmcore.op.SwiGlu;
import org.llmcore.op.Unary;
import org.llmcore.tensor.Tensor;

/// The launch table: which kernel runs for which record, with which geometry, and its arguments in order. The kernels are in
/// `src/main/cuda/<family>.cu`; the heads of those files say what they compute and why the geometry is what it is.
final class CudaDispatch {
  private static final int ROW_THREADS = 128;
  private static final int TILE = 64;
  private static final int MOST_BATCHES = 65535; // of a grid's third dimension; the kernel strides over the rest

  private CudaDispatch() {}

  static void run(Launch l, Kernel kernel) {
    switch (kernel) {
      case Move.Fill k -> l.of("move", "move_fill").over(k.y().elements()).tensor(k.y()).i64(k.y().elements()).f32(k.value()).run();
      case Move.Copy k -> l.of("move", "move_copy").over(k.x().elements()).sink(k.y()).tensor(k.x()).i64(k.x().elements()).run();
      case Move.Permute k -> l.of("move", "move_permute").over(k.x().elements()).sink(k.y()).tensor(k.x()).i64(k.x().elements())
          .struct(Broadcast.dims(k.y().tensor().shape())).struct(Broadcast.permuted(k.x().shape(), k.axes())).run();
      case Move.Take k -> window(l, k.y(), k.x(), k.y().tensor(), k.x(), k.axis(), k.from(), true);
      case Move.Put k -> window(l, k.y(), k.x(), k.x(), k.y().tensor(), k.axis(), k.from(), false);

      case Unary.Forward k -> l.of("unary", "unary_forward").over(k.x().elements()).tensor(k.y()).tensor(k.x()).i64(k.x().elements()).i32(k.f().ordinal()).run();
      case Unary.Backward k -> {
        if (k.dx().wanted()) l.of("unary", "unary_backward").over(k.x().elements()).sink(k.dx()).tensor(k.dy()).tensor(k.x()).tensor(k.y())
            .i64(k.x().elements()).i32(k.f().ordinal()).run();
      }

      case Binary.Forward k -> l.of("binary", "binary_forward").over(k.y().elements()).tensor(k.y()).tensor(k.a()).tensor(k.b()).i64(k.y().elements())
          .struct(Broadcast.dims(k.y().shape())).struct(Broadcast.strides(k.a().shape(), k.y().shape())).struct(Broadcast.strides(k.b().shape(), k.y().shape()))
          .i32(k.f().ordinal()).run();
      case Binary.Backward k -> {
        operand(l, k, k.da(), k.a(), false);
        operand(l, k, k.db(), k.b(), true);
      }

      case Reduce.Forward k -> {
        int count = k.x().dim(k.axis());
        int inner = inner(k.x(), k.axis());
        if (inner == 1) l.of("reduce", "reduce_rows").grid(k.y().elements(), 1, 1).threads(ROW_THREADS).tensor(k.y()).tensor(k.x()).i32(count).i32(k.f().ordinal()).run();
        else l.of("reduce", "reduce_columns").over(k.y().elements()).tensor(k.y()).tensor(k.x()).i64(k.y().elements()).i32(count).i64(inner).i32(k.f().ordinal()).run();
      }
      case Reduce.Backward k -> {
        int count = k.x().dim(k.axis());
        int inner = inner(k.x(), k.axis());
        if (!k.dx().wanted()) return;
        if (k.f() == Reduce.Function.MAX) l.of("reduce", "reduce_spread_max").over(k.dy().elements()).sink(k.dx()).tensor(k.dy()).tensor(k.x()).tensor(k.y())
            .i64(k.dy().elements()).i32(count).i64(inner).run();
        else l.of("reduce", "reduce_spread").over(k.x().elements()).sink(k.dx()).tensor(k.dy()).i64(k.x().elements()).i32(count).i64(inner).i32(k.f().ordinal()).run();
      }

      case Softmax.Forward k -> l.of("softmax", "softmax_forward").grid(k.x().rows(), 1, 1).threads(ROW_THREADS).tensor(k.y()).tensor(k.x())
          .i32(k.x().columns()).flag(k.log()).run();
      case Softmax.Backward k -> {
        if (k.dx().wanted()) l.of("softmax", "softmax_backward").grid(k.y().rows(), 1, 1).threads(ROW_THREADS).sink(k.dx()).tensor(k.dy()).tensor(k.y())
            .i32(k.y().columns()).flag(k.log()).run();
      }

      case Dropout.Mask k -> l.of("dropout", "dropout_mask").over(k.x().elements()).sink(k.y()).tensor(k.x()).i64(k.x().elements())
          .i64(k.key()).i32((int) Math.ceil((double) k.rate() * 0x1p24)).f32(1 / (1 - k.rate())).run();

      case MatMul.Product k -> l.of("matmul_plain", "matmul_plain").grid(tiles(k.m()), tiles(k.n()), Math.min(k.batch(), MOST_BATCHES))
          .sink(k.y()).tensor(k.a()).tensor(k.b()).i32(k.m()).i32(k.n()).i32(k.k()).i32(k.batch()).flag(k.ta()).flag(k.tb()).f32(k.alpha()).run();

      case AdamW.Step _ -> throw missing("AdamW");
      case Attention _ -> throw missing("Attention");
      case CrossEntropy _ -> throw missing("CrossEntropy");
      case Embedding _ -> throw missing("Embedding");
      case GradientNorm _ -> throw missing("GradientNorm");
      case RmsNorm _ -> throw missing("RmsNorm");
      case Rope _ -> throw missing("Rope");
      case SwiGlu _ -> throw missing("SwiGlu");
      case QuantMatMul _ -> throw missing("QuantMatMul");
      case Custom k -> throw missing("the operator " + k.getClass().getSimpleName());
    }
  }

  private static InvalidInput missing(String operator) {
    return new InvalidInput(operator + " has no CUDA kernel", "use --device cpu");
  }

  private static int inner(Tensor x, int axis) {
    return x.shape().span(axis + 1, x.shape().rank());
  }

  private static int tiles(int n) {
    return (n + TILE - 1) / TILE;
  }

  /// Every run of consecutive elements of `small` is one of `large` too, one span apart.
  private static void window(Launch l, Sink y, Tensor x, Tensor small, Tensor large, int axis, int from, boolean take) {
    long inner = inner(large, axis);
    l.of("move", "move_window").over(small.elements()).sink(y).tensor(x).i64(small.elements())
        .i64(small.dim(axis) * inner).i64(large.dim(axis) * inner).i64(from * inner).flag(take).run();
  }

  private static void operand(Launch l, Binary.Backward k, Sink g, Tensor own, boolean second) {
    if (!g.wanted()) return;
    var y = k.dy().shape();
    l.of("binary", "binary_backward").over(own.elements()).sink(g).tensor(k.dy()).tensor(k.a()).tensor(k.b()).i64(own.elements())
        .i64(own.elements() == 0 ? 0 : y.elements() / own.elements())
        .struct(Broadcast.dims(own.shape())).struct(Broadcast.over(own.shape(), y)).struct(Broadcast.strides(y, y))
        .struct(Broadcast.strides(k.a().shape(), y)).struct(Broadcast.strides(k.b().shape(), y)).i32(k.f().ordinal()).flag(second).run();
  }
}
