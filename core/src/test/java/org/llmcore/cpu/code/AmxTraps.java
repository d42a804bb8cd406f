package org.llmcore.cpu.code;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

import org.llmcore.host.Linux;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// AMX tiles for a processor without: `src/test/native/amx_trap.c` executes each tile instruction that traps. Where the processor has
/// tiles the code runs on them, and the same tests judge it.
public final class AmxTraps {
  private static final Path SOURCE = Path.of("src/test/native/amx_trap.c");

  private AmxTraps() {}

  private static final class Library {
    static final SymbolLookup SYMBOLS = load();
  }

  /// From now on tile instructions work in this process; skips the test where they cannot.
  public static void begin() {
    assumeTrue(CpuFeatures.here().avx512(), "needs AVX-512 and Linux");
    if (CpuFeatures.here().amx()) return;
    assumeTrue(Files.isDirectory(SOURCE.getName(0)), "AMX is tested without AMX in the source tree alone");
    assumeTrue(compiler(), "AMX is tested without AMX by the C compiler gcc, which is not here");
    assertThat(Library.SYMBOLS).isNotNull();
  }

  /// Fails if the processor would have refused one of the instructions.
  public static void accepted() {
    if (CpuFeatures.here().amx()) return;
    try {
      var fault = (MemorySegment) function("amx_fault", FunctionDescriptor.of(ValueLayout.ADDRESS)).invokeExact();
      assertThat(fault.reinterpret(200).getString(0)).isEmpty();
    } catch (Throwable e) {
      throw new AssertionError(e);
    }
  }

  /// Tile instructions that were executed in software.
  public static long executed() {
    try {
      return (long) function("amx_executed", FunctionDescriptor.of(ValueLayout.JAVA_LONG)).invokeExact();
    } catch (Throwable e) {
      throw new AssertionError(e);
    }
  }

  private static java.lang.invoke.MethodHandle function(String name, FunctionDescriptor type) {
    return Linker.nativeLinker().downcallHandle(Library.SYMBOLS.findOrThrow(name), type);
  }

  private static SymbolLookup load() {
    try {
      var folder = Files.createDirectories(Path.of("target/amx"));
      var library = Files.createTempFile(folder, "amx", ".so");
      var process =
          new ProcessBuilder("gcc", "-O2", "-mfma", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library.toString(), SOURCE.toString())
              .redirectErrorStream(true).start();
      var said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      assertThat(process.waitFor()).as(said).isZero();
      var symbols = SymbolLookup.libraryLookup(library, Arena.global());
      Files.delete(library);
      int failed = (int) Linker.nativeLinker().downcallHandle(symbols.findOrThrow("amx_begin"), FunctionDescriptor.of(ValueLayout.JAVA_INT)).invokeExact();
      assertThat(failed).isZero();
      assertThat(Linux.here()).isTrue();
      return symbols;
    } catch (IOException e) {
      throw new AssertionError(e);
    } catch (Throwable e) {
      throw new AssertionError(e);
    }
  }

  private static boolean compiler() {
    try {
      return new ProcessBuilder("gcc", "--version").redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start().waitFor() == 0;
    } catch (IOException | InterruptedException missing) {
      return false;
    }
  }
}
