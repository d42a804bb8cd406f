package org.llmcore.cli;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.jar.Attributes.Name;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;
import java.util.stream.Collectors;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

/// Two real processes: the launcher in a jar of its own, whose manifest names the class path of this test.
class LauncherTest {
  private static final String JAVA = Path.of(System.getProperty("java.home"), "bin", "java").toString();

  @TempDir private Path folder;
  private Path jar;

  @BeforeEach
  void aJar() throws IOException {
    assumeThat(File.separatorChar).as("the launcher's shell").isEqualTo('/');
    var manifest = new Manifest();
    var main = manifest.getMainAttributes();
    main.put(Name.MANIFEST_VERSION, "1.0");
    main.put(Name.MAIN_CLASS, Launcher.class.getName());
    main.put(Name.CLASS_PATH, Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
        .map(p -> Path.of(p).toUri().toString()).collect(Collectors.joining(" ")));
    jar = folder.resolve("launcher.jar");
    try (var out = new JarOutputStream(Files.newOutputStream(jar), manifest)) {
      for (var c : List.of(Launcher.class.getName(), Launcher.class.getName() + "$1", "org.llmcore.cli.JavaHomes",
          "org.llmcore.cli.Announcement")) {
        var name = c.replace('.', '/') + ".class";
        out.putNextEntry(new JarEntry(name));
        try (var in = Launcher.class.getClassLoader().getResourceAsStream(name)) {
          in.transferTo(out);
        }
      }
    }
  }

  private ProcessBuilder launcher(List<String> options, Object... arguments) {
    var line = new ArrayList<>(List.of(JAVA));
    line.addAll(options);
    line.addAll(List.of("-jar", jar.toString()));
    for (var a : arguments) line.add(a.toString());
    return new ProcessBuilder(line).redirectErrorStream(true).redirectOutput(folder.resolve("out").toFile());
  }

  @Test
  void aKilledLauncherTakesTheProgramWithItAndLeavesNothing() throws IOException, InterruptedException {
    var model = Session.model(folder.resolve("model"));
    var text = Files.writeString(folder.resolve("text.txt"), "two and two are four, the sky is blue\n".repeat(40_000));
    // A tiny bound on KL makes many trials, each of much text.
    var launcher = launcher(List.of(), "quantize", "--model", model, "--calibration", text, "--samples", 100_000, "--length", 64,
        "--max-kl", 1e-3, "--out", folder.resolve("never")).start();
    while (!Files.exists(folder.resolve(".never.partial")) && launcher.isAlive()) Thread.sleep(20);
    var child = launcher.descendants().filter(p -> running(p)).findFirst().orElseThrow();
    launcher.destroyForcibly().waitFor();
    long killed = System.nanoTime();
    while (running(child) && System.nanoTime() - killed < TimeUnit.SECONDS.toNanos(20)) Thread.sleep(20);
    assertThat((System.nanoTime() - killed) / 1e9).isLessThan(2);
    assertThat(folder.toFile().list()).doesNotContain("never", ".never.partial");
    assertThat(folder.resolve("out")).content().contains("stopped; nothing was written");
  }

  /// A process that has ended and that nobody has waited for still has a number, but no program.
  private static boolean running(ProcessHandle p) {
    return p.isAlive() && p.info().command().isPresent();
  }

  @Test
  void memoryOptionsOfTheLauncherReachTheProgram() throws IOException, InterruptedException {
    assertThat(heap(Map.of(), "-Xmx80m", "-Dllm.columns=90")).isEqualTo(80L << 20);
    assertThat(heap(Map.of("LLM_JAVA_OPTIONS", "-Xmx96m"), "-Xmx80m")).isEqualTo(96L << 20);
  }

  private long heap(Map<String, String> environment, String... options) throws IOException, InterruptedException {
    assumeThat(Files.exists(Path.of("/proc/self/cmdline"))).as("a system that tells the command line").isTrue();
    var builder = launcher(List.of(options), "--version");
    builder.environment().putAll(environment);
    builder.environment().merge("LLM_JAVA_OPTIONS", "-XX:+PrintFlagsFinal", (a, b) -> a + " " + b);
    assertThat(builder.start().waitFor()).isZero();
    return Files.readAllLines(folder.resolve("out")).stream().map(l -> l.strip().split("\\s+"))
        .filter(w -> w.length > 3 && w[1].equals("MaxHeapSize")).mapToLong(w -> Long.parseLong(w[3])).findFirst().orElseThrow();
  }

  @Test
  void onlyOptionsThatCannotHurtArePassedOn() {
    var own = List.of("java", "-Xmx1g", "-Xss2m", "-Xlog:gc", "-javaagent:a.jar", "-XX:MaxDirectMemorySize=1g", "-XX:+UseOldGC",
        "-Dllm.x=1", "-Dother=2", "--add-opens", "java.base/java.lang=ALL-UNNAMED", "-jar", "llm-core.jar");
    var flags = Launcher.flags(own, Map.of("LLM_JAVA_OPTIONS", " -Xmx2g  -Dother=3"));
    assertThat(flags).endsWith("-Xmx1g", "-Xss2m", "-XX:MaxDirectMemorySize=1g", "-Dllm.x=1", "-Xmx2g", "-Dother=3");
    assertThat(flags).doesNotContain("-Xlog:gc", "-javaagent:a.jar", "-XX:+UseOldGC", "-Dother=2", "llm-core.jar");
  }
}
