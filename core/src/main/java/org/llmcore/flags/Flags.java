package org.llmcore.flags;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Collectors;

import org.llmcore.InvalidInput;

/// The environment's knobs. A value nobody knows is refused with those that are known.
public final class Flags {
  /// Which device runs the kernels.
  public enum Kind {
    CPU,
    CUDA,
    AUTO,
    REFERENCE
  }

  /// Which loops the CPU device runs.
  public enum CpuTier {
    AUTO,
    SCALAR,
    VECTOR,
    VECTOR128,
    VECTOR256,
    VECTOR512,
    AVX512,
    AVX512BF16,
    AMX
  }

  /// What every kernel is checked for.
  public enum Check {
    NONE,
    NAN,
    REFERENCE
  }

  /// Which instructions attention on Hopper is made of.
  public enum CudaAttention {
    MMA,
    WGMMA
  }

  /// A knob, what it accepts and what it does: the table of `docs/flags.md`.
  public record Flag(String name, String values, String sentence) {}

  /// All of them.
  public static final List<Flag> ALL =
      List.of(
          new Flag("LLM_DEVICE", "cpu, cuda, auto, reference", "What runs the kernels: auto is cuda where a GPU can be used, else cpu; the reference is naive loops in double precision."),
          new Flag("LLM_CPU_TIER", "auto, amx, avx512bf16, avx512, vector, vector128, vector256, vector512, scalar", "The CPU's loops: machine code of the engine's own (amx and avx512bf16 multiply bf16 matrices as such), the Vector API of some width, or plain Java; f32 results are the same bits in all."),
          new Flag("LLM_THREADS", "1 … 1024", "Worker threads of the CPU device; the default is the number of cores. Never changes a result."),
          new Flag("LLM_CHECK", "none, nan, reference", "After every kernel: look for NaN and infinity, or compare with the reference device."),
          new Flag("LLM_CUDA_BLAS", "a file or folder", "Matrix products on the GPU by the vendor's cuBLAS found there, where it can: for comparisons. Unset, our own kernels do all."),
          new Flag("LLM_CUDA_ATTENTION", "wgmma, mma", "bf16 attention of 64 or 128 columns on compute capability 9.0: by TMA and wgmma, or by mma.sync as on other GPUs, at half the speed; they differ in the last bits."),
          new Flag("LLM_DEBUG", "0 … 3", "1: stack traces of failures; 2: also a table of time per kernel at the end; 3: also a line per kernel call."));

  private Flags() {}

  public static Kind device() {
    return one("LLM_DEVICE", Kind.class, Kind.CPU);
  }

  public static CpuTier cpuTier() {
    return one("LLM_CPU_TIER", CpuTier.class, CpuTier.AUTO);
  }

  public static Check check() {
    return one("LLM_CHECK", Check.class, Check.NONE);
  }

  public static int threads() {
    return number("LLM_THREADS", 1, 1024, Runtime.getRuntime().availableProcessors());
  }

  /// Where cuBLAS is, if it is asked for.
  public static Optional<String> cudaBlas() {
    return Optional.ofNullable(System.getenv("LLM_CUDA_BLAS")).map(String::strip).filter(s -> !s.isEmpty());
  }

  public static CudaAttention cudaAttention() {
    return one("LLM_CUDA_ATTENTION", CudaAttention.class, CudaAttention.WGMMA);
  }

  public static int debug() {
    return number("LLM_DEBUG", 0, 3, 0);
  }

  private static <E extends Enum<E>> E one(String name, Class<E> type, E fallback) {
    var value = System.getenv(name);
    if (value == null || value.isBlank()) return fallback;
    for (var e : type.getEnumConstants()) if (e.name().equalsIgnoreCase(value.strip())) return e;
    var known = Arrays.stream(type.getEnumConstants()).map(e -> e.name().toLowerCase(Locale.ROOT)).collect(Collectors.joining(", "));
    throw new InvalidInput(name + " is '" + value + "'", "expected one of " + known);
  }

  private static int number(String name, int least, int most, int fallback) {
    var value = System.getenv(name);
    if (value == null || value.isBlank()) return fallback;
    try {
      int n = Integer.parseInt(value.strip());
      if (n >= least && n <= most) return n;
    } catch (NumberFormatException _) {
      // refused below, with every other value that will not do
    }
    throw new InvalidInput(name + " is '" + value + "'", "expected a number from " + least + " to " + most);
  }
}
