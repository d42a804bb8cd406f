package org.llmcore.cpu;

import java.util.Arrays;
import java.util.List;

import org.llmcore.InvalidInput;
import org.llmcore.cpu.code.CpuFeatures;
import org.llmcore.flags.Flags;

/// Which loops the CPU device runs. Results in f32 are the same bits in all; each tier falls back to the one before it for what
/// it has no loops for.
public enum Tier {
  /// Plain Java, one element at a time: the twin that checks the others.
  SCALAR,
  /// The Vector API, on any CPU. Slow until the compiler has seen it run.
  VECTOR,
  /// Machine code that the engine writes at start (`org.llmcore.cpu.code`), for AVX-512 on Linux: at full speed from the first call.
  AVX512;

  /// Whether this machine can run it.
  public boolean available() {
    return this != AVX512 || CpuFeatures.here().avx512();
  }

  /// Those this machine can run.
  public static List<Tier> here() {
    return Arrays.stream(values()).filter(Tier::available).toList();
  }

  /// The fastest this machine can run, or the one LLM_CPU_TIER names.
  ///
  /// @throws InvalidInput if it names one this machine cannot run
  public static Tier open() {
    return switch (Flags.cpuTier()) {
      case AUTO -> here().getLast();
      case SCALAR -> SCALAR;
      case VECTOR, VECTOR128, VECTOR256, VECTOR512 -> VECTOR;
      case AVX512 -> {
        if (AVX512.available()) yield AVX512;
        throw new InvalidInput("LLM_CPU_TIER is avx512, which this machine cannot run", "leave it out, or take vector");
      }
    };
  }
}
