package org.llmcore.cuda;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;

import org.junit.jupiter.api.Test;

import static org.assertj.core.api.Assertions.assertThat;

/// The compiled kernels are those of the sources beside them. No compiler and no GPU needed.
class ManifestTest {
  private static final Path SOURCES = Path.of("src/main/cuda");
  private static final Path ARTEFACTS = Path.of("src/main/resources/org/llmcore/cuda");

  private final Manifest manifest = Manifest.inTheJar();

  private static Map<String, String> hashes(Path folder, String pattern) throws Exception {
    var out = new TreeMap<String, String>();
    try (var files = Files.newDirectoryStream(folder, pattern)) {
      for (var f : files) out.put(f.getFileName().toString(), HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256")
          .digest(Files.readAllBytes(f))));
    }
    return out;
  }

  @Test
  void everySourceIsTheOneThatWasCompiled() throws Exception {
    assertThat(new TreeMap<>(manifest.sources()))
        .as("a source changed since the last run of cuda-kernels/build-fatbins.sh; run it and commit what it writes")
        .isEqualTo(hashes(SOURCES, "*.{cu,cuh}"));
  }

  @Test
  void everyArtefactIsTheOneThatWasWritten() throws Exception {
    assertThat(new TreeMap<>(manifest.artefacts())).isEqualTo(hashes(ARTEFACTS, "*.{fatbin,ptx}"));
  }

  @Test
  void everyKernelOfTheSourcesIsInItsPtxAndNowhereElse() throws IOException {
    var entry = Pattern.compile("extern \"C\" __global__ void[^(]*?(?:__launch_bounds__\\([^)]*\\)\\s*)?(llm_\\w+)\\(");
    int found = 0;
    try (var files = Files.newDirectoryStream(SOURCES, "*.cu")) {
      for (var f : files) {
        var family = f.getFileName().toString().replace(".cu", "");
        var ptx = Files.readString(ARTEFACTS.resolve(family + ".ptx"), StandardCharsets.UTF_8);
        var m = entry.matcher(Files.readString(f, StandardCharsets.UTF_8));
        while (m.find()) {
          found++;
          assertThat(manifest.kernels()).as(m.group(1) + " is exported by " + f).contains(m.group(1));
          assertThat(ptx).contains(".entry " + m.group(1) + "(");
        }
      }
    }
    assertThat(manifest.kernels()).hasSize(found).doesNotHaveDuplicates();
  }

  /// Registers spilled to memory cost more than what they were saved for.
  @Test
  void noKernelSpillsRegisters() throws IOException {
    var lines = Files.readAllLines(ARTEFACTS.resolve("registers.txt"));
    assertThat(lines).hasSizeGreaterThanOrEqualTo(manifest.kernels().size());
    assertThat(lines).allMatch(l -> l.contains(" 0 bytes spill stores, 0 bytes spill loads"));
  }

  /// Registers a thread may use, so that enough blocks share a multiprocessor's 65,536: for attention as many as the shared
  /// memory allows,
  /// for kernels bound by memory 1024 threads, whose 16-byte loads are what its bandwidth needs in flight, or 512 that have four such
  /// loads and more under way each.
  @Test
  void kernelsLeaveRegistersForTheBlocksTheyNeed() throws IOException {
    var limits = Map.ofEntries(Map.entry("attention_forward_mma", blocks(2)), Map.entry("attention_backward_q_mma", blocks(2)),
        Map.entry("attention_backward_kv_mma", blocks(2)), Map.entry("attention_pages_mma", blocks(3)),
        Map.entry("attention_pages_wide_mma", blocks(2)),
        Map.entry("attention_pages_merge", 64), Map.entry("attention_backward_stats", 64), Map.entry("rms_norm_forward", 128), Map.entry("rms_norm_backward_x", 128), Map.entry("rms_norm_backward_w", 64),
        Map.entry("rope", 128),
        Map.entry("swiglu", 64), Map.entry("embedding", 64), Map.entry("cross_entropy", 64), Map.entry("adamw", 64),
        Map.entry("move_fill", 64), Map.entry("move_copy", 64), Map.entry("gradient_norm", 64));
    var pattern = Pattern.compile("\\S+ \\S+ llm_(\\w+) .* (\\d+) registers.*");
    int checked = 0;
    for (var line : Files.readAllLines(ARTEFACTS.resolve("registers.txt"))) {
      var m = pattern.matcher(line);
      assertThat(m.matches()).as(line).isTrue();
      for (var limit : limits.entrySet()) {
        if (!m.group(1).startsWith(limit.getKey())) continue;
        checked++;
        assertThat(Integer.parseInt(m.group(2))).as(line).isLessThanOrEqualTo(limit.getValue());
      }
    }
    assertThat(checked).isGreaterThanOrEqualTo(2 * limits.size());
  }

  /// Registers, which come in eights, when this many blocks of 128 threads share a multiprocessor; a thread has 255 at most.
  private static int blocks(int n) {
    return Math.min(255, 65536 / n / 128 / 8 * 8);
  }
}
