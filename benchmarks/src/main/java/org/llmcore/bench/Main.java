package org.llmcore.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.CommandLineOptionException;
import org.openjdk.jmh.runner.options.CommandLineOptions;
import org.openjdk.jmh.runner.options.OptionsBuilder;

import org.llmcore.Devices;
import org.llmcore.InvalidInput;
import org.llmcore.flags.Flags;

/// Runs benchmarks and keeps their history.
///
///     java … -jar benchmarks.jar [any JMH option]     runs, prints, appends to benchmarks/history.jsonl
///     java … -jar benchmarks.jar compare              newest run against the usual one; exit code 1 on a regression
public final class Main {
  private static final Path HISTORY = Path.of("benchmarks", "history.jsonl");

  private Main() {}

  public static void main(String[] args) throws IOException, RunnerException, CommandLineOptionException {
    if (args.length == 1 && args[0].equals("compare")) {
      var regressions = new ArrayList<String>();
      History.compare(History.read(HISTORY), regressions).forEach(System.out::println);
      System.exit(regressions.isEmpty() ? 0 : 1);
    }
    var line = new CommandLineOptions(args);
    if (line.shouldList() || line.shouldHelp()) {
      if (line.shouldHelp()) line.showHelp();
      else new Runner(line).list();
      return;
    }
    var own = new ArrayList<>(line.getJvmArgsAppend().orElse(List.of())); // the parent's would be replaced by ours
    own.addAll(List.of("--add-modules", "jdk.incubator.vector", "--enable-native-access=ALL-UNNAMED", "-Xmx3g"));
    var options =
        (gpu() ? new OptionsBuilder() : new OptionsBuilder().exclude("CudaBenchmark"))
            .parent(line)
            .jvmArgsAppend(own.toArray(String[]::new))
            .build();
    var lines = new ArrayList<History>();
    for (var result : new Runner(options).run()) lines.add(line(result));
    for (var h : lines) {
      System.out.printf("%-60s %12.1f %s", h.name(), h.median(), h.unit());
      if (h.rate() > 0) System.out.printf(" %10.1f %s, %.0f %% of the limit", h.rate(), h.rateUnit(), 100 * h.reached());
      System.out.println();
    }
    if (Files.isDirectory(HISTORY.getParent())) History.append(HISTORY, lines);
    else System.out.println("not kept: there is no folder " + HISTORY.getParent() + " here; run it from the project's root to add to " + HISTORY);
  }

  /// Whether there is a GPU to measure; says why not.
  private static boolean gpu() {
    try (var _ = Devices.open(Flags.Kind.CUDA, 1)) {
      return true;
    } catch (InvalidInput e) {
      System.out.println("CudaBenchmark is left out: " + e.getMessage());
      return false;
    }
  }

  private static History line(RunResult result) throws IOException {
    var statistics = result.getPrimaryResult().getStatistics();
    var parameters = result.getParams();
    var values = new ArrayList<String>();
    for (var key : parameters.getParamsKeys()) values.add(parameters.getParam(key));
    var simple = Arrays.asList(parameters.getBenchmark().split("\\.")).reversed();
    double median = statistics.getPercentile(50);
    var unit = result.getPrimaryResult().getScoreUnit();
    var limit = result.getSecondaryResults();
    double rate = 0;
    double reached = 0;
    var rateUnit = "";
    if (limit.containsKey("least")) {
      double nanos = median * parameters.getTimeUnit().toNanos(1);
      boolean memory = mean(limit, "memory") > mean(limit, "least") / 2;
      rate = mean(limit, memory ? "bytes" : "flops") / nanos;
      rateUnit = memory ? "GB/s" : "GFLOP/s";
      reached = mean(limit, "least") / nanos;
    }
    return new History(
        commit(), LocalDate.now().toString(), History.fingerprint(), simple.get(1) + "." + simple.get(0) + values,
        unit, statistics.getPercentile(20), median, statistics.getPercentile(80), rate, rateUnit, reached);
  }

  /// A number of `Limit`.
  private static double mean(Map<String, Result> limit, String name) {
    return limit.get(name).getScore() / limit.get("iterations").getScore();
  }

  private static String commit() throws IOException {
    var git = new ProcessBuilder(List.of("git", "rev-parse", "--short", "HEAD")).start();
    try (var out = git.inputReader()) {
      var line = out.readLine();
      return line == null ? "unknown" : line;
    }
  }
}
