package org.llmcore.cpu;

import java.lang.invoke.MethodHandle;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.GemmPacks;
import org.llmcore.cpu.code.GemmTiles;
import org.llmcore.cpu.code.MachineCode;
import org.llmcore.tensor.DType;

/// The functions of `GemmTiles` and `GemmPacks`, made on first use. Each takes the address of its job.
final class GemmCode {
  private static final MethodHandle CHAIN = MachineCode.function(GemmTiles.chain(), 1);
  private static final MethodHandle PAIRS = MachineCode.function(GemmTiles.pairs(), 1);
  private static final MethodHandle TREE = MachineCode.function(GemmTiles.tree(), 1);

  private GemmCode() {}

  /// A block of y by rule 2.
  static void chain(long job) {
    call(CHAIN, job);
  }

  /// A block of y from pairs of bf16.
  static void pairs(long job) {
    call(PAIRS, job);
  }

  /// A block of y by rule 3.
  static void tree(long job) {
    call(TREE, job);
  }

  /// Runs a function of a product on its job.
  static void call(MethodHandle code, long job) {
    try {
      long _ = (long) code.invokeExact(job);
    } catch (Throwable t) {
      throw new IllegalStateException("machine code of a matrix product failed", t);
    }
  }

  /// The packing functions of a dtype.
  static Packs packs(DType dtype) {
    return switch (dtype) {
      case F32 -> OfF32.PACKS;
      case BF16 -> OfBf16.PACKS;
      case F16 -> OfF16.PACKS;
      default -> throw new IllegalArgumentException("packing of " + dtype);
    };
  }

  private static final class OfF32 {
    static final Packs PACKS = new Packs(DType.F32);
  }

  private static final class OfBf16 {
    static final Packs PACKS = new Packs(DType.BF16);
  }

  private static final class OfF16 {
    static final Packs PACKS = new Packs(DType.F16);
  }

  /// See `GemmPacks`.
  static final class Packs {
    private final MethodHandle rows;
    private final MethodHandle columns;
    private final MethodHandle turned;
    private final MethodHandle turnedEdge;
    private final MethodHandle[] lines = new MethodHandle[GemmTiles.VECTORS];
    private final MethodHandle columnPairs; // of bf16 only
    private final MethodHandle[] linePairs = new MethodHandle[GemmTiles.VECTORS];

    private Packs(DType dtype) {
      rows = brief(GemmPacks.rows(dtype));
      columns = brief(GemmPacks.columns(dtype));
      turned = brief(GemmPacks.turned(dtype, false));
      turnedEdge = brief(GemmPacks.turned(dtype, true));
      for (int v = 0; v < lines.length; v++) lines[v] = brief(GemmPacks.lines(dtype, v + 1));
      columnPairs = dtype == DType.BF16 ? brief(GemmPacks.columnPairs()) : null;
      for (int v = 0; dtype == DType.BF16 && v < lines.length; v++) linePairs[v] = brief(GemmPacks.linePairs(v + 1));
    }

    private static MethodHandle brief(Assembler code) {
      return MachineCode.brief(code, 1);
    }

    void rows(long job) {
      call(rows, job);
    }

    void columns(long job, boolean pairs) {
      call(pairs ? columnPairs : columns, job);
    }

    void turned(long job, boolean edge) {
      call(edge ? turnedEdge : turned, job);
    }

    void lines(long job, int vectors) {
      call(lines[vectors - 1], job);
    }

    void linePairs(long job, int vectors) {
      call(linePairs[vectors - 1], job);
    }
  }
}
