package org.llmcore.cpu.code;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.Arrays;

/// A function in machine code whose address is an argument of the call, so that all routines share a few compiled call sites,
/// which are at full speed after the first of them.
///
/// Arguments beyond the sixth lie on the stack: `argument` says where.
public final class Routine {
  private static final MethodHandle SIX = MachineCode.caller(6, true);

  /// The wide call, made when first needed.
  private static final class Wide {
    static final int ARGUMENTS = 16;
    static final MethodHandle CALL = MachineCode.caller(ARGUMENTS, false);
  }

  private final MemorySegment entry;

  public Routine(Assembler code) {
    entry = MachineCode.place(code);
  }

  /// Argument i ≥ 6 of a wide call, as the function sees it after it pushed so many registers.
  public static Mem argument(int i, int pushed) {
    if (i < 6 || i >= Wide.ARGUMENTS) throw new IllegalArgumentException("argument " + i + ", expected 6 … 15");
    return Gpr.RSP.at(8 * (i - 5 + pushed));
  }

  /// Runs for far less time than a garbage collection may wait: no transition to native code.
  public long brief(long a, long b, long c, long d, long e, long f) {
    try {
      return (long) SIX.invokeExact(entry, a, b, c, d, e, f);
    } catch (Throwable t) {
      throw new IllegalStateException("machine code failed", t);
    }
  }

  public long brief(long a, long b, long c, long d) {
    return brief(a, b, c, d, 0, 0);
  }

  /// Up to 16 arguments, for as long as it takes.
  public long run(long... arguments) {
    var a = arguments.length == Wide.ARGUMENTS ? arguments : Arrays.copyOf(arguments, Wide.ARGUMENTS);
    try {
      return (long) Wide.CALL.invokeExact(
          entry, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]);
    } catch (Throwable t) {
      throw new IllegalStateException("machine code failed", t);
    }
  }
}
