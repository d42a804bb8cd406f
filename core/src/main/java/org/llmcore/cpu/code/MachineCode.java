package org.llmcore.cpu.code;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;

import org.llmcore.host.Linux;

/// Functions made of bytes: pages are written, then made executable and never both (W^X), and live as long as the process.
///
/// Runs on Linux on x86-64; elsewhere, and where a hardened kernel refuses executable pages, `allowed` is false and the engine
/// runs on the Vector API.
public final class MachineCode {
  private static final long PAGE = 4096;

  private MachineCode() {}

  /// Whether code of ours can run in this process.
  public static boolean allowed() {
    return Trial.WORKS;
  }

  /// One function that returns its argument was made and run.
  private static final class Trial {
    static final boolean WORKS = Linux.here() && works();

    private static boolean works() {
      var a = new Assembler();
      a.mov(Gpr.RAX, Gpr.RDI);
      a.ret();
      try {
        return (long) function(a, 1).invokeExact(0x1234_5678_9abcL) == 0x1234_5678_9abcL;
      } catch (Throwable refused) {
        return false;
      }
    }
  }

  /// A function of up to six `long` that returns a `long`: addresses and counts.
  ///
  /// @throws IllegalStateException if the system refuses executable memory
  public static MethodHandle function(Assembler code, int arguments) {
    return function(code, arguments, false);
  }

  /// As `function`, without the transition to native code: for calls far shorter than a garbage collection may wait.
  public static MethodHandle brief(Assembler code, int arguments) {
    return function(code, arguments, true);
  }

  private static MethodHandle function(Assembler code, int arguments, boolean brief) {
    var parameters = new MemoryLayout[arguments];
    Arrays.fill(parameters, ValueLayout.JAVA_LONG);
    var descriptor = FunctionDescriptor.of(ValueLayout.JAVA_LONG, parameters);
    var address = MemorySegment.ofAddress(pages(code.bytes()));
    var linker = Linker.nativeLinker();
    return brief
        ? linker.downcallHandle(address, descriptor, Linker.Option.critical(false))
        : linker.downcallHandle(address, descriptor);
  }

  private static long pages(byte[] bytes) {
    long size = (bytes.length + PAGE - 1) / PAGE * PAGE;
    long address = Linux.map(size);
    if (address == -1) throw new IllegalStateException("the system gives no memory for %d bytes of code".formatted(size));
    MemorySegment.copy(bytes, 0, MemorySegment.ofAddress(address).reinterpret(size), ValueLayout.JAVA_BYTE, 0, bytes.length);
    if (!Linux.executable(address, size)) throw new IllegalStateException("the system refuses executable memory");
    return address;
  }
}
