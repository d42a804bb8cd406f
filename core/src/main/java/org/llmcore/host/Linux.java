package org.llmcore.host;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;
import java.util.Locale;

/// System calls of Linux on x86-64, through `syscall(2)`.
public final class Linux {
  private static final int MMAP = 9;
  private static final int MPROTECT = 10;
  private static final int MUNMAP = 11;
  private static final int MADVISE = 28;
  private static final int ARCH_PRCTL = 158;

  private static final int READ = 1;
  private static final int WRITE = 2;
  private static final int EXECUTE = 4;
  private static final int PRIVATE_ANONYMOUS = 0x22;
  private static final int HUGE_PAGES = 14;
  private static final int POPULATE_WRITE = 23;

  private static final boolean HERE =
      System.getProperty("os.name").toLowerCase(Locale.ROOT).contains("linux") && System.getProperty("os.arch").equals("amd64");
  private static final MethodHandle SYSCALL = HERE ? syscall() : null;

  private Linux() {}

  /// Whether this process runs on Linux on x86-64; elsewhere nothing below may be called.
  public static boolean here() {
    return HERE;
  }

  /// The address of `bytes` zeroed bytes, readable and writable, page by page; −1 if the system has none.
  public static long map(long bytes) {
    return call(MMAP, 0, bytes, READ | WRITE, PRIVATE_ANONYMOUS, -1, 0);
  }

  /// Gives back what `map` gave.
  public static void unmap(long address, long bytes) {
    call(MUNMAP, address, bytes, 0, 0, 0, 0);
  }

  /// Makes pages readable and executable, no longer writable. False if the system refuses.
  public static boolean executable(long address, long bytes) {
    return call(MPROTECT, address, bytes, READ | EXECUTE, 0, 0, 0) == 0;
  }

  /// Asks for pages of 2 MB where they fit. What the system makes of it never matters to a result.
  public static void hugePages(long address, long bytes) {
    call(MADVISE, address, bytes, HUGE_PAGES, 0, 0, 0);
  }

  /// Brings pages into memory now. False if there is no room, or if this Linux (before 5.14) cannot.
  public static boolean populate(long address, long bytes) {
    return call(MADVISE, address, bytes, POPULATE_WRITE, 0, 0, 0) == 0;
  }

  /// Asks for the use of a component of the processor's state, once per process (`ARCH_REQ_XCOMP_PERM`). False if refused.
  public static boolean permitComponent(int number) {
    return call(ARCH_PRCTL, 0x1023, number, 0, 0, 0, 0) == 0;
  }

  private static long call(long number, long a, long b, long c, long d, long e, long f) {
    try {
      return (long) SYSCALL.invokeExact(number, a, b, c, d, e, f);
    } catch (Throwable t) {
      throw new IllegalStateException("system call " + number + " failed", t);
    }
  }

  private static MethodHandle syscall() {
    var linker = Linker.nativeLinker();
    var parameters = new MemoryLayout[7];
    Arrays.fill(parameters, ValueLayout.JAVA_LONG);
    return linker.downcallHandle(
        linker.defaultLookup().findOrThrow("syscall"), FunctionDescriptor.of(ValueLayout.JAVA_LONG, parameters),
        Linker.Option.firstVariadicArg(1));
  }
}
