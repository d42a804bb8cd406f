package org.llmcore.cpu;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;

import org.llmcore.InvalidInput;
import org.llmcore.cpu.code.CpuFeatures;
import org.llmcore.flags.Flags;

/// Which loops the CPU device runs. Results are the same bits in all, but for products of two bf16 matrices and attention in bf16 on
/// the last two, which have for all else the loops of `AVX512`, and for products of activations in eight bits where the processor multiplies bytes (`Int8Stream`).
public enum Tier {
  /// Plain Java, one element at a time: the twin that checks the others.
  SCALAR,
  /// The Vector API, on any CPU. Slow until the compiler has seen it run.
  VECTOR,
  /// Machine code that the engine writes at start (`org.llmcore.cpu.code`), for AVX-512 on Linux: at full speed from the first call.
  AVX512,
  /// That, and bf16 matrices multiplied by pairs of terms (`vdpbf16ps`): twice the rate on AMD's processors, half of it on Intel's.
  AVX512BF16,
  /// AVX-512, and AMX tiles for products of two bf16 matrices and attention: fourteen times the rate, in the processor's own order of
  /// sums (`AmxTiles`).
  AMX;

  /// Whether this machine can run it.
  public boolean available() {
    return switch (this) {
      case SCALAR, VECTOR -> true;
      case AVX512 -> CpuFeatures.here().avx512();
      case AVX512BF16 -> CpuFeatures.here().avx512() && CpuFeatures.here().bf16();
      case AMX -> CpuFeatures.here().avx512() && CpuFeatures.here().amx();
    };
  }

  /// Whether every result has the bits that `Kernel` fixes.
  public boolean exact() {
    return this != AVX512BF16 && this != AMX;
  }

  /// Those this machine can run.
  public static List<Tier> here() {
    return Arrays.stream(values()).filter(Tier::available).toList();
  }

  /// Those of them whose results have the same bits.
  public static List<Tier> exactHere() {
    return here().stream().filter(Tier::exact).toList();
  }

  /// The fastest this machine can run, or the one LLM_CPU_TIER names.
  ///
  /// @throws InvalidInput if it names one this machine cannot run
  public static Tier open() {
    return switch (Flags.cpuTier()) {
      case AUTO -> best();
      case SCALAR -> SCALAR;
      case VECTOR, VECTOR128, VECTOR256, VECTOR512 -> VECTOR;
      case AVX512 -> AVX512.orRefuse();
      case AVX512BF16 -> AVX512BF16.orRefuse();
      case AMX -> AMX.orRefuse();
    };
  }

  private static Tier best() {
    var best = here().getLast();
    return best == AVX512BF16 && !CpuFeatures.here().bf16Pays() ? AVX512 : best;
  }

  private Tier orRefuse() {
    if (available()) return this;
    var best = best().name().toLowerCase(Locale.ROOT);
    throw new InvalidInput(
        "LLM_CPU_TIER is %s, which this machine cannot run".formatted(name().toLowerCase(Locale.ROOT)), "leave it out for " + best + ", or take vector");
  }
}
