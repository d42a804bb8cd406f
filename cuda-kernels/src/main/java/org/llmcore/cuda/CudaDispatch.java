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
import org.llmcore.op.TopK;
import org.llmcore.op.Unary;
import org.llmcore.tensor.Tensor;

/// The launch table: which kernel runs for which record, with which geometry, and its arguments in order. The kernels are in
/// `src/main/cuda/<family>.cu`; the heads of those files say what they compute and why the geometry is what it is.
final class CudaDispatch {
  private static final int ROW_THREADS = 128;
  private static final int ROPE_HEADS = 4; // that a thread turns
  private static final int NORM_THREADS = 1024; // and the most blocks, whose sums one block adds
  private static final int SQUARES = 32_768; // elements worth a block of their own
  private static final int TOP_THREADS = 1024; // of a row's block

  private CudaDispatch() {}

  static void run(Launch l, Kernel kernel) {
    switch (kernel) {
      case Move.Fill k -> l.of("move", "move_fill").over(eighths(k.y().elements())).tensor(k.y()).i64(k.y().elements())
          .f32(k.value()).run();
      case Move.Copy k -> l.of("move", "move_copy").over(eighths(k.x().elements())).sink(k.y()).tensor(k.x())
          .i64(k.x().elements()).run();
      case Move.Permute k -> l.of("move", "move_permute").over(k.x().elements()).sink(k.y()).tensor(k.x()).i64(k.x().elements())
          .struct(Broadcast.dims(k.y().tensor().shape())).struct(Broadcast.permuted(k.x().shape(), k.axes())).run();
      case Move.Take k -> window(l, k.y(), k.x(), k.y().tensor(), k.x(), k.axis(), k.from(), true);
      case Move.Put k -> window(l, k.y(), k.x(), k.x(), k.y().tensor(), k.axis(), k.from(), false);

      case Unary.Forward k -> l.of("unary", "unary_forward").over(k.x().elements()).tensor(k.y()).tensor(k.x())
          .i64(k.x().elements()).i32(k.f().ordinal()).run();
      case Unary.Backward k -> {
        if (k.dx().wanted()) l.of("unary", "unary_backward").over(k.x().elements()).sink(k.dx()).tensor(k.dy()).tensor(k.x())
            .tensor(k.y()).i64(k.x().elements()).i32(k.f().ordinal()).run();
      }

      case Binary.Forward k -> {
        long n = k.y().elements();
        if (k.a().shape().equals(k.b().shape())) l.of("binary", "binary_forward_flat").over(eighths(n)).tensor(k.y()).tensor(k.a())
            .tensor(k.b()).i64(n).i32(k.f().ordinal()).run();
        else l.of("binary", "binary_forward").over(n).tensor(k.y()).tensor(k.a()).tensor(k.b()).i64(n)
            .struct(Broadcast.dims(k.y().shape())).struct(Broadcast.strides(k.a().shape(), k.y().shape()))
            .struct(Broadcast.strides(k.b().shape(), k.y().shape())).i32(k.f().ordinal()).run();
      }
      case Binary.Backward k -> {
        operand(l, k, k.da(), k.a(), false);
        operand(l, k, k.db(), k.b(), true);
      }

      case Reduce.Forward k -> {
        int count = k.x().dim(k.axis());
        int inner = inner(k.x(), k.axis());
        if (inner == 1) l.of("reduce", "reduce_rows").grid(k.y().elements(), 1, 1).threads(ROW_THREADS).tensor(k.y())
            .tensor(k.x()).i32(count).i32(k.f().ordinal()).run();
        else l.of("reduce", "reduce_columns").over(k.y().elements()).tensor(k.y()).tensor(k.x()).i64(k.y().elements()).i32(count)
            .i64(inner).i32(k.f().ordinal()).run();
      }
      case Reduce.Backward k -> {
        int count = k.x().dim(k.axis());
        int inner = inner(k.x(), k.axis());
        if (!k.dx().wanted()) return;
        if (k.f() == Reduce.Function.MAX) l.of("reduce", "reduce_spread_max").over(k.dy().elements()).sink(k.dx()).tensor(k.dy())
            .tensor(k.x()).tensor(k.y()).i64(k.dy().elements()).i32(count).i64(inner).run();
        else l.of("reduce", "reduce_spread").over(k.x().elements()).sink(k.dx()).tensor(k.dy()).i64(k.x().elements()).i32(count)
            .i64(inner).i32(k.f().ordinal()).run();
      }

      case Softmax.Forward k -> l.of("softmax", "softmax_forward").grid(k.x().rows(), 1, 1).threads(ROW_THREADS).tensor(k.y())
          .tensor(k.x()).i32(k.x().columns()).flag(k.log()).run();
      case Softmax.Backward k -> {
        if (k.dx().wanted()) l.of("softmax", "softmax_backward").grid(k.y().rows(), 1, 1).threads(ROW_THREADS).sink(k.dx())
            .tensor(k.dy()).tensor(k.y()).i32(k.y().columns()).flag(k.log()).run();
      }

      case Dropout.Mask k -> l.of("dropout", "dropout_mask").over(eighths(k.x().elements())).sink(k.y()).tensor(k.x())
          .i64(k.x().elements()).i64(k.key()).i64(k.first()).i32(k.threshold()).f32(1 / (1 - k.rate())).run();

      case MatMul.Product k -> MatMulCuda.run(l, k);
      case MatMul.LowRank k -> MatMulCuda.run(l, k);

      case RmsNorm.Forward k -> l.of("rms_norm", "rms_norm_forward").grid(k.x().rows(), 1, 1).threads(ROW_THREADS)
          .tensor(k.y()).pointer(k.rstd()).tensor(k.x()).tensor(k.w()).i32(k.x().columns()).f32(k.eps()).run();
      case RmsNorm.ForwardAdded k -> l.of("rms_norm", "rms_norm_forward_added").grid(k.h().rows(), 1, 1).threads(ROW_THREADS)
          .tensor(k.y()).pointer(k.rstd()).tensor(k.h()).tensor(k.x()).tensor(k.r()).tensor(k.w()).i32(k.h().columns()).f32(k.eps()).run();
      case RmsNorm.Backward k -> {
        if (k.dx().wanted()) l.of("rms_norm", "rms_norm_backward_x").grid(k.x().rows(), 1, 1).threads(ROW_THREADS).sink(k.dx())
            .tensor(k.dy()).tensor(k.x()).tensor(k.w()).pointer(k.rstd()).i32(k.x().columns()).run();
        if (k.dw().wanted()) l.of("rms_norm", "rms_norm_backward_w").grid((k.x().columns() + 31) / 32, 1, 1).threads(512)
            .sink(k.dw()).tensor(k.dy())
            .tensor(k.x()).pointer(k.rstd()).i32(k.x().rows()).i32(k.x().columns()).run();
      }

      case Rope.Rotate k -> l.of("rope", "rope_rotate").over(k.x().dim(0) * ((k.x().dim(1) + ROPE_HEADS - 1L) / ROPE_HEADS) * eighths(k.x().columns() / 2)).sink(k.y())
          .tensor(k.x())
          .pointer(k.positions()).pointer(k.table()).i64(k.x().dim(0)).i32(k.x().dim(1)).i32(k.x().columns())
          .flag(k.pairing() == Rope.Pairing.NEIGHBOURS).flag(k.inverse()).run();

      case SwiGlu.Forward k -> l.of("swiglu", "swiglu_forward").over(eighths(k.h().elements())).tensor(k.h()).tensor(k.gate())
          .tensor(k.up()).i64(k.h().elements()).run();
      case SwiGlu.Backward k -> l.of("swiglu", "swiglu_backward").over(eighths(k.dh().elements())).sink(k.dgate()).sink(k.dup())
          .tensor(k.dh()).tensor(k.gate()).tensor(k.up()).i64(k.dh().elements()).run();

      case TopK.Forward k -> l.of("top_k", "top_k").grid(k.x().rows(), 1, 1).threads(TOP_THREADS).pointer(k.values()).pointer(k.ids())
          .pointer(k.total()).tensor(k.x()).pointer(k.scale()).i32(k.x().columns()).i32(k.n()).i32(k.k()).run();

      case Embedding.Forward k -> l.of("embedding", "embedding_forward").over(k.y().rows() * eighths(k.y().columns()))
          .tensor(k.y())
          .pointer(k.ids()).tensor(k.table()).i64(k.y().rows()).i32(k.table().columns()).i32(k.table().rows()).run();
      case Embedding.Backward k -> {
        if (!k.dtable().wanted()) return;
        var table = k.dtable().tensor();
        if (!k.dtable().add()) run(l, new Move.Fill(table, 0));
        l.of("embedding", "embedding_backward").grid(k.dy().rows(), (table.columns() + 2047) / 2048, 1).tensor(table)
            .tensor(k.dy()).pointer(k.ids())
            .i32(k.dy().rows()).i32(table.columns()).i32(table.rows()).run();
      }

      case CrossEntropy.Forward k -> l.of("cross_entropy", "cross_entropy_forward").grid(k.z().rows(), 1, 1).pointer(k.loss())
          .pointer(k.lse()).tensor(k.z()).pointer(k.targets()).i32(k.z().columns()).run();
      case CrossEntropy.Backward k -> {
        if (k.dz().wanted()) l.of("cross_entropy", "cross_entropy_backward").grid(k.z().rows(), 1, 1).sink(k.dz())
            .pointer(k.dloss()).tensor(k.z()).pointer(k.lse()).pointer(k.targets()).i32(k.z().columns()).run();
      }
      case CrossEntropy.Fused k -> l.of("cross_entropy", "cross_entropy_fused").grid(k.z().rows(), 1, 1).pointer(k.loss())
          .tensor(k.dz()).tensor(k.z()).pointer(k.targets()).i32(k.z().columns()).f32(k.scale()).run();

      case AdamW.Step k -> {
        double correction1 = 1 - Math.pow(k.beta1(), k.step());
        double correction2 = 1 - Math.pow(k.beta2(), k.step());
        l.of("update", "adamw_step").over(eighths(k.w().elements())).tensor(k.w()).pointer(k.master()).pointer(k.m())
            .pointer(k.v())
            .pointer(k.grad()).pointer(k.clip()).i64(k.w().elements()).f32((float) (1 - (double) k.lr() * k.decay()))
            .f32(k.beta1()).f32((float) (1 - (double) k.beta1())).f32(k.beta2()).f32((float) (1 - (double) k.beta2()))
            .f32((float) (k.lr() / correction1)).f32((float) (1 / Math.sqrt(correction2))).f32(k.eps()).run();
      }
      case GradientNorm.SumOfSquares k -> {
        long sum = k.sums().address() + 4L * k.slot();
        int blocks = (int) Math.clamp((k.x().elements() + SQUARES - 1) / SQUARES, 1, NORM_THREADS);
        long parts = blocks == 1 ? 0 : l.scratch(8L * blocks);
        l.of("update", "gradient_norm_sum").grid(blocks, 1, 1).threads(NORM_THREADS).i64(sum).i64(parts).tensor(k.x())
            .i64(k.x().elements()).run();
        if (blocks > 1) l.of("update", "gradient_norm_total").threads(NORM_THREADS).i64(sum).i64(parts).i32(blocks).run();
      }
      case GradientNorm.Clip k -> l.of("update", "gradient_norm_clip").threads(32).pointer(k.norm()).pointer(k.factor())
          .pointer(k.sums()).i32(k.slots()).f32(k.max()).run();

      case Attention k -> CudaAttention.run(l, k);

      case QuantMatMul k -> CudaQuant.run(l, k);
      case Custom k -> throw missing("the operator " + k.getClass().getSimpleName());
    }
  }

