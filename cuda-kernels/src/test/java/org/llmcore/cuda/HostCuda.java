package org.llmcore.cuda;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// A CUDA driver and the kernels, for a machine without a GPU: the .cu files compiled by g++ over `src/test/cuda`, where one CUDA
/// thread is a fiber, every barrier a switch to another one drawn by a seed, and every access of memory is checked: bounds,
/// alignment, reads of what nobody wrote, races between barriers, two blocks at one word.
final class HostCuda {
  private static final Path CUDA = Path.of("src/main/cuda");
  private static final Path RUNTIME = Path.of("src/test/cuda");
  private static final List<String> FLAGS = List.of(
      "-std=c++17", "-O2", "-g1", "-fPIC", "-ftrivial-auto-var-init=pattern", "-Wall", "-Wno-unknown-pragmas",
          "-fvisibility=hidden");
  private static final int COPIES = 3; // when asynchronous copies arrive: at once, as late as allowed, by a coin

  private final Path driver;
  private final Path kernels;
  private final MethodHandle configure;
  private final MethodHandle reset;
  private final MethodHandle capability;
  private final MethodHandle launched;

  private HostCuda(Path driver, Path kernels) {
    this.driver = driver;
    this.kernels = kernels;
    var library = SymbolLookup.libraryLookup(driver, Arena.global());
    configure = Linker.nativeLinker().downcallHandle(library.find("hc_config").orElseThrow(),
        FunctionDescriptor.ofVoid(ValueLayout.JAVA_LONG, ValueLayout.JAVA_INT, ValueLayout.JAVA_INT, ValueLayout.JAVA_INT,
            ValueLayout.JAVA_INT));
    reset = Linker.nativeLinker().downcallHandle(library.find("hc_reset").orElseThrow(), FunctionDescriptor.ofVoid());
    capability = Linker.nativeLinker().downcallHandle(library.find("hc_capability").orElseThrow(),
        FunctionDescriptor.ofVoid(ValueLayout.JAVA_INT));
    launched = Linker.nativeLinker().downcallHandle(library.find("hc_launched").orElseThrow(),
        FunctionDescriptor.of(ValueLayout.ADDRESS));
  }

  /// With the kernels of the product; skips the test where there is no g++ on Linux.
  static HostCuda open() {
    return open(CUDA);
  }

