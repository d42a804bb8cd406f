package org.llmcore.cpu;

import java.lang.invoke.MethodHandle;
import java.util.function.IntFunction;

import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.GemmPacks;
import org.llmcore.cpu.code.GemmTiles;
import org.llmcore.cpu.code.MachineCode;
import org.llmcore.cpu.code.Routines;
import org.llmcore.tensor.DType;

/// The functions of `GemmTiles` and `GemmPacks`, made on first use. Each takes the address of its job.
final class GemmCode {
  private static final Routines CHAINS = new Routines(4, v -> GemmTiles.chain(v > 1, RowCode.dtype(v)));
  private static final Routines TREES = new Routines(4, v -> GemmTiles.tree(v > 1, RowCode.dtype(v)));

  private GemmCode() {}

  /// A block of y, F32 or BF16, by rule 2.
  static void chain(long job, boolean pairs, DType y) {
    CHAINS.get(variant(pairs, y)).run(job);
  }

  /// A block of y, F32 or BF16, by rule 3.
  static void tree(long job, boolean pairs, DType y) {
    TREES.get(variant(pairs, y)).run(job);
  }

  private static int variant(boolean pairs, DType y) {
    return (pairs ? 2 : 0) | RowCode.bit(y);
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

  /// The packing functions of bf16 that stays bf16, in pairs.
  static Packs pairs() {
    return OfPairs.PACKS;
  }

  private static final class OfF32 {
    static final Packs PACKS = Packs.of(DType.F32);
  }

  private static final class OfBf16 {
    static final Packs PACKS = Packs.of(DType.BF16);
  }

  private static final class OfF16 {
    static final Packs PACKS = Packs.of(DType.F16);
  }

  private static final class OfPairs {
    static final Packs PACKS =
        Packs.of(GemmPacks.rowPairs(), GemmPacks.columnPairs(), OfF32.PACKS.turned, OfF32.PACKS.turnedEdge, GemmPacks::linePairs);
  }

  /// See `GemmPacks`.
  static final class Packs {
    private final MethodHandle rows;
    private final MethodHandle columns;
    private final MethodHandle turned;
    private final MethodHandle turnedEdge;
    private final MethodHandle[] lines;

    private Packs(MethodHandle rows, MethodHandle columns, MethodHandle turned, MethodHandle turnedEdge, MethodHandle[] lines) {
      this.rows = rows;
      this.columns = columns;
      this.turned = turned;
      this.turnedEdge = turnedEdge;
      this.lines = lines;
    }

    private static Packs of(DType dtype) {
      return of(
          GemmPacks.rows(dtype), GemmPacks.columns(dtype), brief(GemmPacks.turned(dtype, false)), brief(GemmPacks.turned(dtype, true)),
          vectors -> GemmPacks.lines(dtype, vectors));
    }

    private static Packs of(Assembler rows, Assembler columns, MethodHandle turned, MethodHandle turnedEdge, IntFunction<Assembler> lines) {
      var all = new MethodHandle[GemmTiles.VECTORS];
      for (int v = 0; v < all.length; v++) all[v] = brief(lines.apply(v + 1));
      return new Packs(brief(rows), brief(columns), turned, turnedEdge, all);
    }

    private static MethodHandle brief(Assembler code) {
      return MachineCode.brief(code, 1);
    }

    void rows(long job) {
      call(rows, job);
    }

    void columns(long job) {
      call(columns, job);
    }

    void turned(long job, boolean edge) {
      call(edge ? turnedEdge : turned, job);
    }

    void lines(long job, int vectors) {
      call(lines[vectors - 1], job);
    }
  }
}
