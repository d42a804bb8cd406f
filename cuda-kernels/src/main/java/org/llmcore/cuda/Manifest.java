package org.llmcore.cuda;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// What `build-fatbins.sh` says it compiled: `manifest.txt` beside the fatbins. Lines are `compiler TEXT`,
/// `source FILE sha256`, `artefact FILE sha256 ARCHITECTURES` and `kernel NAME FAMILY`.
record Manifest(String compiler, Map<String, String> sources, Map<String, String> artefacts, Map<String, String> architectures,
    List<String> kernels) {
  static Manifest inTheJar() {
    try (var in = Manifest.class.getResourceAsStream("manifest.txt")) {
      if (in == null) return new Manifest("none: this build has no CUDA kernels", Map.of(), Map.of(), Map.of(), List.of());
      return parse(new String(in.readAllBytes(), StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static Manifest parse(String text) {
    var compiler = "";
    var sources = new LinkedHashMap<String, String>();
    var artefacts = new LinkedHashMap<String, String>();
    var architectures = new LinkedHashMap<String, String>();
    var kernels = new ArrayList<String>();
    for (var line : text.lines().toList()) {
      var words = line.split(" ", 4);
      switch (words[0]) {
        case "compiler" -> compiler = line.substring("compiler ".length());
        case "source" -> sources.put(words[1], words[2]);
        case "artefact" -> {
          artefacts.put(words[1], words[2]);
          architectures.put(words[1], words[3]);
        }
        case "kernel" -> kernels.add(words[1]);
        default -> throw new IllegalStateException("manifest.txt: " + line);
      }
    }
    return new Manifest(compiler, sources, artefacts, architectures, kernels);
  }

  /// For `inspect --device`.
  Map<String, String> summary() {
    var out = new LinkedHashMap<String, String>();
    out.put("cuda kernels", kernels.size() + ", built by " + compiler);
    architectures.forEach((file, list) -> {
      if (file.endsWith(".fatbin")) out.put("  " + file.substring(0, file.length() - ".fatbin".length()), list);
    });
    return out;
  }
}
