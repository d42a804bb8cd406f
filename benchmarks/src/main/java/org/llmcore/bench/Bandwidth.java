package org.llmcore.bench;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.management.ManagementFactory;
import java.util.Arrays;

import org.llmcore.cpu.Tier;
import org.llmcore.cpu.code.Assembler;
import org.llmcore.cpu.code.Condition;
import org.llmcore.cpu.code.Gpr;
import org.llmcore.cpu.code.MachineCode;
import org.llmcore.cpu.code.Vec;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Region;
import org.llmcore.tensor.Shape;

/// How fast threads can read memory that no cache holds: 64 bytes a load where there is AVX-512, each thread through its own half of 1 GB. The limit of
/// everything that streams weights.
final class Bandwidth implements AutoCloseable {
  private static final long BYTES = 1L << 30;
  private static final boolean CODE = Tier.AVX512.available();
  private static final MethodHandle READ = CODE ? read() : null;

  private static volatile long read; // keeps what is summed from being left out

  private final Region region = Region.fixed("bandwidth", BYTES);
  private final long address = region.carve(DType.U8, Shape.of((int) BYTES)).address();
  private final int threads;

  Bandwidth(int threads) {
    this.threads = threads;
  }

  /// Reads a number of pieces of 512 bytes.
  private static MethodHandle read() {
    var a = new Assembler();
    var again = a.here();
    for (int i = 0; i < 8; i++) a.vpord(Vec.zmm(i), Vec.zmm(i), Gpr.RDI.at(64 * i));
    a.add(Gpr.RDI, 512);
    a.dec(Gpr.RSI);
    a.j(Condition.NOT_EQUAL, again);
    a.vzeroupper();
    a.ret();
    return MachineCode.function(a, 2);
  }

  /// Bytes per nanosecond of one pass over `bytes` per thread, from a place that moves with `turn`.
  double measure(long bytes, int turn) {
    long share = BYTES / threads;
    long from = turn * bytes % (share - bytes + 1) / 64 * 64;
    var team = new Thread[threads - 1];
    for (int i = 0; i < team.length; i++) {
      long at = address + (i + 1) * share + from;
      team[i] = Thread.ofPlatform().start(() -> pass(at, bytes));
    }
    long start = now(threads);
    pass(address + from, bytes);
    for (var t : team) join(t);
    return (double) bytes * threads / (now(threads) - start);
  }

  /// Nanoseconds: of one thread's own clock, so that neighbours on the machine do not count, else of the wall's.
  static long now(int threads) {
    return threads == 1 ? ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() : System.nanoTime();
  }

  private static void join(Thread t) {
    try {
      t.join();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  /// The median of several passes.
  static double median(int threads) {
    try (var memory = new Bandwidth(threads)) {
      var all = new double[15];
      for (int i = 0; i < all.length; i++) all[i] = memory.measure(BYTES / threads / 4, i);
      Arrays.sort(all);
      return all[all.length / 2];
    }
  }

  private static void pass(long at, long bytes) {
    if (!CODE) {
      sum(MemorySegment.ofAddress(at).reinterpret(bytes));
      return;
    }
    try {
      long _ = (long) READ.invokeExact(at, bytes / 512);
    } catch (Throwable t) {
      throw new IllegalStateException("reading failed", t);
    }
  }

  /// The same without AVX-512, as the compiler vectorises it.
  private static void sum(MemorySegment bytes) {
    long sum = 0;
    for (long at = 0; at < bytes.byteSize(); at += 8) sum += bytes.get(ValueLayout.JAVA_LONG, at);
    read = sum;
  }

  @Override
  public void close() {
    region.close();
  }
}
