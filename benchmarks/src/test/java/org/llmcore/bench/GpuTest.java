package org.llmcore.bench;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

/// The benchmarks of a GPU run to their end on the host driver at toy size, so that no minute of a lent machine is lost to a wrong
/// argument.
class GpuTest {
  private static final Path HOST_DRIVER = Path.of("../cuda-kernels/host-driver.sh");

  @TempDir
  private Path work;

  private record Run(int code, List<String> out, String err) {}

  private Run java(List<String> before, String main, String... args) throws IOException, InterruptedException {
    var command = new ArrayList<>(before);
    command.addAll(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "--add-modules", "jdk.incubator.vector",
        "--enable-native-access=ALL-UNNAMED", "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path"), main));
    command.addAll(List.of(args));
    var err = Files.createTempFile(work, "gpu", ".err");
    var process = new ProcessBuilder(command).redirectError(err.toFile()).start();
    var out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).lines().toList();
    return new Run(process.waitFor(), out, Files.readString(err));
  }

  @Test
  void everyCaseRunsAtToySizeOnTheHostDriver() throws Exception {
    assumeTrue(Files.isExecutable(Path.of("/usr/bin/g++")), "the CUDA kernels are tested on the CPU by g++, which is not here");
    var run = java(List.of(HOST_DRIVER.toString()), "org.llmcore.bench.Gpu", "toy", "600");
    assertThat(run.code).as(run.err).isZero();
    var lines = new ArrayList<JsonNode>();
    for (var l : run.out) lines.add(new ObjectMapper().readTree(l));
    assertThat(lines).noneMatch(l -> l.has("error"));
    assertThat(lines).allMatch(l -> l.get("micros").asDouble() > 0 && l.get("device").asText().startsWith("cuda"));
    assertThat(lines).extracting(l -> l.get("case").asText()).containsAll(
        GpuCase.of(GpuSize.of("toy")).stream().map(GpuCase::name).toList());
    assertThat(lines).extracting(l -> l.get("section").asText()).contains("kernel", "training", "full", "prefill", "decode");
  }

  @Test
  void withoutAGpuOneSentenceSaysWhy() throws Exception {
    assumeTrue(System.getenv("HC_KERNELS") == null && !Files.exists(Path.of("/dev/nvidiactl")), "this machine has a GPU");
    var run = java(List.of(), "org.llmcore.bench.Gpu", "toy", "1");
    assertThat(run.code).isEqualTo(3);
    assertThat(run.out).isEmpty();
    assertThat(run.err).contains("there is no NVIDIA driver on this machine");
  }
}