  /// With every `.cu` of a folder; compiled once per content.
  static HostCuda open(Path sources) {
    assumeTrue(System.getProperty("os.name").equals("Linux") && present("g++"),
        "the CUDA kernels are tested on the CPU by g++ on Linux, which is not here");
    try {
      var driver = driver();
      return new HostCuda(driver, kernels(sources, driver));
    } catch (IOException | InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  CudaDevice device() {
    return device("");
  }

  /// The device of a GPU of another compute capability: 90 for 9.0.
  CudaDevice device(int compute) {
    return device(compute, "");
  }

  CudaDevice device(int compute, String suffix) {
    try {
      capability.invokeExact(compute);
      var device = device(suffix);
      capability.invokeExact(80);
      return device;
    } catch (Throwable e) {
      throw new IllegalStateException(e);
    }
  }

  /// The kernels that ran since the last call.
  Set<String> launched() {
    try {
      var names = (MemorySegment) launched.invokeExact();
      return Set.copyOf(names.reinterpret(Long.MAX_VALUE).getString(0).lines().toList());
    } catch (Throwable e) {
      throw new IllegalStateException(e);
    }
  }

  /// A device that takes the kernels of a family from the file `<family><suffix>.cu`.
  CudaDevice device(String suffix) {
    Images images = (family, _) -> ("HCSO:" + kernels.resolve(family + suffix + ".so")).getBytes(StandardCharsets.UTF_8);
    return new CudaDevice(Driver.open(Optional.of(driver)), images, true);
  }

  /// Another legal order of threads and copies; clears a sticky error.
  void shuffle(long seed) {
    try {
      reset.invokeExact();
      configure.invokeExact(seed, 1, 1, (int) (seed % COPIES), 1);
    } catch (Throwable e) {
      throw new IllegalStateException(e);
    }
  }

  private static boolean present(String program) {
    for (var at : System.getenv().getOrDefault("PATH", "").split(":")) if (Files.isExecutable(Path.of(at, program))) return true;
    return false;
  }

  private static Path driver() throws IOException, InterruptedException {
    var folder = folder(files(RUNTIME));
    var library = folder.resolve("libcuda.so.1");
    if (Files.exists(library)) return library;
    var part = folder.resolve("part").toString();
    run(List.of(command(List.of("g++"), FLAGS, List.of("-march=native", "-shared", "-Wl,-soname,libcuda.so.1"),
        paths(RUNTIME.resolve("hostcuda.cpp"), RUNTIME.resolve("hostdriver.cpp")), List.of("-o", part, "-ldl"))));
    return Files.move(Path.of(part), library);
  }

  private static Path kernels(Path sources, Path driver) throws IOException, InterruptedException {
    var inputs = new ArrayList<>(files(sources));
    inputs.addAll(files(CUDA));
    inputs.addAll(files(RUNTIME));
    var folder = folder(inputs);
    if (Files.exists(folder.resolve("done"))) return folder;
    var compile = new ArrayList<List<String>>();
    var link = new ArrayList<List<String>>();
    for (var file : files(sources)) {
      var name = file.getFileName().toString();
      if (!name.endsWith(".cu")) continue;
      var family = name.substring(0, name.length() - 3);
      var object = folder.resolve(family + ".o").toString();
      compile.add(command(List.of("g++"), FLAGS,
          List.of("-march=native", "-fsanitize=thread", "-DHC_CHECK", "-I" + RUNTIME, "-I" + CUDA, "-x", "c++", "-c",
              file.toString(), "-o", object)));
      // Linked without the sanitizer's library: the hooks are the host driver's.
      link.add(List.of("g++", "-shared", "-nostartfiles", object, driver.toString(), "-o", folder.resolve(family + ".so")
          .toString()));
    }
    run(compile);
    run(link);
    Files.createFile(folder.resolve("done"));
    return folder;
  }

  /// A place for what is compiled from these files.
  private static Path folder(List<Path> inputs) throws IOException {
    return Files.createDirectories(Path.of("target", "hostcuda", hash(inputs)).toAbsolutePath());
  }

  @SafeVarargs
  private static List<String> command(List<String>... parts) {
    return java.util.Arrays.stream(parts).flatMap(List::stream).toList();
  }

  private static List<String> paths(Path... paths) {
    return java.util.Arrays.stream(paths).map(Path::toString).toList();
  }

  private static List<Path> files(Path folder) throws IOException {
    try (var all = Files.list(folder)) {
      return all.filter(Files::isRegularFile).sorted().toList();
    }
  }

  private static String hash(List<Path> files) throws IOException {
    try {
      var digest = MessageDigest.getInstance("SHA-256");
      for (var file : files) {
        digest.update(file.getFileName().toString().getBytes(StandardCharsets.UTF_8));
        digest.update(Files.readAllBytes(file));
      }
      return HexFormat.of().formatHex(digest.digest(), 0, 8);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  /// All at once, as many as there are cores at a time.
  private static void run(List<List<String>> commands) throws IOException, InterruptedException {
    int cores = Runtime.getRuntime().availableProcessors();
    for (int from = 0; from < commands.size(); from += cores) {
      var running = new ArrayList<Process>();
      for (var command : commands.subList(from, Math.min(commands.size(), from + cores))) running.add(new ProcessBuilder(command)
          .redirectErrorStream(true).start());
      for (var process : running) {
        var said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor(5, TimeUnit.MINUTES)).isTrue();
        assertThat(process.exitValue()).as(said).isZero();
      }
    }
  }
}
