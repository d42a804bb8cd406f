package org.llmcore.cpu.code;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

import org.llmcore.host.Linux;

/// What this processor can do and the system lets it (CPUID leaves 7 and 1Dh, XCR0; Intel SDM vol. 1, 13.3 and 18.3).
///
/// @param avx512 the subsets F, BW, DQ and VL together: what the kernels of `avx512` need
/// @param vnni products of bytes, AVX-512 VNNI
/// @param bf16 products of bfloat16, AVX-512 BF16
/// @param bf16Pays whether those run at twice the rate of f32, as on AMD's processors (on Intel's they run at half of it)
/// @param amx tiles of bfloat16 and bytes, with the permission that Linux wants asked for once per process
public record CpuFeatures(boolean avx512, boolean vnni, boolean bf16, boolean bf16Pays, boolean amx) {
  private static final CpuFeatures HERE = detect();

  private static final int TILE_DATA = 18;
  private static final int AMD = 0x444d4163; // "cAMD", the end of AuthenticAMD

  /// Of this machine; nothing where machine code cannot run.
  public static CpuFeatures here() {
    return HERE;
  }

  private static CpuFeatures detect() {
    if (!MachineCode.allowed()) return new CpuFeatures(false, false, false, false, false);
    var leaf7 = leaf(7, 0);
    var leaf71 = leaf(7, 1);
    long state = leaf(1, 0)[2] >> 27 & 1; // whether XCR0 may be read
    long saved = state == 1 ? leaf(1, 0)[4] : 0;
    boolean vectors = (saved & 0xe6) == 0xe6;
    boolean tiles = (saved & 0x60000) == 0x60000;
    return new CpuFeatures(
        vectors && bits(leaf7[1], 16, 17, 30, 31),
        vectors && bits(leaf7[2], 11),
        vectors && bits(leaf71[0], 5),
        vectors && bits(leaf71[0], 5) && leaf(0, 0)[2] == AMD,
        tiles && bits(leaf7[3], 22, 24, 25) && Linux.permitComponent(TILE_DATA));
  }

  private static boolean bits(int register, int... places) {
    for (int p : places) if ((register >> p & 1) == 0) return false;
    return true;
  }

  /// EAX, EBX, ECX, EDX of a leaf, and the lower half of XCR0.
  private static int[] leaf(int number, int part) {
    var a = new Assembler();
    a.push(Gpr.RBX);
    a.mov(Gpr.R8, Gpr.RDX); // where results go
    a.mov(Gpr.RAX, Gpr.RDI);
    a.mov(Gpr.RCX, Gpr.RSI);
    a.cpuid();
    a.mov32(Gpr.R8.at(0), Gpr.RAX);
    a.mov32(Gpr.R8.at(4), Gpr.RBX);
    a.mov32(Gpr.R8.at(8), Gpr.RCX);
    a.mov32(Gpr.R8.at(12), Gpr.RDX);
    // XGETBV only where CPUID.1:ECX.OSXSAVE says it exists
    var without = new Label();
    a.cmp(Gpr.RDI, 1);
    a.j(Condition.NOT_EQUAL, without);
    a.mov32(Gpr.RAX, Gpr.R8.at(8));
    a.shr(Gpr.RAX, 27);
    a.and(Gpr.RAX, 1);
    a.j(Condition.EQUAL, without);
    a.mov(Gpr.RCX, 0L);
    a.xgetbv();
    a.mov32(Gpr.R8.at(16), Gpr.RAX);
    a.bind(without);
    a.pop(Gpr.RBX);
    a.ret();
    try (var arena = Arena.ofConfined()) {
      MemorySegment out = arena.allocate(20, 8);
      long _ = (long) MachineCode.function(a, 3).invokeExact((long) number, (long) part, out.address());
      return out.toArray(ValueLayout.JAVA_INT);
    } catch (Throwable t) {
      throw new IllegalStateException("CPUID failed", t);
    }
  }
}
