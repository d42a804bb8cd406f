package org.llmcore.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/// Memory of this process, as Linux counts it.
final class Memory {
  private Memory() {}

  /// Bytes that were in memory at once at most (`VmHWM`), pages of mapped files included.
  static long peak() throws IOException {
    try (var lines = Files.lines(Path.of("/proc/self/status"))) {
      var line = lines.filter(l -> l.startsWith("VmHWM:")).findFirst().orElseThrow(() -> new IOException("no VmHWM in /proc/self/status"));
      return 1024 * Long.parseLong(line.replaceAll("[^0-9]", ""));
    }
  }
}
