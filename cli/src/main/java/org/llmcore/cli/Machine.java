package org.llmcore.cli;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

import com.sun.management.OperatingSystemMXBean;

import org.llmcore.Devices;
import org.llmcore.flags.Flags;

/// What this machine is, as far as it matters to the engine.
///
/// @param cpu name of the processor, or of its architecture where the system does not say
/// @param features of its instruction sets, those that a kernel may use
/// @param device the device the environment asks for, as it names itself: kind, vector width, workers
/// @param memory bytes this process may see, a container's limit included
/// @param available bytes that can be had without pushing another program out
/// @param heap most bytes of Java's heap; tensors do not lie in it
record Machine(String cpu, List<String> features, String device, int cores, long memory, long available, long heap, String java,
    String system) {
  private static final List<String> FEATURES =
      List.of("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16",
          "amx_int8", "asimd", "sve", "bf16");

  /// This one, now.
  static Machine here() {
    var system = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
    long memory = total();
    long available = Math.min(memory, linux("/proc/meminfo", "MemAvailable").map(Machine::kilobytes)
        .orElse(system.getFreeMemorySize()));
    var flags = List.of(linux("/proc/cpuinfo", "flags").or(() -> linux("/proc/cpuinfo", "Features")).orElse("").split(" "));
    try (var device = Devices.open()) {
      return new Machine(
          processor(), FEATURES.stream().filter(flags::contains).toList(), device.name(),
              Runtime.getRuntime().availableProcessors(), memory, available,
          Runtime.getRuntime().maxMemory(), System.getProperty("java.vm.name") + " " + Runtime.version(),
          System.getProperty("os.name") + " " + System.getProperty("os.version") + " " + System.getProperty("os.arch"));
    }
  }

  /// Bytes this process may see, a container's limit included.
  static long total() {
    return ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class).getTotalMemorySize();
  }

  private static String processor() {
    return linux("/proc/cpuinfo", "model name")
        .or(() -> Optional.ofNullable(System.getenv("PROCESSOR_IDENTIFIER")))
        .orElse(System.getProperty("os.arch"));
  }

  private static long kilobytes(String text) {
    return 1024 * Long.parseLong(text.replaceAll("[^0-9]", ""));
  }

  /// The value behind the first `key :` of a file that Linux keeps; none elsewhere.
  private static Optional<String> linux(String file, String key) {
    try (Stream<String> lines = Files.lines(Path.of(file))) {
      return lines.filter(l -> l.startsWith(key)).map(l -> l.substring(l.indexOf(':') + 1).strip()).findFirst();
    } catch (IOException | java.io.UncheckedIOException _) {
      return Optional.empty();
    }
  }

  /// Every flag with its value in force; `usual` where the environment says nothing.
  static Map<String, String> flags() {
    var all = new LinkedHashMap<String, String>();
    for (var flag : Flags.ALL) all.put(flag.name(),
        Optional.ofNullable(System.getenv(flag.name())).filter(v -> !v.isBlank()).orElse("usual"));
    return all;
  }
}
