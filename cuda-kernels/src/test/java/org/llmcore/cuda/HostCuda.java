package org.llmcore.cuda;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
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
///
/// With the property `llm.cuda=device` the same tests run on the GPU of the machine, with the kernels of the jar; with `ptx`, with
/// those that older drivers get.
final class HostCuda {
  private static final Path CUDA = Path.of("src/main/cuda");
  private static final Path RUNTIME = Path.of("src/test/cuda");
  private static final List<String> FLAGS = List.of(
      "-std=c++17", "-O2", "-g1", "-fPIC", "-ftrivial-auto-var-init=pattern", "-Wall", "-Wno-unknown-pragmas",
          "-fvisibility=hidden");
  // Without the pass that makes one wide load of two narrow ones: the checker would see an alignment the source does not ask for.
  private static final List<String> CHECKED = List.of("-march=native", "-fno-expensive-optimizations", "-fsanitize=thread", "-DHC_CHECK");
  private static final int COPIES = 3; // when asynchronous copies arrive: at once, as late as allowed, by a coin

  private static final String WHERE = System.getProperty("llm.cuda", "host");
  private static final boolean DEVICE = !WHERE.equals("host");

  /// What a test can pretend about the machine.
  enum Machine {
    VERSION,
    DEVICES,
    CAPABILITY,
    INIT,
    MEBIBYTES,
    CONTEXT
  }

  private final Path driver;
  private final Path kernels;
  private final MethodHandle configure;
  private final MethodHandle reset;
  private final MethodHandle pretend;
  private final MethodHandle launched;

  private HostCuda(Path driver, Path kernels) {
    this.driver = driver;
    this.kernels = kernels;
    configure = handle("hc_config", ValueLayout.JAVA_LONG, ValueLayout.JAVA_INT, ValueLayout.JAVA_INT, ValueLayout.JAVA_INT, ValueLayout.JAVA_INT);
    reset = handle("hc_reset");
    pretend = handle("hc_pretend", ValueLayout.JAVA_INT, ValueLayout.JAVA_LONG);
    launched = handle(FunctionDescriptor.of(ValueLayout.ADDRESS), "hc_launched");
  }

  /// A function of the host driver; on a GPU, one that does nothing.
  private MethodHandle handle(String name, MemoryLayout... arguments) {
    return handle(FunctionDescriptor.ofVoid(arguments), name);
  }

  private MethodHandle handle(FunctionDescriptor type, String name) {
    if (DEVICE) return MethodHandles.empty(type.toMethodType());
    return Linker.nativeLinker().downcallHandle(SymbolLookup.libraryLookup(driver, Arena.global()).find(name).orElseThrow(), type);
  }

  /// Skips a test that plants a fault, where a GPU would take it seriously.
  static void plants(String fault) {
    assumeTrue(!DEVICE, fault + " is planted in the host driver only");
  }

  /// With the kernels of the product; skips the test where there is no g++ on Linux.
  static HostCuda open() {
    return open(CUDA);
  }

  /// With every `.cu` of a folder; compiled once per content.
  static HostCuda open(Path sources) {
    if (DEVICE) {
      if (!sources.equals(CUDA)) plants("a bug of a kernel");
      return new HostCuda(sources, sources);
    }
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

  /// The device of a GPU of another compute capability: 90 for 9.0, with all that this has and others have not.
  CudaDevice device(int compute) {
    return device(compute, "");
  }

  CudaDevice device(int compute, String suffix) {
    pretend(Machine.CAPABILITY, compute);
    try {
      return device(suffix);
    } finally {
      pretend(Machine.CAPABILITY, 80);
    }
  }

  /// The kernels that ran since the last call; a GPU does not tell.
  Set<String> launched() {
    if (DEVICE) return Set.of();
    try {
      var names = (MemorySegment) launched.invokeExact();
      return Set.copyOf(names.reinterpret(Long.MAX_VALUE).getString(0).lines().toList());
    } catch (Throwable e) {
      throw new IllegalStateException(e);
    }
  }

  /// A device that takes the kernels of a family from the file `<family><suffix>.cu`, where there is one.
  CudaDevice device(String suffix) {
    return device(suffix, true);
  }

  /// @param debug wait after every launch
  CudaDevice device(String suffix, boolean debug) {
    if (WHERE.equals("ptx")) return new CudaDevice(library(), (family, _) -> Images.inTheJar().of(family, 12000), debug);
    if (DEVICE) return new CudaDevice(library(), Images.inTheJar(), debug);
    return new CudaDevice(library(), images(suffix), debug);
  }

  /// @param blas where the vendor's library is, if it does the products
  CudaDevice device(String suffix, boolean debug, Optional<String> blas) {
    return new CudaDevice(library(), images(suffix), debug, blas);
  }

  private Images images(String suffix) {
    return (family, _) -> {
      var own = kernels.resolve(family + suffix + ".so");
      return ("HCSO:" + (Files.exists(own) ? own : kernels.resolve(family + ".so"))).getBytes(StandardCharsets.UTF_8);
    };
  }

  /// A stand-in for cuBLAS over the host driver.
  Path blas() {
    try {
      var source = RUNTIME.resolve("blas/hostblas.cpp");
      var library = folder(List.of(source, driver)).resolve("libcublas.so.13");
      if (!Files.exists(library)) run(List.of(command(List.of("g++"), FLAGS, List.of("-shared", source.toString(), driver.toString(), "-o", library.toString()))));
      return library;
    } catch (IOException | InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  /// The driver that the devices use.
  Driver library() {
    return Driver.open(DEVICE ? Optional.empty() : Optional.of(driver));
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

  /// From now on the host driver says this of itself.
  void pretend(Machine what, long value) {
    try {
      pretend.invokeExact(what.ordinal(), value);
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
          CHECKED, List.of("-I" + RUNTIME, "-I" + CUDA, "-x", "c++", "-c",
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
      digest.update((FLAGS + " " + CHECKED).getBytes(StandardCharsets.UTF_8));
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
