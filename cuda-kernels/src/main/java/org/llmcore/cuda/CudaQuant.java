package org.llmcore.cuda;

import org.llmcore.InvalidInput;
import org.llmcore.op.MatMul;
import org.llmcore.op.QuantMatMul;
import org.llmcore.tensor.Blocks;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Grouped;
import org.llmcore.tensor.Nf4;
import org.llmcore.tensor.QuantMatrix;
import org.llmcore.tensor.Shape;
import org.llmcore.tensor.Tensor;

/// Launches for weights in few bits. Products of up to 16 rows stream the codes once per 4 rows and decode as they multiply; with
/// bf16 activations products of up to 64 rows do so on tensor cores, once per 32, if the form allows. More rows, and the gradient,
/// decode the whole matrix into scratch memory and take the ordinary product: with many rows its 2·rows flops per weight hide the
/// bytes of the scratch.
///
/// The scratch is bf16 where x is, so that the ordinary product takes its tensor-core path, else f32: then the weights are the
/// very bits of `QuantMatrix.get`.
final class CudaQuant {
  private static final int MOST_ROWS = 16;
  private static final int MOST_ROWS_MMA = 64; // of those on tensor cores
  private static final int MMA_WARPS = 8;
  private static final int SLAB = 128; // columns of a step there, which share a scale
  private static final int BLOCKS_SLAB = 256; // of GGML's blocks
  private static final int TILE_ROWS = 4; // ROWS of the _rows kernels
  private static final int THREADS = 128;
  private static final int OUTPUTS = 16; // rows of W of a block of threads
  private static final int CHUNK = 1024; // QUANT_CHUNK of quant.cuh
  private static final int X_BYTES = CHUNK / 32 * 36 * 4; // a row of x in shared memory
  private static final int SLOTS = 2 * OUTPUTS; // two buffers
  private static final int UNIT = 32;

  private CudaQuant() {}

  static void run(Launch l, QuantMatMul kernel) {
    switch (kernel) {
      case QuantMatMul.Dequantize k -> dequantize(l, k.y(), k.w());
      case QuantMatMul.Product k -> {
        if (tensorCores(k)) onTensorCores(l, k);
        else if (k.transposed() && k.x().rows() <= MOST_ROWS && streams(k.w())) few(l, k);
        else many(l, k);
      }
      case QuantMatMul.LowRank k -> {
        run(l, k.base());
        MatMulCuda.run(l, k.update());
      }
      case QuantMatMul.Int8Product _ -> throw new InvalidInput(
          "the CUDA device has no QuantMatMul.Int8Product: activations in eight bits are for CPUs", "leave --int8-activations out, or choose --device cpu");
    }
  }

  /// Whether the kernels for few rows take it: all but NF4 with rows that begin inside a unit of 32.
  private static boolean streams(QuantMatrix w) {
    return !(w instanceof Nf4) || w.inputs() % UNIT == 0;
  }

  /// Up to 64 rows of bf16, 16 bytes of x at a time, and a form whose values are exact there: codes less their zeros in groups of whole slabs, the planes of
  /// NF4's levels in blocks that no row shares, GGML's codes.
  private static boolean tensorCores(QuantMatMul.Product k) {
    if (!k.transposed() || k.x().rows() > MOST_ROWS_MMA || k.x().dtype() != DType.BF16 || k.x().address() % 16 != 0) return false;
    return switch (k.w()) {
      case Grouped w -> w.inputs() % 8 == 0 && w.codes().address() % 16 == 0 && w.groupOf().isEmpty() && (w.groups() == 1 || w.groupSize() % SLAB == 0);
      case Nf4 w -> w.inputs() % SLAB == 0 && w.codes().address() % 8 == 0;
      case Blocks w -> w.codes().address() % 16 == 0;
    };
  }

  private static void onTensorCores(Launch l, QuantMatMul.Product k) {
    int rows = k.x().rows();
    int tile = rows <= 8 ? 8 : rows <= 16 ? 16 : 32;
    switch (k.w()) {
      case Grouped w -> size(beginMma(l, "quant_grouped_mma", w.bits() + "_", tile, 0, k).pointer(w.codes()).tensor(w.scales())
          .pointer(w.zeros()).i32(w.groupSize()).i32(w.groups()).i32(w.codes().columns()), rows, w).run();
      case Nf4 w -> {
        var tables = l.table("nf4", CudaQuant::tables);
        size(nf4(beginMma(l, "quant_nf4_mma", "", tile, 0, k), w, tables), rows, w).run();
      }
      case Blocks w -> {
        int pieces = (bytes(w, BLOCKS_SLAB) + 30) / 16; // of a slab of one row, wherever it begins
        int buffers = 2 * MMA_WARPS * OUTPUTS * 16 * (pieces | 1);
        size(beginMma(l, "quant_blocks_mma", w.type() + "_", rows <= 8 ? 8 : 32, buffers, k).pointer(w.codes())
            .i32(w.codes().columns()), rows, w).run();
      }
    }
  }