  private static InvalidInput missing(String operator) {
    return new InvalidInput(operator + " has no CUDA kernel", "use --device cpu");
  }

  private static int inner(Tensor x, int axis) {
    return x.shape().span(axis + 1, x.shape().rank());
  }

  /// Threads for n elements, 8 each.
  private static long eighths(long n) {
    return (n + 7) / 8;
  }

  /// Every run of consecutive elements of `small` is one of `large` too, one span apart.
  private static void window(Launch l, Sink y, Tensor x, Tensor small, Tensor large, int axis, int from, boolean take) {
    long inner = inner(large, axis);
    l.of("move", "move_window").over(small.elements()).sink(y).tensor(x).i64(small.elements()).i64(small.dim(axis) * inner)
        .i64(large.dim(axis) * inner).i64(from * inner).flag(take).run();
  }

  private static void operand(Launch l, Binary.Backward k, Sink g, Tensor own, boolean second) {
    if (!g.wanted()) return;
    var y = k.dy().shape();
    if (k.a().shape().equals(k.b().shape())) l.of("binary", "binary_backward_flat").over(eighths(y.elements())).sink(g)
        .tensor(k.dy()).tensor(k.a()).tensor(k.b()).i64(y.elements()).i32(k.f().ordinal()).flag(second).run();
    else l.of("binary", "binary_backward").over(own.elements()).sink(g).tensor(k.dy()).tensor(k.a()).tensor(k.b()).i64(own.elements())
        .i64(own.elements() == 0 ? 0 : y.elements() / own.elements()).struct(Broadcast.dims(own.shape()))
        .struct(Broadcast.over(own.shape(), y)).struct(Broadcast.strides(y, y)).struct(Broadcast.strides(k.a().shape(), y))
        .struct(Broadcast.strides(k.b().shape(), y)).i32(k.f().ordinal()).flag(second).run();
  }
}
