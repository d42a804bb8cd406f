package org.llmcore.cpu.code;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;
import java.util.Locale;

/// Functions made of bytes: pages are written, then made executable and never both (W^X), and live as long as the process.
///
/// The operating system is asked through `syscall`, so this works on Linux on x86-64; elsewhere, and where a hardened kernel
/// refuses executable pages, `allowed` is false and the engine runs on the Vector API.
public final class MachineCode {
  private static final int MMAP = 9;
  private static final int MPROTECT = 10;
  private static final int READ = 1;
  private static final int WRITE = 2;
  private static final int EXECUTE = 4;
  private static final int PRIVATE_ANONYMOUS = 0x22;
  private static final long PAGE = 4096;

  private static final boolean LINUX =
      System.getProperty("os.name").toLowerCase(Locale.ROOT).contains("linux") && System.getProperty("os.arch").equals("amd64");
  private static final MethodHandle SYSCALL = LINUX ? systemCall() : null;

  private MachineCode() {}

  /// Whether code of ours can run in this process.
  public static boolean allowed() {
    return Trial.WORKS;
  }

  /// One function that returns its argument was made and run.
  private static final class Trial {
    static final boolean WORKS = LINUX && works();

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
    return caller(arguments, brief).bindTo(place(code));
  }

  /// Makes the code executable; the address is the first argument of a `caller`.
  static MemorySegment place(Assembler code) {
    return MemorySegment.ofAddress(pages(code.bytes()));
  }

  /// Calls any function of so many `long` that returns a `long`.
  static MethodHandle caller(int arguments, boolean brief) {
    var parameters = new MemoryLayout[arguments];
    Arrays.fill(parameters, ValueLayout.JAVA_LONG);
    var descriptor = FunctionDescriptor.of(ValueLayout.JAVA_LONG, parameters);
    var linker = Linker.nativeLinker();
    return brief ? linker.downcallHandle(descriptor, Linker.Option.critical(false)) : linker.downcallHandle(descriptor);
  }

  private static long pages(byte[] bytes) {
    long size = (bytes.length + PAGE - 1) / PAGE * PAGE;
    long address = system(MMAP, 0, size, READ | WRITE, PRIVATE_ANONYMOUS, -1, 0);
    if (address == -1) throw new IllegalStateException("the system gives no memory for %d bytes of code".formatted(size));
    MemorySegment.copy(bytes, 0, MemorySegment.ofAddress(address).reinterpret(size), ValueLayout.JAVA_BYTE, 0, bytes.length);
    if (system(MPROTECT, address, size, READ | EXECUTE, 0, 0, 0) != 0) {
      throw new IllegalStateException("the system refuses executable memory");
    }
    return address;
  }

  /// A system call of Linux; −1 for a failure.
  static long system(long number, long a, long b, long c, long d, long e, long f) {
    try {
      return (long) SYSCALL.invokeExact(number, a, b, c, d, e, f);
    } catch (Throwable t) {
      throw new IllegalStateException("system call " + number + " failed", t);
    }
  }

  private static MethodHandle systemCall() {
    var linker = Linker.nativeLinker();
    var parameters = new MemoryLayout[7];
    Arrays.fill(parameters, ValueLayout.JAVA_LONG);
    return linker.downcallHandle(
        linker.defaultLookup().findOrThrow("syscall"), FunctionDescriptor.of(ValueLayout.JAVA_LONG, parameters),
        Linker.Option.firstVariadicArg(1));
  }
}