  /// Geometry, destination and x.
  /// @param buffers bytes of shared memory for what sums take turns with
  private static Launch beginMma(Launch l, String family, String variant, int tile, int buffers, QuantMatMul.Product k) {
    int sums = 4 * 4 * tile * OUTPUTS; // bytes: of half of the eight warps at a time
    return l.of(family, family + "_" + variant + tile).grid((k.w().outputs() + OUTPUTS - 1) / OUTPUTS, (k.x().rows() + tile - 1) / tile, 1)
        .threads(32 * MMA_WARPS).shared(Math.max(sums, buffers)).sink(k.y()).pointer(k.x());
  }

  /// Bytes of `columns` columns of a row.
  private static int bytes(Blocks w, int columns) {
    return columns / w.type().weights() * w.type().bytes();
  }

  private static void many(Launch l, QuantMatMul.Product k) {
    var w = l.scratch(k.x().dtype() == DType.BF16 ? DType.BF16 : DType.F32, Shape.of(k.w().outputs(), k.w().inputs()));
    dequantize(l, w, k.w());
    int rows = k.x().rows();
    var y = k.y().reshape(rows, k.y().tensor().columns());
    CudaDispatch.run(l, new MatMul.Product(y, k.x().reshape(rows, k.x().columns()), w, false, k.transposed(), 1));
  }

  private static void dequantize(Launch l, Tensor y, QuantMatrix matrix) {
    long n = y.elements();
    switch (matrix) {
      case Grouped w -> grouped(l.of("quant_grouped", "quant_grouped_dequantize").over((long) w.outputs() * pieces(w.inputs())).tensor(y), w)
          .i32(w.outputs()).i32(w.inputs()).run();
      case Nf4 w -> {
        var tables = l.table("nf4", CudaQuant::tables);
        nf4(l.of("quant_nf4", "quant_nf4_dequantize").over((n + 7) / 8).tensor(y), w, tables).i64(n).run();
      }
      case Blocks w -> l.of("quant_blocks", "quant_blocks_dequantize").over(n / 8).tensor(y).pointer(w.codes()).i32(w.type().ordinal())
          .i64(n).run();
    }
  }

  private static int pieces(int columns) {
    return (columns + 7) / 8;
  }

  private static void few(Launch l, QuantMatMul.Product k) {
    int rows = k.x().rows();
    switch (k.w()) {
      case Grouped w -> size(grouped(begin(l, "quant_grouped", k, 128 * w.bits()), w), rows, w).run();
      case Nf4 w -> {
        var tables = l.table("nf4", CudaQuant::tables);
        size(nf4(begin(l, "quant_nf4", k, CHUNK / 2), w, tables), rows, w).run();
      }
      case Blocks w -> size(
          begin(l, "quant_blocks", k, bytes(w, CHUNK)).pointer(w.codes()).i32(w.type().ordinal())
              .i32(w.codes().columns()), rows, w).run();
    }
  }

  /// Geometry, destination and x.
  /// @param bytes of the codes of a chunk of one row
  private static Launch begin(Launch l, String family, QuantMatMul.Product k, int bytes) {
    int rows = k.x().rows();
    int tile = rows == 1 ? 1 : TILE_ROWS;
    int slot = (bytes + 15) / 16 * 16 + 16;
    return l.of(family, family + (rows == 1 ? "_row" : "_rows"))
        .grid((k.w().outputs() + OUTPUTS - 1) / OUTPUTS, (rows + tile - 1) / tile, 1).threads(THREADS)
        .shared(tile * X_BYTES + SLOTS * slot).sink(k.y()).tensor(k.x());
  }

  private static Launch size(Launch l, int rows, QuantMatrix w) {
    return l.i32(rows).i32(w.outputs()).i32(w.inputs());
  }

  private static Launch grouped(Launch l, Grouped w) {
    return l.pointer(w.codes()).tensor(w.scales()).pointer(w.zeros()).pointer(w.groupOf()).i32(w.bits()).i32(w.groupSize())
        .i32(w.groups()).i32(w.codes().columns());
  }

  private static Launch nf4(Launch l, Nf4 w, Tensor tables) {
    return l.pointer(w.codes()).pointer(tables).pointer(w.absmax())
        .pointer(w.nested().map(Nf4.Nested::scale)).pointer(w.nested().map(Nf4.Nested::offset));
  }

  /// The levels of NF4 and those of its absmaxima.
  private static float[] tables() {
    var levels = Nf4.levels();
    var map = Nf4.map();
    var out = new float[levels.length + map.length];
    System.arraycopy(levels, 0, out, 0, levels.length);
    System.arraycopy(map, 0, out, levels.length, map.length);
    return out;
  }
}
