package org.llmcore.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

import com.fasterxml.jackson.databind.ObjectMapper;

/// `history.jsonl`: one line per case and run, and the comparison that finds regressions. Only runs of equal hosts are
/// compared: a laptop is no regression of a server.
///
/// @param low p20, `high` p80 of the samples, in `unit`; smaller is better
/// @param rate GFLOP/s or GB/s, 0 where neither applies
/// @param reached share of the limit that the machine's peaks set, measured in the same run; 0 where none is known
record History(
    String commit, String date, String host, String name, String unit, double low, double median, double high, double rate, String rateUnit, double reached) {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int RUNS = 5;

  /// CPU, cores and JDK: runs with equal fingerprints are comparable.
  static String fingerprint() {
    var cpu = System.getProperty("os.arch");
    try {
      for (var line : Files.readAllLines(Path.of("/proc/cpuinfo"))) {
        if (line.startsWith("model name")) cpu = line.substring(line.indexOf(':') + 1).strip();
      }
    } catch (IOException _) {
      // not Linux: the architecture has to do
    }
    return "%s, %d cores, JDK %s".formatted(cpu, Runtime.getRuntime().availableProcessors(), Runtime.version().feature());
  }

  /// All lines of a file; none if it does not exist.
  static List<History> read(Path file) throws IOException {
    var out = new ArrayList<History>();
    if (!Files.exists(file)) return out;
    for (var line : Files.readAllLines(file)) if (!line.isBlank()) out.add(JSON.readValue(line, History.class));
    return out;
  }

  /// Appends lines.
  static void append(Path file, List<History> lines) throws IOException {
    for (var h : lines) {
      Files.writeString(file, JSON.writeValueAsString(h) + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }
  }

  /// One sentence per case: the newest run beside the median of up to five runs of other commits before it on the same host.
  /// A case is a regression when its whole p20–p80 band lies above theirs.
  /// @param regressions receives the names of slower cases
  static List<String> compare(List<History> all, List<String> regressions) {
    var cases = new TreeMap<String, List<History>>();
    for (var h : all) cases.computeIfAbsent(h.host + " | " + h.name, _ -> new ArrayList<>()).add(h);
    var out = new ArrayList<String>();
    for (Map.Entry<String, List<History>> e : cases.entrySet()) {
      var runs = e.getValue();
      var now = runs.getLast();
      var before = runs.stream().filter(h -> !h.commit.equals(now.commit)).toList();
      before = before.subList(Math.max(0, before.size() - RUNS), before.size());
      if (before.isEmpty()) {
        out.add("%-60s %10.1f %s  (first run)".formatted(e.getKey(), now.median, now.unit));
        continue;
      }
      var medians = before.stream().mapToDouble(History::median).sorted().toArray();
      double usual = medians[medians.length / 2];
      double worst = before.stream().mapToDouble(History::high).max().orElseThrow();
      boolean slower = now.low > worst;
      if (slower) regressions.add(now.name);
      out.add(
          String.format(
              Locale.ROOT, "%-60s %10.1f %s  usual %.1f  %+.1f %%%s",
              e.getKey(), now.median, now.unit, usual, 100 * (now.median / usual - 1), slower ? "  REGRESSION" : ""));
    }
    return out;
  }
}
